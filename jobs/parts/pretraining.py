"""A pre-training run from its config: corpus, stream, task and probe put together, trained, and pictured."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, replace
from typing import Any

import pyarrow.compute as pc

from cluster.ledger import QUARANTINE
from cluster.preflight import Capacity, Demand, InsufficientResources, cluster_capacity
from cluster.protocols import Reference
from cluster.runtime import print_result, ray_session
from cluster.sinks import read_rows, to_lines
from cluster.trainer import TrainingResult, TrainingRun, fit
from jobs.config import to_json
from jobs.parts.catalog import prepare_catalog
from jobs.parts.command_line import Command
from jobs.parts.held_out import HeldOutConfig, batch_of
from jobs.parts.pretrain_config import PretrainConfig
from pipelines.catalog import OK, Catalog
from pipelines.clips import ClipConfig
from pipelines.sample import SampleConfig
from pipelines.storage import ObjectMissing, Storage
from pipelines.storage import home as default_home
from pipelines.video_stream import VideoStreamConfig, judged_videos

logger = logging.getLogger(__name__)

TRAINING_SPLIT, HELD_OUT_SPLIT = "dev", "test"


def pretrain(command: Command[PretrainConfig]) -> None:
    """Trains, or resumes, or finds the run finished; draws its pictures; prints the result as the last line.

    Raises ValueError when the name belongs to a run with another config, and what `cluster.trainer.fit` raises.
    """
    config = command.config
    home = Storage(command.home) if command.home else default_home()
    with ray_session():
        uri, catalog = prepare_catalog(config.corpus, home)
        name = command.name or run_name(config, catalog)
        run_directory = home.child("runs", name)
        check_same_run(run_directory, config)
        result = finished_result(run_directory)
        if result is not None:
            logger.info("run %s is finished; this is its result", name)
        else:
            run = training_run(config, uri, name, run_directory.uri, cluster_capacity())
            unusable = record_unusable(catalog, config.clip, run_directory)
            result = summarize(fit(run)) | {"unusable": unusable}
    if result.get("is_finished") and "psnr_model" not in result:
        result |= draw_pictures(config, catalog, uri, run_directory)
    print_result(result, run_directory if result["is_finished"] else None)


def run_name(config: PretrainConfig, catalog: Catalog) -> str:
    """Recipe and hash of what is learned from what: the same command finds its run again."""
    key = json.dumps([to_json(config.learning()), catalog.fingerprint], sort_keys=True)
    return f"{config.recipe}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def check_same_run(run_directory: Storage, config: PretrainConfig) -> None:
    """Raises ValueError, naming the fields, when the directory holds a run that learns something else."""
    try:
        recorded = json.loads(run_directory.read("run.json"))["config"]
    except ObjectMissing:
        return
    wanted = to_json(config.learning())
    learned = set(wanted) - set(PretrainConfig.PLACEMENT)
    changed = sorted(field for field in learned if recorded.get(field) != wanted[field])
    if changed:
        raise ValueError(
            f"{run_directory.uri} was begun with other values of {', '.join(changed)}: give this run another --name, "
            "or none, or the values it was begun with (see its run.json)"
        )


def finished_result(run_directory: Storage) -> dict[str, Any] | None:
    try:
        return json.loads(run_directory.read("result.json"))
    except ObjectMissing:
        return None


def record_unusable(catalog: Catalog, clip: ClipConfig, run_directory: Storage) -> int:
    """Opens the run's quarantine table with the videos that belong to no epoch, because their file is broken or `clip`
    drops them: in epoch -1, before any is read for training; the ledger appends to it. Returns how many there are."""
    videos = judged_videos(catalog, clip)
    table = videos.filter(pc.not_equal(videos["status"], OK))
    if table.num_rows and not run_directory.exists(QUARANTINE):
        columns = table.select(["sample_id", "uri", "status", "detail"]).rename_columns(
            ["sample_id", "uri", "reason", "detail"]
        )
        rows = [{"step": 0, "epoch": -1, **row} for row in columns.to_pylist()]
        run_directory.write(QUARANTINE, to_lines(rows))
    return table.num_rows


def training_run(
    config: PretrainConfig, catalog_uri: str, name: str, run_directory: str, capacity: Capacity
) -> TrainingRun:
    """What the cluster is asked to do."""
    actors = decode_actors(config, capacity)
    stream = VideoStreamConfig(
        catalog=catalog_uri,
        split=TRAINING_SPLIT,
        sample=sample_config(config),
        min_actors=actors,
        max_actors=actors,
        cpus_per_actor=config.decode.cpus_per_actor,
        passes_per_epoch=config.passes_per_epoch,
        overfit=config.overfit,
    )
    return TrainingRun(
        name=name,
        run_directory=run_directory,
        task=Reference("models.masked_autoencoder:build", config.model),
        stream=Reference("pipelines.video_stream:build_stream", stream),
        probes=(("held_out", Reference("jobs.parts.held_out:build_held_out_loss", held_out(config, catalog_uri))),),
        optimizer=config.optimizer,
        engine=config.engine,
        workers=config.workers,
        checkpoint=config.checkpoint,
        telemetry=config.telemetry,
        quarantine=config.quarantine,
        seed=config.seed,
        config_json=json.dumps(to_json(config)),
        demands=(Demand("decode actor", actors, config.decode.cpus_per_actor),),
        init_from=config.init_from,
        stop_at_step=config.stop_at_step,
    )


def decode_actors(config: PretrainConfig, capacity: Capacity) -> int:
    """As many as asked for, or as fit beside the training workers. Raises InsufficientResources when none does."""
    if config.decode.num_actors is not None:
        return config.decode.num_actors
    workers = config.workers.num_workers or int(capacity.gpus) or 1
    free = capacity.cpus - workers * config.workers.cpus_per_worker
    actors = int(free / config.decode.cpus_per_actor + 1e-6)
    if actors < 1:
        raise InsufficientResources(
            f"{workers} workers with {config.workers.cpus_per_worker:g} CPUs each leave {free:g} of {capacity.cpus:g} "
            f"CPUs, a decode actor needs {config.decode.cpus_per_actor:g}: lower --workers.cpus-per-worker, "
            "--workers.num-workers or --decode.cpus-per-actor"
        )
    return actors


def sample_config(config: PretrainConfig) -> SampleConfig:
    return SampleConfig(
        clip=config.clip,
        crop=config.crop,
        mask=config.mask,
        geometry=config.model.geometry,
        clips_per_video=config.clips_per_video,
        seed=config.seed,
        decoder=config.decode.decoder,
    )


def held_out(config: PretrainConfig, catalog_uri: str) -> HeldOutConfig:
    """One mask for each clip, whatever training draws."""
    sample = replace(sample_config(config), clips_per_video=1)
    return HeldOutConfig(catalog_uri, HELD_OUT_SPLIT, config.held_out_clips, sample)


def summarize(result: TrainingResult) -> dict[str, Any]:
    """The result line: where, how far, and the newest losses."""
    line = asdict(result)
    metrics = line.pop("metrics")
    names = ("loss/total", "held_out/loss", "held_out/zero_loss")
    return line | {name.replace("/", "_"): metrics[name] for name in names if name in metrics}


def draw_pictures(config: PretrainConfig, catalog: Catalog, catalog_uri: str, run_directory: Storage) -> dict[str, Any]:
    """Reconstructions of the held-out clips and the curves of the run, into pictures/; their numbers and names."""
    from jobs.parts.curves import draw_curves
    from jobs.parts.reconstruction_report import make_reconstruction
    from jobs.parts.trained import load_trained

    pictures = run_directory.child("pictures")
    batch = batch_of(catalog, held_out(config, catalog_uri))
    uris = catalog.table["uri"].to_pylist()
    trained = load_trained(run_directory.uri)
    drawn = make_reconstruction(
        trained.model(),
        batch,
        pictures,
        names=[uris[sample_id] for sample_id in batch["sample_id_B"]],
        checkpoint=trained.name,
        mask=config.mask,
        clip=config.clip,
    )
    rows = read_rows(run_directory, "metrics.jsonl", trained.step)
    pictures.write("curves.png", draw_curves(rows, title=trained.name))
    psnr = {name: round(value, 3) for name, value in drawn.metrics.items() if name.startswith("psnr_")}
    return psnr | {"pictures": [pictures.full(name) for name in (*drawn.files, "curves.png")]}

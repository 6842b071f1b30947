"""A training run from its config: found, resumed or begun. What is learned from what is known to the `Work` of each
job."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Protocol

from cluster.ledger import QUARANTINE
from cluster.preflight import Capacity, Demand, InsufficientResources, cluster_capacity
from cluster.protocols import Reference
from cluster.sinks import read_rows, to_lines
from cluster.trainer import TrainingResult, TrainingRun, fit
from jobs.config import to_json
from jobs.parts.run_config import RunConfig
from pipelines.storage import ObjectMissing, Storage

logger = logging.getLogger(__name__)


class Work(Protocol):
    """What a run learns from what, once its data are there."""

    fingerprint: str
    """Of the data."""

    def task(self) -> Reference:
        """A cluster.protocols.Task."""
        ...

    def stream(self, actors: int) -> Reference:
        """A cluster.protocols.Stream with as many decode actors."""
        ...

    def probes(self) -> tuple[tuple[str, Reference], ...]:
        """cluster.protocols.Probe by the prefix of their metrics."""
        ...

    def data(self) -> dict[str, Any]:
        """What every checkpoint says of its data, as JSON values: "corpus", "subjects", "started_from" (the same of the
        checkpoint that it starts from, see `seen_by`), and whatever else."""
        ...

    def unusable(self) -> list[dict[str, Any]]:
        """Videos that belong to no epoch, as rows {sample_id, uri, reason, detail}."""
        ...

    def describe_data(self, run_directory: Storage) -> None:
        """Called before training: writes and logs what is known of the data by then."""
        ...


def train(
    config: RunConfig,
    work: Work,
    name: str,
    run_directory: Storage,
    *,
    sharing: int = 1,
    watch: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Trains, or resumes, or finds the run finished; the result line. Ray must be up, its cluster shared by so many
    runs at the same time. New rows of metrics go to `watch`.

    Raises ValueError when the name belongs to a run with another config, and what `cluster.trainer.fit` raises.
    """
    check_same_run(run_directory, config)
    result = finished_result(run_directory)
    if result is not None:
        logger.info("run %s is finished; this is its result", name)
        return result
    run = training_run(config, work, name, run_directory.uri, share(cluster_capacity(), sharing))
    unusable = work.unusable()
    record_unusable(unusable, run_directory)
    work.describe_data(run_directory)
    return summarize(fit(run, is_alone=sharing == 1, watch=watch)) | {"unusable": len(unusable)}


def share(capacity: Capacity, runs: int) -> Capacity:
    """What each of so many runs may take of a cluster."""
    return replace(capacity, cpus=capacity.cpus / runs, gpus=capacity.gpus // runs)


def seen_by(init_from: str | None) -> dict[str, Any] | None:
    """What the checkpoint that a run starts from says of its data; None for a run that starts afresh. Raises ValueError
    for one that says nothing, and CheckpointError where there is none."""
    from cluster.checkpoint import describe_checkpoint

    if init_from is None:
        return None
    described = describe_checkpoint(init_from)
    if not described["metadata"].get("data"):
        raise ValueError(f"{described['checkpoint']} does not say whom it has seen; train its run again")
    return described["metadata"]["data"]


def run_name(config: RunConfig, fingerprint: str) -> str:
    """Recipe and hash of what is learned from what: the same command finds its run again."""
    key = json.dumps([to_json(config.learning()), fingerprint], sort_keys=True)
    return f"{config.recipe}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def check_same_run(run_directory: Storage, config: RunConfig) -> None:
    """Raises ValueError, naming the fields, when the directory holds a run that learns something else."""
    try:
        recorded = json.loads(run_directory.read("run.json"))["config"]
    except ObjectMissing:
        return
    wanted = to_json(config.learning())
    learned = set(wanted) - set(config.PLACEMENT)
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


def record_unusable(unusable: list[dict[str, Any]], run_directory: Storage) -> None:
    """Opens the run's quarantine table with the videos that belong to no epoch: in epoch -1, before any is read for
    training; the ledger appends to it."""
    if unusable and not run_directory.exists(QUARANTINE):
        run_directory.write(QUARANTINE, to_lines([{"step": 0, "epoch": -1, **row} for row in unusable]))


def training_run(config: RunConfig, work: Work, name: str, run_directory: str, capacity: Capacity) -> TrainingRun:
    """What the cluster is asked to do."""
    actors = decode_actors(config, capacity)
    workers = replace(config.workers, num_workers=num_workers(config, capacity))
    return TrainingRun(
        name=name,
        run_directory=run_directory,
        task=work.task(),
        stream=work.stream(actors),
        probes=work.probes(),
        optimizer=config.optimizer,
        engine=config.engine,
        workers=workers,
        checkpoint=config.checkpoint,
        telemetry=config.telemetry,
        quarantine=config.quarantine,
        spikes=config.spikes,
        seed=config.seed,
        config_json=json.dumps({"job": config.JOB, **to_json(config)}),
        data_json=json.dumps(work.data()),
        demands=(Demand("decode actor", actors, config.decode.cpus_per_actor),),
        init_from=config.init_from,
        stop_at_step=config.stop_at_step,
        retry_refused=config.retry_refused,
        faults=config.faults,
    )


def num_workers(config: RunConfig, capacity: Capacity) -> int:
    """As many as asked for, or one per GPU, or one."""
    return config.workers.num_workers or int(capacity.gpus) or 1


def least_cpus(config: RunConfig) -> float:
    """CPUs that a run can do with."""
    workers = (config.workers.num_workers or 1) * config.workers.cpus_per_worker
    return workers + (config.decode.num_actors or 1) * config.decode.cpus_per_actor


def decode_actors(config: RunConfig, capacity: Capacity) -> int:
    """As many as asked for, or as fit beside the training workers. Raises InsufficientResources when none does."""
    if config.decode.num_actors is not None:
        return config.decode.num_actors
    workers = num_workers(config, capacity)
    free = capacity.cpus - workers * config.workers.cpus_per_worker
    actors = int(free / config.decode.cpus_per_actor + 1e-6)
    if actors < 1:
        raise InsufficientResources(
            f"{workers} workers with {config.workers.cpus_per_worker:g} CPUs each leave {free:g} of {capacity.cpus:g} "
            f"CPUs, a decode actor needs {config.decode.cpus_per_actor:g}: lower --workers.cpus-per-worker, "
            "--workers.num-workers or --decode.cpus-per-actor"
        )
    return actors


def stream_fields(config: RunConfig, actors: int) -> dict[str, Any]:
    """The fields of a StreamConfig that a run's config decides."""
    return {
        "min_actors": actors,
        "max_actors": actors,
        "cpus_per_actor": config.decode.cpus_per_actor,
        "passes_per_epoch": config.passes_per_epoch,
        "overfit": config.overfit,
    }


def summarize(result: TrainingResult) -> dict[str, Any]:
    """The result line: where, how far, and the newest losses and transfer."""
    line = asdict(result)
    metrics = line.pop("metrics")
    names = ("loss/total", "held_out/loss", "held_out/zero_loss", "transfer/uar")
    return line | {name.replace("/", "_"): metrics[name] for name in names if name in metrics}


def write_curves(run_directory: Storage, *, step: int, title: str) -> str:
    """Draws the losses of the run up to a step into pictures/curves.png; returns its address."""
    from jobs.parts.curves import draw_curves

    pictures = run_directory.child("pictures")
    pictures.write("curves.png", draw_curves(read_rows(run_directory, "metrics.jsonl", step), title=title))
    return pictures.full("curves.png")

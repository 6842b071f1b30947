"""What the stages of a chain do: each calls what the job of its name calls, with the weights and values of the stages
before, and without a name, so that runs are found by what they learn from what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cluster.checkpoint import CheckpointError
from cluster.commit import DIRECTORY, scan
from cluster.search_space import Values
from jobs.parts.chain import Results, Runner
from jobs.parts.chain_config import Stage
from jobs.parts.chain_corpora import annotate_corpus, catalog_corpus
from jobs.parts.command_line import Command
from jobs.parts.evaluation import METRICS
from jobs.parts.export import export_trained
from jobs.parts.feature_run import run_extraction
from jobs.parts.finetune_run import run_finetuning
from jobs.parts.head_run import run_head
from jobs.parts.pretraining import run_pretraining
from jobs.parts.sweep_config import SweepConfig
from jobs.parts.sweep_run import run_sweep
from jobs.parts.sweep_space import REGION, with_values
from jobs.parts.sweep_trial import prepare_pretraining
from jobs.parts.table_report import make_table, to_markdown
from pipelines.storage import Storage

EXPORTED, TABLES = "exported", "tables"
ENCODER_NAMES = (REGION, "model.region", "model.encoder", "model.lgi_variant", "model.position_embedding")


def stage_runners(home: Storage, place: Storage) -> dict[str, Runner]:
    """By job, for the chain that is kept at `place`. Ray must be up, with its dashboard."""
    return {
        "catalog": partial(_catalog, home=home),
        "annotate": partial(_annotate, home=home),
        "pretrain": partial(_pretrain, home=home),
        "sweep_pretraining": partial(_sweep, home=home),
        "export": partial(_export, place=place),
        "finetune": partial(_finetune, home=home),
        "sweep_finetuning": partial(_sweep, home=home),
        "extract": partial(_extract, home=home),
        "head": partial(_head, home=home),
        "table": partial(_table, place=place),
    }


def filled_config(stage: Stage, results: Results) -> Any:
    """The config of a stage with the best values, the trained weights and the features of the stages before.

    Raises what `weights_address` raises.
    """
    config = stage.config
    if stage.features_from:
        config = replace(config, features=tuple(results[name]["store"] for name in stage.features_from))
    if stage.values_from is not None:
        config = with_values(config, results[stage.values_from]["best"]["values"])
    best = (results.get(stage.weights_from or "") or {}).get("best")
    if best is not None and stage.job in ("finetune", "sweep_finetuning"):
        config = with_encoder_of(config, best["values"])
    if stage.weights_from is None:
        return config
    address = weights_address(stage.weights_from, stage.weights_epoch, results)
    if isinstance(config, SweepConfig):
        return replace(config, **{config.BASE: replace(config.base, init_from=address)})
    return replace(config, init_from=address)


def with_encoder_of(config: Any, values: Values) -> Any:
    """The config of a fine-tuning, or of a search for one, with what a search of pre-trainings found best of the
    encoder: weights of other regions would be fitted to it."""
    if isinstance(config, SweepConfig):
        return replace(config, **{config.BASE: with_encoder_of(config.base, values)})
    return with_values(config, {name: value for name, value in values.items() if name in ENCODER_NAMES})


def weights_address(source: str, epoch: int | None, results: Results) -> str:
    """The run of a stage, or its checkpoint at the end of that epoch.

    Raises ValueError where a fine-tuning has several runs, and CheckpointError where the checkpoint is not there.
    """
    run = _run_directory(source, results[source])
    if epoch is None:
        return run
    checkpoints = Storage(run).child(DIRECTORY)
    for commit in scan(checkpoints).commits:
        if commit.epoch == epoch and commit.progress["at_epoch_end"]:
            return checkpoints.full(commit.name)
    raise CheckpointError(
        f"{run} has no checkpoint at the end of epoch {epoch}: it was trained without keeping it; remove the run, and "
        "the same command trains it again"
    )


def _run_directory(source: str, result: Mapping[str, Any]) -> str:
    if "best" in result:
        return result["best"]["run_directory"]
    if "runs" not in result:
        return result["run_directory"]
    if len(result["runs"]) > 1:
        raise ValueError(f"{source} has {len(result['runs'])} runs; weights are taken from a stage of a single run")
    return result["runs"][0]


def _catalog(stage: Stage, results: Results, *, home: Storage) -> dict[str, Any]:
    uri, catalog = catalog_corpus(stage.config, home)
    counts = catalog.counts()
    return {"catalog": uri, "fingerprint": catalog.fingerprint, "videos": counts.pop("ok"), "unusable": counts}


def _annotate(stage: Stage, results: Results, *, home: Storage) -> dict[str, Any]:
    found = annotate_corpus(stage.config, home)
    return {"annotations": found.place.uri, "fingerprint": found.fingerprint, "videos": found.videos.num_rows}


def _pretrain(stage: Stage, results: Results, *, home: Storage) -> dict[str, Any]:
    return run_pretraining(Command(filled_config(stage, results)), prepare_pretraining, home)


def _finetune(stage: Stage, results: Results, *, home: Storage) -> dict[str, Any]:
    return run_finetuning(Command(filled_config(stage, results)), home)


def _extract(stage: Stage, results: Results, *, home: Storage) -> dict[str, Any]:
    return run_extraction(Command(filled_config(stage, results)), home)


def _head(stage: Stage, results: Results, *, home: Storage) -> dict[str, Any]:
    return run_head(Command(filled_config(stage, results)), home)


def _sweep(stage: Stage, results: Results, *, home: Storage) -> dict[str, Any]:
    return run_sweep(Command(filled_config(stage, results), home=home.uri), home)


def _export(stage: Stage, results: Results, *, place: Storage) -> dict[str, Any]:
    """Into the chain's directory, under the name of the stage; what lies there is replaced."""
    target = place.child(EXPORTED, stage.name)
    address = weights_address(stage.weights_from or "", stage.weights_epoch, results)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "weights")
        result = export_trained(address, part=stage.config.part, output=folder)
        for file in sorted(folder.iterdir()):
            target.upload(file, file.name)
    files = ("weights", "description", "card")
    return result | {name: target.full(Path(result[name]).name) for name in files}


def _table(stage: Stage, results: Results, *, place: Storage) -> dict[str, Any]:
    stages = dict.fromkeys(cell.stage for cell in stage.config.cells)
    metrics = {name: json.loads(Storage(results[name]["directory"]).read(METRICS)) for name in stages}
    table, folder = make_table(stage.config, metrics), place.child(TABLES)
    folder.write(f"{stage.name}.json", json.dumps(table, indent=1).encode())
    folder.write(f"{stage.name}.md", to_markdown(table).encode())
    return {"markdown": folder.full(f"{stage.name}.md"), "table": folder.full(f"{stage.name}.json")}

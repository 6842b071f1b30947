"""Runs of fine-tuning that were trained before, found by their addresses and scored as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from cluster.runtime import print_result, ray_session
from jobs.config import to_json
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.finetuning import Finetuning
from jobs.parts.fold_runs import Run, score
from jobs.parts.labelled_corpus import chosen_protocol
from pipelines.storage import Storage
from pipelines.storage import home as default_home


def evaluate_runs(uris: Sequence[str], *, test_clips: int | None, output: str | None) -> None:
    """Scores runs at their newest checkpoints and prints the result as the last line.

    Raises ValueError for runs that do not belong together, a corpus whose classes are not those of the checkpoint, in
    its order, or a video that cannot be used, and CheckpointError where there is no checkpoint.
    """
    if not uris:
        raise ValueError("there is nothing to score: give --runs RUN ...")
    recorded = [_recorded(uri, test_clips) for uri in uris]
    runs = [run for run, _ in recorded]
    check_together(runs)
    name = PurePosixPath(runs[0].directory.uri).name
    place = Storage(output) if output else default_home().child("evaluations", name)
    with ray_session():
        result = score(runs, [checkpoint for _, checkpoint in recorded], place)
    print_result(result, place)


def check_together(runs: Sequence[Run]) -> None:
    """Raises ValueError unless the runs are folds and seeds of one config and one catalog."""
    first = runs[0]
    for run in runs[1:]:
        if run.work.fingerprint != first.work.fingerprint:
            raise ValueError(f"{run.name} and {first.name} are of other videos and cannot be scored as one")
        ours, theirs = _shared(first), _shared(run)
        if changed := sorted(name for name in ours if ours[name] != theirs[name]):
            raise ValueError(
                f"{run.name} and {first.name} cannot be scored as one, they were begun with other values of "
                f"{', '.join(changed)}"
            )
    parts = [(run.work.config.seed, run.work.config.folds) for run in runs]
    if twice := sorted({part for part in parts if parts.count(part) > 1}):
        raise ValueError(f"several runs are of the same (seed, folds): {twice}; give one of each")


def _shared(run: Run) -> dict[str, Any]:
    """What folds and seeds of a fine-tuning have in common, as JSON values."""
    config = run.work.config
    values = to_json(config.scored())
    values["model"] |= {"class_weights": None}
    return {name: value for name, value in values.items() if name not in ("folds", "seed")}


def _recorded(uri: str, test_clips: int | None) -> tuple[Run, str]:
    """A run as it is recorded in its newest checkpoint, and the address of that. Raises ValueError where the catalog
    is no longer the one that it was trained on."""
    from cluster.checkpoint import describe_checkpoint
    from jobs.parts.trained import read_config
    from pipelines.annotations import fingerprint_of, open_annotations
    from pipelines.catalog import load

    described = describe_checkpoint(uri)
    metadata = described["metadata"]
    config, data = read_config(metadata["config"], (FinetuneConfig,)), metadata["data"]
    if test_clips is not None:
        config = replace(config, test_clips=test_clips)
    catalog = load(data["catalog"])
    annotations = None if data["annotations"] is None else open_annotations(data["annotations"])
    if not metadata["stream"].startswith(f"{fingerprint_of(catalog, annotations)}:"):
        raise ValueError(f"{uri} was trained on other videos, labels or folds than {data['catalog']} now holds")
    protocol = chosen_protocol(replace(config.corpus, protocol=data["protocol"]), catalog)
    work = Finetuning(config, protocol, data["catalog"], catalog, annotations, data["started_from"])
    return Run(metadata["run"], Storage(uri), work), described["checkpoint"]

"""Whether a run may go on from a checkpoint, and what has changed since it was made.

the data (fingerprint of the stream)        refused: sample ids would mean other samples
a step after it was refused (NaN)           refused, unless the run is told to try again
number of workers, ZeRO stage, micro-batch  taken as they come, for checkpoints hold whole tensors; told of in
                                            deterministic mode, where bits depend on them
versions of what computes                   told of
format of the checkpoint                    not read (cluster.commit)
what the job's config says is learned       refused by the job, which knows its fields
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cluster.commit import Commit
from cluster.failures import DataChanged, RefusedAhead
from cluster.protocols import BatchPlan
from cluster.step_reports import refused_ahead
from pipelines.storage import Storage

if TYPE_CHECKING:
    from cluster.trainer import TrainingRun


def versions() -> dict[str, str]:
    """Of the libraries that decide what a step computes."""
    return {name: importlib.metadata.version(name) for name in ("torch", "ray", "deepspeed", "numpy")}


def check_resume(run: TrainingRun, commit: Commit | None, fingerprint: str, plan: BatchPlan) -> list[str]:
    """What is to be told of a run that goes on from a checkpoint, or begins without one.

    Raises DataChanged or RefusedAhead where it must not.
    """
    storage = Storage(run.run_directory)
    refused = None if run.retry_refused else refused_ahead(storage, commit.step if commit else 0)
    if refused is not None:
        raise RefusedAhead(refused)
    if commit is None:
        return []
    if commit.metadata["stream"] != fingerprint:
        raise DataChanged(
            f"{run.run_directory} was trained on data with fingerprint {commit.metadata['stream']}, the stream now has "
            f"{fingerprint}; give the data back, or start a new run (init_from takes over the weights)"
        )
    told = []
    if others := _changes(commit.metadata.get("versions", {}), versions()):
        told.append(f"the checkpoint of step {commit.step} was made with other versions: {others}")
    made_by = {"workers": commit.world_size, **commit.engine}
    makes = {
        "workers": plan.workers,
        "zero_stage": run.engine.zero_stage,
        "precision": run.engine.precision,
        "micro_batch": plan.micro_batch,
    }
    if plan.deterministic and (others := _changes(made_by, makes)):
        told.append(
            f"deterministic mode: from step {commit.step} on this run cannot be bit-equal to one left alone, for what "
            f"it was made with has changed: {others}. Give that back if every bit matters"
        )
    return told


def _changes(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """What both know and is not the same."""
    changed = {name: value for name, value in now.items() if before.get(name, value) != value}
    return ", ".join(f"{name} {before[name]} -> {value}" for name, value in changed.items())

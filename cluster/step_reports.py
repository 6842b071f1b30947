"""What a step was made of, written down where it was refused or its loss jumped.

    failures/step-00000012.json     a loss or gradient that was not finite; no update was made
    failures/spike-00000012.json    a finite loss far above those before it; the run went on

Both hold step (the one it was or would have been), epoch, the seed of the run and, per rank: its sample ids, the seeds
of its forward passes, and the parts of the loss per micro-batch. A number that is not finite is null, and named in
non_finite. Writing is on rank 0, and a failure of the storage is only told: it must change nothing else.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from typing import Any

from cluster.commit import DIRECTORY, KEEP, CheckpointError, newest
from cluster.spikes import Spike
from pipelines.storage import Storage, StorageError

logger = logging.getLogger(__name__)

FAILURES = "failures"
"""Folder of a run directory."""


def rank_report(rank: int, sample_ids: list[int], seeds: list[int], losses: Sequence[dict[str, float]]) -> Any:
    """One rank's part of a report, as JSON values. `losses` and `seeds` per micro-batch."""
    odd = {name: str(value) for loss in losses for name, value in loss.items() if not math.isfinite(value)}
    clean = [{name: value if math.isfinite(value) else None for name, value in loss.items()} for loss in losses]
    return {"rank": rank, "sample_ids": sample_ids, "forward_seeds": seeds, "losses": clean, "non_finite": odd}


def write_refused(storage: Storage, facts: dict[str, Any]) -> str | None:
    """The address of the report of a refused step; None where it could not be written."""
    return _write(storage, f"{FAILURES}/step-{facts['step']:08d}.json", facts)


def write_spike(storage: Storage, spike: Spike, facts: dict[str, Any]) -> str | None:
    """The address of the report of a spike; None where it could not be written. The checkpoint before it is kept."""
    told = {name: getattr(spike, name) for name in ("loss", "mean", "deviation", "threshold")}
    return _write(storage, f"{FAILURES}/spike-{facts['step']:08d}.json", told | {"kept": _keep(storage, facts)} | facts)


def refused_ahead(storage: Storage, step: int) -> str | None:
    """Which step after `step` has been refused, its samples and the remedies; None: no such step."""
    prefix = f"{FAILURES}/step-"
    numbers = {info.name: info.name.removeprefix(prefix).removesuffix(".json") for info in storage.list(FAILURES)}
    ahead = sorted(name for name, number in numbers.items() if number.isdecimal() and int(number) > step)
    if not ahead:
        return None
    return (
        f"step {int(numbers[ahead[0]])}, after the checkpoint at step {step}, was refused before, with sample ids by "
        f"rank {_sample_ids(storage, ahead[0])} ({storage.full(ahead[0])}). It may come to the same again: leave bad "
        "samples out of the data, or start a new run with a lower optimizer.base_lr, an optimizer.gradient_clip or "
        "engine.precision fp32 (init_from takes over the weights). If the cause is gone, retry_refused goes on"
    )


def _sample_ids(storage: Storage, name: str) -> dict[int, list[int]] | str:
    try:
        return {report["rank"]: report["sample_ids"] for report in json.loads(storage.read(name))["ranks"]}
    except (ValueError, KeyError, TypeError):
        return "that cannot be read any more"


def _write(storage: Storage, name: str, facts: dict[str, Any]) -> str | None:
    try:
        storage.write(name, json.dumps(facts, indent=1, allow_nan=False).encode())
    except StorageError as error:
        logger.warning("the report %s could not be written: %s", storage.full(name), error)
        return None
    return storage.full(name)


def _keep(storage: Storage, facts: dict[str, Any]) -> str | None:
    """Name of the newest checkpoint, which retention no longer removes; None where there is none."""
    checkpoints = storage.child(DIRECTORY)
    try:
        commit = newest(checkpoints)
        if commit is None:
            return None
        text = f"the loss jumped at step {facts['step']}; remove this file if this checkpoint is not wanted any more\n"
        checkpoints.write(f"{commit.name}/{KEEP}", text.encode())
    except (StorageError, CheckpointError) as error:
        logger.warning("the checkpoint before the spike at step %d could not be kept: %s", facts["step"], error)
        return None
    return commit.name

"""Whether a disturbed run did what an undisturbed one does, by accounts that its checkpoints have no part in."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from cluster.audit import lives, surviving
from cluster.ledger import QUARANTINE
from cluster.sinks import read_rows
from pipelines.storage import Storage

LOSS_TOLERANCE = 1e-4
"""Between losses of one step in fp32: sums over another number of workers are rounded in another order."""


@dataclass(frozen=True)
class Account:
    """Sample ids over all epochs; quarantined ones are not due."""

    consumed: int
    """Used in an update, as due."""
    twice: int
    """Used again in the same epoch."""
    missing: int
    """Due and never used."""
    foreign: int
    """Used without being due."""
    lives: int
    """Of the worker group."""


def account(run_directory: Storage, due: Set[int], epochs: int, steps: int) -> Account:
    """Of a run of as many epochs and steps, each epoch of the ids `due`."""
    used = surviving(run_directory)
    quarantined = {(row["epoch"], row["sample_id"]) for row in read_rows(run_directory, QUARANTINE, steps)}
    consumed = twice = missing = foreign = 0
    for epoch in {*range(epochs), *used}:
        counts = used.get(epoch, {})
        wanted = {i for i in due if (epoch, i) not in quarantined} if epoch < epochs else set()
        consumed += len(wanted & counts.keys())
        missing += len(wanted - counts.keys())
        foreign += len(counts.keys() - wanted)
        twice += sum(count > 1 for count in counts.values())
    return Account(consumed, twice, missing, foreign, len(lives(run_directory)))


def losses(run_directory: Storage, steps: int) -> list[float] | None:
    """Of every step; None where one is logged twice or not at all."""
    rows = [row for row in read_rows(run_directory, "metrics.jsonl", steps) if "loss/total" in row]
    logged = [row["step"] for row in rows] == list(range(1, steps + 1))
    return [row["loss/total"] for row in rows] if logged else None


def largest_gap(some: list[float] | None, others: list[float] | None) -> float | None:
    """Between the losses of two runs at any step; None where one of them has not all."""
    if some is None or others is None:
        return None
    return max(abs(one - other) for one, other in zip(some, others, strict=True))

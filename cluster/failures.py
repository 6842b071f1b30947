"""Failures of ours, which stop a run, and when restarting the workers has become pointless.

Retrying repeats a bug, a NaN or changed data, so these stop the run before damage. A worker that died is replaced: the
driver starts the group again, it resumes from the newest commit, until `verdict` sees no progress. Workers that a node
took with it when it was drained did not fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.storage import redact


class TrainingError(RuntimeError):
    """The run stopped for a reason that a restart does not remove; the message names it."""


class NonFinite(TrainingError):
    """A loss or gradient was NaN or infinite; the parameters were not updated."""


class QuarantineBudgetExceeded(TrainingError):
    """More samples of an epoch were rejected than the budget allows."""


class DataChanged(TrainingError):
    """The checkpoint was made with other data than the run is given."""


class SampleRepeated(TrainingError):
    """The stream delivered a sample a second time within an epoch."""


class EpochIncomplete(TrainingError):
    """The stream left samples out, however often it was asked for the rest."""


class SamplesMiscounted(TrainingError):
    """What an epoch read is not what it trained on and rejected, or not what the epoch is made of."""


class RefusedAhead(NonFinite):
    """That has happened at a step after the checkpoint, and the run was not told to try it again."""


class WorkersFailed(TrainingError):
    """The workers failed of a bug, or without progress, or more often than allowed; the message says where and why."""


class RunTakenOver(TrainingError):
    """Another command has begun to train in the same run directory."""


@dataclass
class Attempt:
    """One life of the worker group, as the monitor saw it."""

    resumed_step: int
    reached: dict[int, int] = field(default_factory=dict)
    """Per rank the optimizer step it began last."""
    sample_ids: dict[int, list[int]] = field(default_factory=dict)
    """Per rank the samples of that step."""
    nodes: dict[int, str] = field(default_factory=dict)
    """Per rank the id of its node."""
    errors: dict[int, str] = field(default_factory=dict)
    """Per rank what it raised; a rank that was killed has no entry."""
    is_fatal: bool = False
    """One of the errors is a bug or a configuration that a restart repeats."""
    was_drained: bool = False
    """A node that it used was about to go away."""

    @property
    def place(self) -> int | None:
        """The step in which it ended; None before its first."""
        return max(self.reached.values(), default=None)

    def summary(self) -> str:
        """One line."""
        where = f"before the first step after {self.resumed_step}" if self.place is None else f"in step {self.place}"
        if self.was_drained:
            return f"left a node that is draining, {where}"
        return f"failed {where}: {next(iter(self.errors.values()), 'killed').splitlines()[0]}"

    def describe(self) -> str:
        if self.place is None:
            where = f"before its first step, after resuming at step {self.resumed_step}"
        else:
            ids = {rank: self.sample_ids[rank] for rank in sorted(self.sample_ids)}
            where = f"in step {self.place}, with sample ids by rank {ids}"
        errors = "".join(f"\nrank {rank}: {text}" for rank, text in sorted(self.errors.items()))
        return f"{where}{errors or '; no rank reported an error, the processes were killed'}"


def verdict(attempts: Sequence[Attempt], *, committed_step: int, max_failures: int) -> str | None:
    """Why the worker group is not to be started again after these attempts, all of which failed or left a node that was
    draining; None: start it.

    `committed_step` is that of the newest checkpoint. Progress is a newer checkpoint and nothing else: the failures
    since the last one are counted, those of drained nodes apart.
    """
    if not attempts:
        return None
    last = attempts[-1]
    if last.is_fatal:
        return f"the workers failed {last.describe()}"
    if not (max_failures or last.was_drained):
        return f"gave up after 0 restarts, as was asked: the workers failed {last.describe()}"
    fruitless = [attempt for attempt in attempts if attempt.resumed_step == committed_step]
    failed = [attempt for attempt in fruitless if not attempt.was_drained]
    if len(failed) >= 2 and failed[-1].place == failed[-2].place and not last.was_drained:
        return f"the workers failed twice without progress, {last.describe()}"
    if len(failed) > max_failures:
        return f"gave up after {max_failures} restarts without a new checkpoint: the workers failed {last.describe()}"
    if len(fruitless) - len(failed) > MAX_DRAINS:
        return f"nodes were drained {MAX_DRAINS + 1} times before a new checkpoint was there; save more often"
    return None


MAX_DRAINS = 20
"""Restarts after drained nodes without a checkpoint in between."""

_BUGS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError)


def is_fatal(error: BaseException) -> bool:
    """Whether a restart would only repeat the error: a bug, a wrong configuration or an exhausted accelerator, unlike
    what a rank raises when a peer, a node or the storage goes away (RuntimeError, OSError)."""
    return isinstance(error, (*_BUGS, TrainingError, NotImplementedError)) or is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    kind = type(error)  # torch's, without importing it; Ray has an error of the same name, which is about the host
    return kind.__name__ == "OutOfMemoryError" and kind.__module__.startswith("torch")


def describe(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        text += " (lower engine.micro_batch, raise engine.zero_stage, or turn activation checkpointing on)"
    return redact(text)

"""Failures of ours, which stop a run, and when restarting the workers has become pointless.

Retrying repeats a bug, a NaN or changed data, so these stop the run before damage. A worker that died is replaced:
Ray Train restarts the group and it resumes from the newest commit, until `verdict` sees no progress.
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


@dataclass
class Attempt:
    """One life of the worker group, as the monitor saw it."""

    resumed_step: int
    reached: dict[int, int] = field(default_factory=dict)
    """Per rank the optimizer step it began last."""
    sample_ids: dict[int, list[int]] = field(default_factory=dict)
    """Per rank the samples of that step."""
    errors: dict[int, str] = field(default_factory=dict)
    """Per rank what it raised; a rank that was killed has no entry."""
    is_fatal: bool = False
    """One of the errors is a bug or a configuration that a restart repeats."""

    @property
    def last_step(self) -> int:
        return max(self.reached.values(), default=self.resumed_step)

    def describe(self) -> str:
        if not self.reached:
            where = f"before its first step, after resuming at step {self.resumed_step}"
        else:
            ids = {rank: self.sample_ids[rank] for rank in sorted(self.sample_ids)}
            where = f"in step {self.last_step}, with sample ids by rank {ids}"
        errors = "".join(f"\nrank {rank}: {text}" for rank, text in sorted(self.errors.items()))
        return f"{where}{errors or '; no rank reported an error, the processes were killed'}"


def verdict(attempts: Sequence[Attempt]) -> str | None:
    """Why the worker group is not to be started again after these attempts; None: start it."""
    if attempts and attempts[-1].is_fatal:
        return f"the workers failed {attempts[-1].describe()}"
    if len(attempts) >= 2 and attempts[-1].last_step == attempts[-2].last_step:
        return f"the workers failed twice without progress, {attempts[-1].describe()}"
    return None


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

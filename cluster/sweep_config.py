"""How a sweep searches, when it stops a trial and when it stops itself. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.search_space import Dimension, grid
from cluster.trials import TrialRecord

Method = Literal["grid", "random", "optuna"]
_TRIALS = 12


@dataclass(frozen=True)
class SearchConfig:
    """Which points are tried."""

    method: Method = "grid"
    """grid: all combinations; random: drawn evenly; optuna: drawn where trials that are over went well (TPE)."""
    trials: int | None = None
    """Number of points; None: all of a grid, else up to 12."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method == "grid" and self.seed != 0:
            raise ValueError(f"search.seed={self.seed} has no effect on a grid; leave it at 0")
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"search.trials={self.trials} must be at least 1")

    def count(self, space: Sequence[Dimension]) -> int:
        """Trials. Raises ValueError for a grid that has no end, or fewer points than are asked for."""
        has_end = all(dimension.choices is not None for dimension in space)
        if not has_end and self.method != "grid":
            return self.trials or _TRIALS
        points = len(grid(space))
        if self.trials is not None and self.trials > points:
            raise ValueError(f"search.trials={self.trials}, the space has {points} points; lower it, or leave it out")
        return self.trials or (points if self.method == "grid" else min(_TRIALS, points))


@dataclass(frozen=True)
class EarlyStopping:
    """Asynchronous successive halving (ASHA): a trial that reaches a rung goes on if it is among the best there."""

    enabled: bool = True
    grace: float = 0.25
    """First rung, as a share of a whole trial's samples."""
    reduction: float = 2.0
    """One of so many goes on at a rung, and the next rung lies so many times further."""

    def __post_init__(self) -> None:
        if not 0 < self.grace < 1:
            raise ValueError(f"stopping.grace={self.grace} must lie strictly between 0 and 1")
        if self.reduction <= 1:
            raise ValueError(f"stopping.reduction={self.reduction} must be above 1")


@dataclass(frozen=True)
class SweepBudget:
    """When no more is begun and what runs is ended; what is not over then goes on under a larger budget."""

    samples: int | None = None
    """Of all trials together."""
    gpu_hours: float | None = None
    """Hours times training workers, of all trials together; without GPUs a worker's hour counts as one of a GPU."""

    def __post_init__(self) -> None:
        for name in ("samples", "gpu_hours"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"budget.{name}={value} must be positive, or None for no limit")

    def is_spent(self, trials: Sequence[TrialRecord]) -> bool:
        samples = sum(trial.samples for trial in trials)
        hours = sum(trial.worker_seconds for trial in trials) / 3600
        return (self.samples is not None and samples >= self.samples) or (
            self.gpu_hours is not None and hours >= self.gpu_hours
        )

"""Jumps of a finite loss: seen against its own recent past, told of, and never a reason to stop.

Pure arithmetic on the loss of the global batch, which all ranks know; what is done about a spike is the loop's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SpikeConfig:
    """What counts as a spike of the loss, and how many are written down."""

    deviations: float = 6.0
    """A loss further above its running mean than this many running standard deviations is a spike."""
    window_steps: int = 100
    """Steps over which the running mean and deviation forget (by a factor of e)."""
    warmup_steps: int = 100
    """Steps at the beginning of a run in which the loss is only learned: it falls fast there, and says little."""
    max_reports: int = 10
    """Spikes of a run with a report and a checkpoint kept for good; later ones are only counted."""

    def __post_init__(self) -> None:
        for name, least in (("deviations", 1), ("window_steps", 2), ("warmup_steps", 2), ("max_reports", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")


@dataclass(frozen=True)
class Spike:
    """One loss that was too high, and what it was compared with."""

    loss: float
    mean: float
    deviation: float
    threshold: float
    is_reported: bool
    """False where the run has had its max_reports."""


class SpikeWatch:
    """Running mean and deviation of a loss. Deterministic: the same losses, in one life or in several, are judged
    alike."""

    def __init__(self, config: SpikeConfig, state: Mapping[str, float] | None = None) -> None:
        """`state` is what another watch told of itself."""
        self._config = config
        state = state or {}
        self._steps, self.spikes = int(state.get("steps", 0)), int(state.get("spikes", 0))
        self._mean, self._variance = float(state.get("mean", 0)), float(state.get("variance", 0))

    def state(self) -> dict[str, float]:
        """JSON values that make another watch go on from here."""
        return {"steps": self._steps, "spikes": self.spikes, "mean": self._mean, "variance": self._variance}

    def observe(self, loss: float) -> Spike | None:
        """Takes the loss of one step in; the spike that it is, if it is one."""
        deviation = math.sqrt(self._variance)
        # A loss that hardly varies would make a spike of its rounding.
        threshold = self._mean + max(self._config.deviations * deviation, 1e-3 * abs(self._mean))
        is_spike = self._steps >= self._config.warmup_steps and loss > threshold
        spike = None
        if is_spike:
            self.spikes += 1
            is_reported = self.spikes <= self._config.max_reports
            spike = Spike(loss, self._mean, deviation, threshold, is_reported)
        # A spike counts as the highest loss that is none: it hides no second one, and a loss that stays up is learned.
        self._take_in(min(loss, threshold) if is_spike else loss)
        return spike

    def _take_in(self, loss: float) -> None:
        self._steps += 1
        weight = max(1 / self._steps, 1 / self._config.window_steps)
        step = loss - self._mean
        self._mean += weight * step
        self._variance = (1 - weight) * (self._variance + weight * step**2)

"""The config of `jobs/soak.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

GLOBAL_BATCH = 4
"""Of every run of a soak: it can be dealt out to 1, 2 and 4 workers."""


@dataclass(frozen=True)
class SoakConfig:
    """How many runs are disturbed, and how large they are. One takes minutes: it starts some six groups of workers."""

    seeds: int = 20
    """Runs, each with a plan of faults drawn from its seed, and as many undisturbed ones to compare with."""
    first_seed: int = 0
    """The others follow it. The same seed means the same faults."""
    epochs: int = 3
    """Of every run; the first fault comes in the first of them."""
    steps_per_epoch: int = 6
    """Of every run; a corpus of 4 videos for each step, less one so that every epoch ends in a smaller batch."""
    workers: int = 2
    """Most workers that a run has; it is also stopped and resumed with another power of two, up to 4."""
    command_minutes: float = 10.0
    """A command that takes longer is ended, and the run counts as hung."""
    home: str | None = None
    """Where corpus and runs are kept, a directory or s3://bucket/prefix; the same again goes on where it was stopped.
    None: a temporary directory, removed when nothing was wrong."""

    def __post_init__(self) -> None:
        for name, least in (("seeds", 1), ("first_seed", 0), ("epochs", 1), ("steps_per_epoch", 2), ("workers", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if self.epochs * self.steps_per_epoch < 8:
            raise ValueError(
                f"epochs={self.epochs} of steps_per_epoch={self.steps_per_epoch} are too few steps for a plan of "
                "faults; at least 8 in all"
            )
        if self.command_minutes <= 0:
            raise ValueError(f"command_minutes={self.command_minutes:g} must be positive")

    @property
    def steps(self) -> int:
        """Of a whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def videos(self) -> int:
        """Of an epoch."""
        return GLOBAL_BATCH * self.steps_per_epoch - 1

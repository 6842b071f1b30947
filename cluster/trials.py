"""The trials of a sweep and their ledger: one JSON file beside the results, written anew at every event.

It is the only truth of a sweep, as the commit is of a run: Ray Tune starts from nothing each time, is handed the points
of the ledger again, and hears at once what was measured at those that are over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from cluster.search_space import Values
from pipelines.storage import ObjectMissing, Storage

LEDGER = "trials.json"
State = Literal["running", "finished", "stopped", "failed", "broken"]


@dataclass(frozen=True)
class Measurement:
    """What a trial is worth after so many samples; higher is better."""

    samples: int
    score: float


@dataclass(frozen=True)
class TrialRecord:
    """A point and what became of it."""

    number: int
    """From 1."""
    values: Values
    state: State = "running"
    """running: not over, also when its sweep was interrupted; stopped: early, as worse than others; failed: of its
    values; broken: of anything else, so that it is worth another try."""
    rows: tuple[Measurement, ...] = ()
    worker_seconds: float = 0.0
    """Seconds that it took so far, times the workers of its run."""
    outcome: dict[str, Any] = field(default_factory=dict)
    """What the trial says at its end."""
    detail: str = ""
    """Why it failed."""

    @property
    def is_over(self) -> bool:
        return self.state in ("finished", "stopped", "failed")

    @property
    def samples(self) -> int:
        return self.rows[-1].samples if self.rows else 0

    @property
    def score(self) -> float | None:
        """The newest; what was measured on the way is as noisy, and the best of many looks better than it is."""
        return self.rows[-1].score if self.rows else None

    def measured(self, samples: int, score: float) -> TrialRecord:
        """With one more row; one that is known already, from before an interruption, changes nothing."""
        if self.rows and samples <= self.rows[-1].samples:
            return self
        return replace(self, rows=(*self.rows, Measurement(samples, score)))


def best_of(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished trial of the highest score, of equal ones the first: only they saw as many samples as any other."""
    finished = [trial for trial in trials if trial.state == "finished" and trial.score is not None]
    return max(finished, key=lambda trial: (trial.score, -trial.number), default=None)


def read_trials(place: Storage) -> list[TrialRecord]:
    """In the order of their numbers; none where no sweep was begun."""
    try:
        known = json.loads(place.read(LEDGER))
    except ObjectMissing:
        return []
    return [TrialRecord(**{**one, "rows": tuple(Measurement(**row) for row in one["rows"])}) for one in known]


def write_trials(place: Storage, trials: Sequence[TrialRecord]) -> None:
    place.write(LEDGER, json.dumps([asdict(trial) for trial in trials], indent=1).encode())

"""What Ray Tune asks for points and tells of them: a Searcher that keeps the ledger, and when a sweep ends."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ray.tune import Stopper
from ray.tune.search import Searcher

from cluster.search_space import Dimension, Values
from cluster.sweep import BROKEN, FAILED, OUTCOME, Sweep, points
from cluster.trials import TrialRecord


class Suggestions(Searcher):
    """Hands out the points of the ledger, then new ones, never more at a time than the cluster holds; books what comes
    back."""

    def __init__(
        self, sweep: Sweep, known: Sequence[TrialRecord], changed: Callable[[Sequence[TrialRecord]], None]
    ) -> None:
        super().__init__(metric="score", mode="max")
        self._sweep, self._changed = sweep, changed
        self.trials = list(known)
        self.count = sweep.search.count(sweep.space)
        self._points = points(sweep)
        self._model = None if self._points is not None else _Model(sweep, known)
        self._handed_out = 0
        self._index: dict[str, int] = {}
        self._begun: dict[int, _Begun] = {}
        self._suggested: Values | None = None
        self._closed = False

    @property
    def is_spent(self) -> bool:
        self._clock()
        return self._sweep.budget.is_spent(self.trials)

    @property
    def is_closing(self) -> bool:
        """Whether a trial has seen all its samples and is about to say that it is finished."""
        return any(self.trials[index].samples >= self._sweep.samples_per_trial for index in self._begun)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._handed_out >= self.count:
            return Searcher.FINISHED
        index = self._handed_out
        known = self.trials[index] if index < len(self.trials) else None
        limit = self._sweep.limit()
        if known is None or not known.is_over:
            if len(self._begun) >= limit or self.is_spent:
                return None
            known = self._begin(trial_id, index, known, limit)
            if known is None:
                return None
        self._handed_out += 1
        self._index[trial_id] = index
        self._tell()
        rows = [(row.samples, row.score) for row in known.rows]
        return {"values": known.values, "sharing": limit, "known": rows, "is_over": known.is_over}

    def _begin(self, trial_id: str, index: int, known: TrialRecord | None, limit: int) -> TrialRecord | None:
        """The trial that begins, or goes on; None where a trial with the same values runs, in the same directory."""
        if known is None:
            values = self._suggested or self._next_point(trial_id, index)
            self._suggested = values if any(self.trials[other].values == values for other in self._begun) else None
            if self._suggested is not None:
                return None
            known = TrialRecord(index + 1, values)
            self.trials.append(known)
        else:
            self.trials[index] = replace(known, state="running", detail="")
        self._begun[index] = _Begun(time.monotonic(), known.worker_seconds, self._sweep.workers_of(limit))
        return known

    def _next_point(self, trial_id: str, index: int) -> Values:
        return self._points[index] if self._points is not None else self._model.suggest(trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._book(self._index[trial_id], result)
        self._tell()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        index = self._index[trial_id]
        if self._closed or self.trials[index].is_over:
            return
        self._book(index, result or {})
        self._clock()
        del self._begun[index]
        self.trials[index] = _ended(self.trials[index], result or {}, error=error)
        if self._model is not None:
            self._model.tell(trial_id, self.trials[index])
        self._tell()

    def close(self) -> None:
        """What is not over is left as it stands: to be gone on with. Tune asks again and again whether to stop."""
        if self._closed:
            return
        self._clock()
        self._closed = True
        self._tell()

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the ledger is kept elsewhere."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes all that it is given to its own folder, where nobody reads it."""
        return {}

    def _book(self, index: int, result: dict[str, Any]) -> None:
        score = result.get("score")
        if score is not None and math.isfinite(score):
            self.trials[index] = self.trials[index].measured(result["samples"], score)

    def _clock(self) -> None:
        now = time.monotonic()
        for index, (begun, before, workers) in self._begun.items():
            self.trials[index] = replace(self.trials[index], worker_seconds=before + workers * (now - begun))

    def _tell(self) -> None:
        self._changed(self.trials)


class _Begun(NamedTuple):
    """A trial that runs."""

    at: float
    worker_seconds_before: float
    workers: int


class SpentOrStopped(Stopper):
    """Ends a sweep whose budget is spent, or that somebody asked to stop."""

    def __init__(self, suggestions: Suggestions, stop: threading.Event) -> None:
        self._suggestions, self._stop = suggestions, stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def __getstate__(self) -> dict[str, Any]:
        """As of Suggestions."""
        return {}

    def stop_all(self) -> bool:
        if self._stop.is_set() or (self._suggestions.is_spent and not self._suggestions.is_closing):
            self._suggestions.close()
            return True
        return False


class _Model:
    """Optuna's sampler by way of Tune's searcher. Choices travel as their positions: a region is no value of its."""

    def __init__(self, sweep: Sweep, known: Sequence[TrialRecord]) -> None:
        from optuna.distributions import CategoricalDistribution, FloatDistribution
        from ray.tune.search.optuna import OptunaSearch

        self._space = sweep.space
        distributions = {
            one.name: FloatDistribution(one.low, one.high, log=one.log)
            if one.choices is None
            else CategoricalDistribution(range(len(one.choices)))
            for one in sweep.space
        }
        # The seed moves on with what is known, or a sweep that goes on would draw its first points again.
        seed = sweep.search.seed + 1000 * len(known)
        self._searcher = OptunaSearch(space=distributions, metric="score", mode="max", seed=seed)
        self._suggested: set[str] = set()
        for trial in known:
            if trial.is_over and trial.score is not None:
                self._searcher.add_evaluated_point(self._encode(trial.values), trial.score)

    def suggest(self, trial_id: str) -> Values:
        self._suggested.add(trial_id)
        found = self._searcher.suggest(trial_id)
        return {one.name: _decode(one, found[one.name]) for one in self._space}

    def tell(self, trial_id: str, trial: TrialRecord) -> None:
        """How a trial ended, also one that was suggested before its sweep was interrupted."""
        if trial_id in self._suggested:
            result = None if trial.score is None else {"score": trial.score}
            self._searcher.on_trial_complete(trial_id, result, error=trial.state == "failed")
        elif trial.score is not None:
            self._searcher.add_evaluated_point(self._encode(trial.values), trial.score)

    def _encode(self, values: Values) -> Values:
        return {
            one.name: values[one.name] if one.choices is None else one.choices.index(_frozen(values[one.name]))
            for one in self._space
        }


def _decode(dimension: Dimension, value: Any) -> Any:
    return value if dimension.choices is None else dimension.choices[value]


def _frozen(value: Any) -> Any:
    """As a choice is written; JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value


def _ended(trial: TrialRecord, result: dict[str, Any], *, error: bool) -> TrialRecord:
    if error:
        return replace(trial, state="broken", detail="its process died again and again; Ray's log says of what")
    for state in (FAILED, BROKEN):
        if state in result:
            return replace(trial, state=state, detail=result[state])
    if OUTCOME in result:
        return replace(trial, state="finished", outcome=json.loads(result[OUTCOME]))
    return replace(trial, state="stopped")

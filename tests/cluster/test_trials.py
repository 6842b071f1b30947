"""The ledger of a sweep: what is known of every trial, read again as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.search_space import parse_space
from cluster.sweep_config import EarlyStopping, SearchConfig, SweepBudget
from cluster.trials import Measurement, TrialRecord, best_of, read_trials, write_trials
from pipelines.storage import Storage


def trial(number: int, *scores: float, state: str = "finished", worker_seconds: float = 0.0) -> TrialRecord:
    rows = tuple(Measurement(100 * (index + 1), score) for index, score in enumerate(scores))
    return TrialRecord(number, {"a": number}, state, rows, worker_seconds)  # type: ignore[arg-type]


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    place = Storage(str(tmp_path))
    trials = [trial(0, 0.1, 0.2), trial(1, state="failed")]
    assert read_trials(place) == []
    write_trials(place, trials)
    assert read_trials(place) == trials


def test_the_best_is_the_finished_trial_of_the_highest_last_score() -> None:
    ended_low, early = trial(0, 0.9, 0.2), trial(1, 0.8, state="stopped")
    assert best_of([ended_low, early, trial(2, 0.1, 0.3), trial(3, 0.1, 0.3)]).number == 2
    assert best_of([early, trial(4, state="failed")]) is None


def test_a_measurement_that_comes_again_changes_nothing() -> None:
    before = trial(0, 0.1, 0.2)
    assert before.measured(200, 0.7) is before
    assert before.measured(300, 0.7).rows[-1] == Measurement(300, 0.7)


def test_a_budget_counts_samples_and_worker_hours_of_all_trials() -> None:
    trials = [trial(0, 0.1, 0.2, worker_seconds=1800), trial(1, 0.1, state="stopped", worker_seconds=1800)]
    assert SweepBudget(samples=300).is_spent(trials)
    assert not SweepBudget(samples=301).is_spent(trials)
    assert SweepBudget(gpu_hours=1).is_spent(trials)
    assert not SweepBudget(gpu_hours=1.01).is_spent(trials)
    assert not SweepBudget().is_spent(trials)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SearchConfig(seed=1), "no effect on a grid"),
        (lambda: SearchConfig(trials=0), "at least 1"),
        (lambda: EarlyStopping(grace=1.0), "strictly between"),
        (lambda: EarlyStopping(reduction=1.0), "above 1"),
        (lambda: SweepBudget(samples=0), "positive"),
        (lambda: SearchConfig(trials=7).count(parse_space(("a=1,2",))), "has 2 points"),
    ],
)
def test_values_without_sense_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]

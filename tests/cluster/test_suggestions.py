"""What Ray Tune is handed and what is booked of what it tells, without a cluster."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ray.tune.search import Searcher

from cluster.protocols import Reference
from cluster.search_space import parse_space
from cluster.suggestions import SpentOrStopped, Suggestions
from cluster.sweep import Sweep
from cluster.sweep_config import SearchConfig, SweepBudget
from cluster.trials import Measurement, TrialRecord

NO_TRIAL = Reference("cluster.nothing:nothing", None)


def sweep(*space: str, **fields: Any) -> Sweep:
    return Sweep(
        NO_TRIAL,
        parse_space(space or ("a=1,2,3",)),
        samples_per_trial=400,
        **({"concurrent": 1, "workers": 1} | fields),
    )


def suggestions(plan: Sweep, *known: TrialRecord) -> Suggestions:
    return Suggestions(plan, known, lambda trials: None)


def row(samples: int, score: float) -> dict[str, Any]:
    return {"samples": samples, "score": score, "training_iteration": 1}


def test_no_more_trials_run_than_the_limit_which_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    found = suggestions(sweep(concurrent=None))
    room = [1]
    monkeypatch.setattr(Sweep, "limit", lambda self: room[0])
    assert found.suggest("t0")["values"] == {"a": 1}
    assert found.suggest("t1") is None
    room[0] = 2
    later = found.suggest("t1")
    assert (later["values"], later["sharing"]) == ({"a": 2}, 2)
    assert found.suggest("t2") is None
    found.on_trial_complete("t0", row(400, 0.5))
    assert found.suggest("t2")["values"] == {"a": 3}
    found.on_trial_complete("t1", row(400, 0.5))
    assert found.suggest("t3") == Searcher.FINISHED


def test_a_trial_is_finished_stopped_or_failed_by_what_it_said_last() -> None:
    found = suggestions(sweep(concurrent=4))
    for name in ("t0", "t1", "t2"):
        found.suggest(name)
        found.on_trial_result(name, row(100, 0.2))
    found.on_trial_complete("t0", row(400, 0.5) | {"outcome": '{"run_directory": "there"}'})
    found.on_trial_complete("t1", row(200, 0.1))
    found.on_trial_complete("t2", {"samples": 100, "failed": "NonFinite: the loss"})
    assert [trial.state for trial in found.trials] == ["finished", "stopped", "failed"]
    assert all(trial.is_over for trial in found.trials)
    assert found.trials[0].outcome == {"run_directory": "there"}
    assert found.trials[1].rows == (Measurement(100, 0.2), Measurement(200, 0.1))
    assert found.trials[2].detail == "NonFinite: the loss"


def test_a_trial_whose_process_died_for_good_is_broken() -> None:
    found = suggestions(sweep())
    found.suggest("t0")
    found.on_trial_complete("t0", None, error=True)
    assert (found.trials[0].state, found.trials[0].is_over) == ("broken", False)


def test_a_sweep_that_goes_on_hands_out_what_is_over_with_its_rows_and_then_the_rest() -> None:
    over = TrialRecord(1, {"a": 1}, "stopped", (Measurement(100, 0.1),))
    interrupted = TrialRecord(2, {"a": 2}, "running", (Measurement(100, 0.3),), worker_seconds=50.0)
    found = suggestions(sweep(), over, interrupted)
    first, second = found.suggest("t0"), found.suggest("t1")
    assert (first["is_over"], first["known"]) == (True, [(100, 0.1)])
    assert (second["is_over"], second["known"], second["values"]) == (False, [(100, 0.3)], {"a": 2})
    assert found.suggest("t2") is None  # what is over takes no room, what goes on does
    found.on_trial_result("t0", row(100, 0.1))
    found.on_trial_complete("t0", row(100, 0.1))
    assert found.trials[0] == over
    found.on_trial_result("t1", row(100, 0.3))
    found.on_trial_complete("t1", row(400, 0.6) | {"outcome": "{}"})
    assert found.trials[1].rows == (Measurement(100, 0.3), Measurement(400, 0.6))
    assert found.trials[1].worker_seconds >= 50


def test_what_broke_is_tried_again_when_the_sweep_goes_on_and_what_failed_of_its_values_is_not() -> None:
    broken = TrialRecord(1, {"a": 1}, "broken", detail="the store was away")
    failed = TrialRecord(2, {"a": 2}, "failed", detail="the loss is not finite")
    found = suggestions(sweep(concurrent=2), broken, failed)
    assert [found.suggest(name)["is_over"] for name in ("t0", "t1")] == [False, True]
    assert (found.trials[0].state, found.trials[0].detail) == ("running", "")


def test_a_trial_that_has_seen_all_is_not_ended_by_the_budget_that_it_spent() -> None:
    found = suggestions(sweep("a=1", budget=SweepBudget(samples=400)))
    stopper = SpentOrStopped(found, threading.Event())
    found.suggest("t0")
    found.on_trial_result("t0", row(400, 0.2))
    assert not stopper.stop_all()
    found.on_trial_complete("t0", row(400, 0.2) | {"outcome": "{}"})
    assert [trial.state for trial in found.trials] == ["finished"]


def test_nothing_begins_under_a_spent_budget() -> None:
    over = TrialRecord(1, {"a": 1}, "finished", (Measurement(400, 0.1),))
    found = suggestions(sweep(budget=SweepBudget(samples=400)), over)
    assert found.suggest("t0")["is_over"] is True
    assert found.suggest("t1") is None


def test_a_spent_budget_ends_the_sweep_and_leaves_what_runs_to_be_gone_on_with() -> None:
    found = suggestions(sweep(budget=SweepBudget(samples=300), concurrent=2))
    stopper = SpentOrStopped(found, threading.Event())
    for name in ("t0", "t1"):
        found.suggest(name)
    found.on_trial_result("t0", row(200, 0.2))
    assert not stopper.stop_all()
    found.on_trial_result("t1", row(100, 0.2))
    assert stopper.stop_all()
    found.on_trial_complete("t0", row(200, 0.2))
    assert [trial.state for trial in found.trials] == ["running", "running"]


def test_a_request_to_stop_ends_the_sweep() -> None:
    stop = threading.Event()
    stopper = SpentOrStopped(suggestions(sweep()), stop)
    assert not stopper.stop_all()
    stop.set()
    assert stopper.stop_all()


def test_every_event_is_told() -> None:
    told: list[list[str]] = []
    found = Suggestions(sweep(), [], lambda trials: told.append([trial.state for trial in trials]))
    found.suggest("t0")
    found.on_trial_complete("t0", row(400, 0.5) | {"outcome": "{}"})
    assert told == [["running"], ["finished"]]


def optuna(*known: TrialRecord) -> Suggestions:
    space = ("rate=1e-4..1e-1:log", "region=2x5x10,2x2x10")
    plan = sweep(*space, search=SearchConfig(method="optuna", trials=60), concurrent=1)
    return suggestions(plan, *known)


def test_a_point_that_is_being_tried_waits_for_its_twin() -> None:
    plan = sweep("a=1,2", search=SearchConfig(method="optuna", trials=2), concurrent=2)
    found = suggestions(plan)
    monotone = iter([{"a": 1}, {"a": 1}])
    found._model.suggest = lambda trial_id: next(monotone)  # type: ignore[union-attr]
    assert found.suggest("t0")["values"] == {"a": 1}
    assert found.suggest("t1") is None
    found.on_trial_complete("t0", None, error=True)
    assert found.suggest("t2")["values"] == {"a": 1}


def worth(values: dict[str, Any]) -> float:
    return -abs(values["rate"] - 0.01) + (0.1 if values["region"] == (2, 2, 10) else 0.0)


def test_optuna_tries_more_of_what_went_well() -> None:
    found = optuna()
    for number in range(60):
        values = found.suggest(f"t{number}")["values"]
        found.on_trial_complete(f"t{number}", row(400, worth(values)) | {"outcome": "{}"})
    late = found.trials[40:]
    assert sum(trial.values["region"] == (2, 2, 10) for trial in late) > 12
    assert all(1e-4 <= trial.values["rate"] <= 1e-1 for trial in found.trials)


def test_optuna_goes_on_from_the_ledger_with_new_points() -> None:
    found = optuna()
    for number in range(8):
        values = found.suggest(f"t{number}")["values"]
        found.on_trial_complete(f"t{number}", row(400, worth(values)) | {"outcome": "{}"})
    # as JSON has them: a region is a list
    known = [
        TrialRecord(one.number, {**one.values, "region": list(one.values["region"])}, one.state, one.rows)
        for one in found.trials
    ]
    again = optuna(*known)
    handed = [again.suggest(f"u{number}")["values"]["rate"] for number in range(9)]
    assert handed[:8] == [one.values["rate"] for one in known]
    assert handed[8] not in handed[:8]

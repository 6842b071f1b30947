"""The engine of chains: what is skipped, gone on with, done again, and what a failure, a kill or a stop leaves."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import runtime
from cluster.config import WorkersConfig
from jobs.parts.chain import Outcome, run_stages
from jobs.parts.chain_config import Stage
from jobs.parts.chain_ledger import LEDGER, Ledger, read_ledger
from jobs.parts.chain_plan import plan
from jobs.parts.chain_run import failures, summarize
from jobs.recipes import features, finetuning, voxceleb
from pipelines.audio import LogMelConfig
from pipelines.feature_store import STORE
from pipelines.storage import Storage
from tests.jobs.chain_fakes import LOOKUPS, ORDER, FakeJobs, Killed, chain, feature_chain


@pytest.fixture
def place(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "chain")


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs()


def run(place: Storage, jobs: FakeJobs, stages: tuple[Stage, ...] | None = None) -> dict[str, Outcome]:
    """A driver that starts, and what it says of the stages."""
    stages = stages or chain()
    ledger = Ledger(place, "small", [stage.name for stage in stages])
    return run_stages(stages, ledger, jobs.runners())


def states(outcomes: dict[str, Outcome]) -> dict[str, str]:
    return {name: outcome.state for name, outcome in outcomes.items()}


def recorded(place: Storage) -> dict[str, dict[str, Any]]:
    """The ledger without its times."""
    stages = json.loads(place.read(LEDGER))["stages"]
    times = ("started", "seconds")
    return {name: {k: v for k, v in entry.items() if k not in times} for name, entry in stages.items()}


def test_stages_run_in_their_order_with_the_results_of_those_before(place: Storage, jobs: FakeJobs) -> None:
    assert set(states(run(place, jobs)).values()) == {"done"}
    assert jobs.calls == ORDER
    assert jobs.seen["pretrained"]["pretrain"] == {"is_finished": True, "made_by": "pretrain"}
    assert list(jobs.seen["table"]) == ORDER[:-1]


def test_the_ledger_says_of_every_stage_key_state_times_and_result(place: Storage, jobs: FakeJobs) -> None:
    jobs.returns["pretrain"] = {"loss": math.nan, "run_directory": "there"}
    run(place, jobs)
    content = json.loads(place.read(LEDGER))
    assert content["recipe"] == "small" and list(content["stages"]) == ORDER
    entry = content["stages"]["pretrain"]
    assert set(entry) == {"key", "state", "started", "seconds", "result", "error"}
    assert (entry["state"], entry["error"]) == ("done", None)
    assert entry["result"] == {"loss": None, "run_directory": "there"}, "what is not finite is null, as in result lines"
    assert entry["started"].endswith("+00:00") and entry["seconds"] >= 0
    assert len({entry["key"] for entry in content["stages"].values()}) == len(ORDER)


def test_a_chain_started_again_does_nothing_but_look_up_its_catalogs(place: Storage, jobs: FakeJobs) -> None:
    run(place, jobs)
    before = recorded(place)
    jobs.again()
    outcomes = states(run(place, jobs))
    assert jobs.again() == LOOKUPS
    assert [outcomes[name] for name in ORDER] == ["done"] * 2 + ["skipped"] * 5
    assert recorded(place) == before


def test_what_changed_is_done_again_with_all_that_follows_and_nothing_else(place: Storage, jobs: FakeJobs) -> None:
    run(place, jobs)
    jobs.again()
    other = replace(voxceleb.nano(), passes_per_epoch=3)
    run(place, jobs, chain(pretrain=other))
    assert jobs.again() == [*LOOKUPS, "pretrain", "export", "pretrained", "table"]
    assert states(run(place, jobs, chain(pretrain=other)))["pretrain"] == "skipped"


@pytest.mark.parametrize(
    ("field", "value", "redone"),
    [
        ("workers", WorkersConfig(deterministic=True), []),
        ("concurrent", 2, []),
        ("test_clips", 5, ["pretrained", "scratch", "table"]),
        ("passes_per_epoch", 3, ["pretrained", "scratch", "table"]),
    ],
)
def test_where_and_how_fast_a_result_is_computed_changes_nothing_and_what_decides_it_does(
    place: Storage, jobs: FakeJobs, field: str, value: object, redone: list[str]
) -> None:
    base = replace(finetuning.nano(), folds=(1,))
    run(place, jobs, chain(finetune=base))
    jobs.again()
    run(place, jobs, chain(finetune=replace(base, **{field: value})))
    assert jobs.again() == LOOKUPS + redone


def test_a_corpus_that_was_cataloged_anew_redoes_what_follows(place: Storage, jobs: FakeJobs) -> None:
    run(place, jobs)
    jobs.again()
    jobs.fingerprints["labelled"] = "l2"
    run(place, jobs)
    assert jobs.again() == [*LOOKUPS, "pretrained", "scratch", "table"]


def test_a_failure_stops_what_depends_on_it_and_nothing_else(place: Storage, jobs: FakeJobs) -> None:
    jobs.raises["pretrain"] = ValueError("the corpus is empty")
    outcomes = run(place, jobs)
    assert jobs.again() == [*LOOKUPS, "pretrain", "scratch"]
    assert states(outcomes) == {
        **dict.fromkeys(LOOKUPS, "done"),
        "pretrain": "failed",
        "export": "not run",
        "pretrained": "not run",
        "scratch": "done",
        "table": "not run",
    }
    assert outcomes["pretrained"].detail == "needs pretrain"
    entry = recorded(place)["pretrain"]
    assert (entry["state"], entry["error"], entry["result"]) == ("failed", "ValueError: the corpus is empty", None)
    assert "export" not in recorded(place)

    assert set(states(run(place, jobs)).values()) == {"done", "skipped"}
    assert jobs.again() == [*LOOKUPS, "pretrain", "export", "pretrained", "table"], "scratch was done"
    assert recorded(place)["pretrain"]["error"] is None


def test_the_job_ends_with_what_failed_why_and_what_was_not_run(place: Storage, jobs: FakeJobs) -> None:
    stages = chain()
    ledger = Ledger(place, "small", ORDER)
    jobs.raises["export"] = OSError("no space")
    jobs.returns["table"] = {"markdown": "tables/table.md"}
    result = summarize(stages, run_stages(stages, ledger, jobs.runners()), ledger, place)
    assert (result["is_finished"], result["failed"]) == (False, {"export": "OSError: no space"})
    assert (result["tables"], result["exported"]) == (["tables/table.md"], []), "no table needs the export"
    assert failures(result) == "export failed: OSError: no space\nthe same command tries again, or goes on"

    jobs.raises["pretrain"] = OSError("no space")
    other = chain(pretrain=replace(voxceleb.nano(), seed=1))
    result = summarize(other, run_stages(other, ledger, jobs.runners()), ledger, place)
    assert "not run: export, pretrained, table" in (failures(result) or "")
    assert failures({"failed": {}, "stages": {}, "was_asked_to_stop": False}) is None


@pytest.mark.parametrize("victim", ORDER)
def test_a_driver_killed_in_a_stage_goes_on_with_that_stage_and_ends_as_if_undisturbed(
    tmp_path: Path, jobs: FakeJobs, victim: str
) -> None:
    undisturbed, killed = Storage(tmp_path / "undisturbed"), Storage(tmp_path / "killed")
    run(undisturbed, jobs)
    jobs.again()
    jobs.raises[victim] = Killed()
    with pytest.raises(Killed):
        run(killed, jobs)
    assert jobs.again() == ORDER[: ORDER.index(victim) + 1]
    assert recorded(killed)[victim]["state"] == "running"
    run(killed, jobs)
    position = max(ORDER.index(victim), len(LOOKUPS))
    assert jobs.again() == LOOKUPS + ORDER[position:]
    assert recorded(killed) == recorded(undisturbed)


@pytest.mark.parametrize("moment", ["begin", "finish"])
def test_a_driver_killed_between_two_stages_loses_neither(
    place: Storage, jobs: FakeJobs, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Killed before the export is said to begin, or after pre-training is done and before that is written."""
    victim = {"begin": "export", "finish": "pretrain"}[moment]
    unharmed = getattr(Ledger, moment)

    def kill(ledger: Ledger, name: str, *arguments: Any) -> None:
        if name == victim:
            raise Killed
        unharmed(ledger, name, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Ledger, moment, kill)
        run(place, jobs)
    jobs.again()
    assert set(states(run(place, jobs)).values()) <= {"done", "skipped"}
    assert jobs.again() == LOOKUPS + ORDER[ORDER.index(victim) :]


def test_the_directory_of_another_recipe_is_refused_and_left_alone(place: Storage, jobs: FakeJobs) -> None:
    run(place, jobs)
    before = place.read(LEDGER)
    with pytest.raises(ValueError, match="recipe small, not of other: give this one another --name"):
        Ledger(place, "other", ORDER)
    assert place.read(LEDGER) == before
    assert set(read_ledger(place, "small")) == set(ORDER)


@pytest.fixture
def handled() -> Iterator[None]:
    """SIGTERM as within a session."""
    previous = signal.signal(signal.SIGTERM, runtime._on_sigterm)
    yield
    signal.signal(signal.SIGTERM, previous)


def asked_to_stop(result: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """A job that is asked to stop while it runs."""

    def job(stage: Stage, results: object) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return result

    return job


@pytest.mark.parametrize(("is_finished", "state"), [(False, "unfinished"), (True, "done")])
def test_a_request_to_stop_ends_the_chain_with_the_stage_that_runs(
    place: Storage, jobs: FakeJobs, handled: None, is_finished: bool, state: str
) -> None:
    ledger = Ledger(place, "small", ORDER)
    stopping = jobs.runners() | {"pretrain": asked_to_stop({"is_finished": is_finished, "made_by": "pretrain"})}
    outcomes = run_stages(chain(), ledger, stopping)
    assert jobs.again() == LOOKUPS
    assert states(outcomes) == dict.fromkeys(LOOKUPS, "done") | {"pretrain": state} | dict.fromkeys(
        ORDER[3:], "not run"
    )
    assert recorded(place)["pretrain"]["state"] == ("done" if is_finished else "running")
    assert not summarize(chain(), outcomes, ledger, place)["is_finished"]

    assert set(states(run(place, jobs)).values()) <= {"done", "skipped"}
    assert jobs.again() == LOOKUPS + ([] if is_finished else ["pretrain"]) + ORDER[3:]


def test_a_request_to_stop_that_came_while_a_stage_prepared_reaches_what_it_starts_then(
    place: Storage, jobs: FakeJobs, handled: None
) -> None:
    def prepares_then_trains(stage: Stage, results: object) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        with runtime.stop_requests() as stop:  # as of the training that begins now
            return {"is_finished": not stop.is_set()}

    outcomes = run_stages(chain(), Ledger(place, "small", ORDER), jobs.runners() | {"pretrain": prepares_then_trains})
    assert (outcomes["pretrain"].state, outcomes["pretrain"].was_asked_to_stop) == ("unfinished", True)


def test_what_was_removed_is_made_again(place: Storage, jobs: FakeJobs, tmp_path: Path) -> None:
    exported = Storage(tmp_path / "exported")
    exported.write("model.safetensors", b"weights")
    jobs.returns["export"] = {"weights": exported.full("model.safetensors")}
    run(place, jobs)
    jobs.again()
    run(place, jobs)
    assert jobs.again() == LOOKUPS
    (tmp_path / "exported" / "model.safetensors").unlink()
    run(place, jobs)
    assert jobs.again() == [*LOOKUPS, "export"]


def test_features_that_changed_redo_the_heads_that_read_them_and_nothing_else(place: Storage, jobs: FakeJobs) -> None:
    run(place, jobs, feature_chain())
    assert jobs.seen["head"]["heard"] == {"is_finished": True, "made_by": "heard"}
    jobs.again()
    other = replace(features.log_mel(), encoder=LogMelConfig(window_seconds=0.8))
    run(place, jobs, feature_chain(other))
    assert jobs.again() == ["labelled", "heard", "head", "table"]
    jobs.fingerprints["labelled"] = "l2"
    run(place, jobs, feature_chain(other))
    assert jobs.again() == [stage.name for stage in feature_chain()], "videos that were cataloged anew redo all"


def test_features_that_were_removed_are_made_again_and_the_heads_that_read_them_stay(
    place: Storage, jobs: FakeJobs, tmp_path: Path
) -> None:
    store = Storage(tmp_path / "features")
    store.write(STORE, b"{}")
    jobs.returns["heard"] = {"store": store.uri}
    run(place, jobs, feature_chain())
    jobs.again()
    run(place, jobs, feature_chain())
    assert jobs.again() == ["labelled"]
    store.remove(STORE)
    states = {row.stage: row.state for row in plan(feature_chain(), read_ledger(place, "small"), Storage(tmp_path))}
    assert (states["heard"], states["head"]) == ("looked at again", "done")
    run(place, jobs, feature_chain())
    assert jobs.again() == ["labelled", "heard"]


def test_a_stage_that_writes_no_checkpoint_ends_at_once_when_asked_to_stop(
    place: Storage, jobs: FakeJobs, handled: None
) -> None:
    with pytest.raises(SystemExit):
        run_stages(chain(), Ledger(place, "small", ORDER), jobs.runners() | {"export": asked_to_stop({})})
    assert recorded(place)["export"]["state"] == "running"


def test_a_stage_that_ends_early_by_itself_stops_what_depends_on_it(place: Storage, jobs: FakeJobs) -> None:
    jobs.returns["pretrain"] = {"is_finished": False}
    outcomes = states(run(place, jobs))
    assert (outcomes["pretrain"], outcomes["pretrained"], outcomes["scratch"]) == ("unfinished", "not run", "done")
    told = failures({"failed": {}, "stages": outcomes, "was_asked_to_stop": False})
    assert told is not None and told.startswith("pretrain is not finished\nnot run: ")
    entry = recorded(place)["pretrain"]
    assert (entry["state"], entry["result"]) == ("running", None)

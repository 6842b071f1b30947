"""Saves of a real run that fail, hang or die with their process, and what the run is worth afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from cluster import retention
from cluster.checkpoint import CheckpointStore, Staged
from cluster.commit import BITMAP, COMMIT, CheckpointError, RanksLost, newest, scan
from cluster.config import CheckpointConfig
from cluster.failures import NonFinite
from cluster.fault_config import FaultPlan
from cluster.ledger import QUARANTINE
from cluster.saver import SavesFailed
from cluster.trainer import DIRECTORY
from pipelines.storage import Storage
from tests.cluster.faulty_storage import Fault, FaultyStorage
from tests.cluster.loops import Loss, Outcome, run_loop, toy_run
from tests.cluster.test_checkpoint import make_store, progress_at, save
from tests.cluster.test_engine import is_same
from tests.cluster.toy import ToyData
from tests.cluster.workers import TinyTask, Workers, full_state, make_engine, train

LATE = Fault("write", COMMIT, 0, "delay")
NEVER = Fault("write", "no such file", 0)


@pytest.fixture(scope="module")
def doomed() -> Iterator[Workers]:
    """Two workers that the tests kill; new ones take their place."""
    workers = Workers(2)
    yield workers
    workers.close()


def run(pair: Workers, folder: Path, fault: Fault, *, rejected: tuple = (), **changes: Any) -> Outcome:
    """The loop of two workers, which saves after steps 3, 6, 7, 9, 12 and 14; rank 0's outcome."""
    toy = toy_run(folder, data=ToyData(rejected=rejected), **changes)
    first, second = pair.run(run_loop, toy, Loss(), None, fault)
    assert str(first.error) == str(second.error) and first.step == second.step
    return first


def steps(folder: Path) -> list[int]:
    return [commit.step for commit in scan(Storage(folder / DIRECTORY)).commits]


def test_a_run_whose_saves_fail_now_and_then_ends_like_any_other(pair: Workers, tmp_path: Path) -> None:
    undisturbed = run(pair, tmp_path / "undisturbed", NEVER)
    disturbed = run(pair, tmp_path / "run", Fault("write", "weights-00001", 1, "disk full", calls=(0, 2, 3)))
    assert disturbed.error is None
    assert torch.equal(disturbed.weights, undisturbed.weights)
    assert steps(tmp_path / "undisturbed") == [14, 12, 9, 7, 6, 3]
    assert steps(tmp_path / "run") == [14, 12, 6]


def test_a_run_stops_after_too_many_failed_saves_and_resumes_from_the_last_good_one(
    pair: Workers, tmp_path: Path
) -> None:
    outcome = run(pair, tmp_path, Fault("write", COMMIT, 0, calls=(1, 2, 3, 4)))
    assert isinstance(outcome.error, SavesFailed)
    assert outcome.step == 12  # where the third failure, that of step 9, was heard of
    assert steps(tmp_path) == [3]
    resumed = run(pair, tmp_path, NEVER)
    assert resumed.begun[0][0] == 4 and resumed.step == 14


def test_a_run_whose_last_save_fails_is_not_finished(pair: Workers, tmp_path: Path) -> None:
    outcome = run(pair, tmp_path, Fault("write", COMMIT, 0, calls=(5,)))
    assert isinstance(outcome.error, CheckpointError) and outcome.step == 14
    assert newest(Storage(tmp_path / DIRECTORY)).step == 12


def test_the_save_before_a_refused_step_is_committed(pair: Workers, tmp_path: Path) -> None:
    outcome = run(pair, tmp_path, LATE, faults=FaultPlan(("nan:rank=0,step=5,phase=forward",)))
    assert isinstance(outcome.error, NonFinite)
    assert steps(tmp_path) == [step for step in (12, 9, 7, 6, 3) if step <= outcome.step]


class Witness(FaultyStorage):
    """Notes what the files of the run hold whenever a checkpoint becomes visible."""

    def write(self, name: str, data: bytes) -> None:
        if name.endswith(COMMIT):
            folder = Path(self.uri).parent
            rows = (folder / "metrics.jsonl").read_text().splitlines()
            rejected = (folder / QUARANTINE).read_text().splitlines()
            with (folder / "witness").open("a") as file:
                print(json.loads(data)["step"], json.loads(rows[-1])["step"], len(rejected), file=file)
        super().write(name, data)


def run_with_witness(*arguments: object) -> Outcome:
    from tests.cluster import loops

    original, loops.FaultyStorage = loops.FaultyStorage, Witness
    try:
        return run_loop(*arguments)
    finally:
        loops.FaultyStorage = original


def test_what_a_checkpoint_counts_on_is_written_before_it_is_visible(pair: Workers, tmp_path: Path) -> None:
    toy = toy_run(tmp_path, data=ToyData(rejected=(7, 30)))
    pair.run(run_with_witness, toy, Loss(), None, NEVER)
    commits = {commit.step: commit.progress["quarantined"] for commit in scan(Storage(tmp_path / DIRECTORY)).commits}
    seen = [tuple(map(int, line.split())) for line in (tmp_path / "witness").read_text().splitlines()]
    assert [step for step, _, _ in seen] == [3, 6, 7, 9, 12, 14]
    for step, row, quarantined in seen:
        assert row >= step and quarantined >= commits[step]


KILLS = [
    Fault("write", "weights-00000", 0, "kill after"),
    Fault("write", "weights-00001", 1, "kill after"),
    Fault("write", "rank-00000.json", 0, "kill before"),
    Fault("write", "rank-00001.json", 1, "kill before"),
    Fault("write", "rank-00000.json", 0, "kill after"),
    Fault("write", "rank-00001.json", 1, "kill after"),
    Fault("write", BITMAP, 0, "kill after"),
    Fault("write", COMMIT, 0, "kill before"),
]


def save_one(uri: str, environment: dict[str, str]) -> dict[str, torch.Tensor]:
    os.environ.update(environment)
    engine = make_engine(0, "fp32")
    train(engine, range(1))
    save(make_store(uri), engine, progress_at(1))
    return full_state(engine)


def save_and_die(uri: str, fault: Fault, environment: dict[str, str], step: int) -> None:
    """Without an engine, whose import takes longer than the rest of the test."""
    os.environ.update(environment)
    task = TinyTask()
    moments = {name: ("exp_avg", "exp_avg_sq") for name, weight in task.named_parameters() if weight.requires_grad}
    weights = sorted(task.state_dict().items())[dist.get_rank() :: 2]
    state = {name: {key: w.clone() for key in ("weight", *moments.get(name, ()))} for name, w in weights}
    progress = progress_at(step)
    description = {"step": step, "epoch": 1, "progress": progress.counts(), "engine": {"updates": step}, "metadata": {}}
    store = CheckpointStore(FaultyStorage(uri, fault), CheckpointConfig())
    name = store.ranks.broadcast(f"step-{step:08d}-{dist.get_rank():02x}")
    store.commit(Staged(name, state, bytes(3), description))


def resume_and_save(uri: str) -> tuple[int, dict[str, torch.Tensor]]:
    """The step resumed from, and the state found; commits two more, with orphans taken for old ones."""
    engine, store = make_engine(0, "fp32", task=TinyTask(seed=9)), make_store(uri)
    step = store.restore(engine, store.newest()).step
    found = full_state(engine)
    age, retention.ORPHAN_AGE = retention.ORPHAN_AGE, timedelta(seconds=-60)
    try:
        for later in (1, 2):
            save(store, engine, progress_at(step + later))
    finally:
        retention.ORPHAN_AGE = age
    return step, found


@pytest.mark.parametrize("fault", KILLS, ids=str)
def test_a_worker_killed_at_any_phase_leaves_no_checkpoint_and_the_run_resumes_from_the_one_before(
    pair: Workers, doomed: Workers, tmp_path: Path, fault: Fault
) -> None:
    survives_a_kill(pair, doomed, (str(tmp_path), {}), fault)


def test_the_same_holds_on_object_storage(
    pair: Workers, doomed: Workers, s3_bucket: str, s3_variables: dict[str, str]
) -> None:
    survives_a_kill(pair, doomed, (f"{s3_bucket}/run/checkpoints", s3_variables), KILLS[5])


def survives_a_kill(pair: Workers, doomed: Workers, place: tuple[str, dict[str, str]], fault: Fault) -> None:
    uri, environment = place
    before = pair.run(save_one, *place)[0]
    with pytest.raises((BrokenProcessPool, RanksLost)):
        doomed.run(save_and_die, uri, fault, environment, 2)
    listing = scan(Storage(uri))
    assert [commit.step for commit in listing.commits] == [1] and not listing.damaged
    # Where rank 0 outlives the other, it may have taken the directory away before it was killed too.
    assert set(listing.orphans) <= {"step-00000002-00"} and (listing.orphans or fault.rank == 1)
    for step, found in pair.run(resume_and_save, uri):
        assert step == 1 and is_same(found, before)
    listing = scan(Storage(uri))
    assert [commit.step for commit in listing.commits] == [3, 2] and not listing.orphans


def test_a_worker_killed_after_the_commit_leaves_a_checkpoint_and_retention_is_made_up_for(
    pair: Workers, doomed: Workers, tmp_path: Path
) -> None:
    uri = str(tmp_path)
    pair.run(save_one, uri, {})
    doomed.run(save_and_die, uri, NEVER, {}, 2)
    with pytest.raises((BrokenProcessPool, RanksLost)):
        doomed.run(save_and_die, uri, Fault("write", COMMIT, 0, "kill after"), {}, 3)
    assert [commit.step for commit in scan(Storage(uri)).commits] == [3, 2, 1]
    assert [step for step, _ in pair.run(resume_and_save, uri)] == [3, 3]
    assert [commit.step for commit in scan(Storage(uri)).commits] == [5, 4]


def test_a_run_killed_while_it_saves_beside_training_ends_like_an_undisturbed_one(
    pair: Workers, doomed: Workers, tmp_path: Path
) -> None:
    undisturbed = run(pair, tmp_path / "undisturbed", NEVER, rejected=(7, 30))
    toy = toy_run(tmp_path / "run", data=ToyData(rejected=(7, 30)))
    with pytest.raises((BrokenProcessPool, RuntimeError)):
        doomed.run(run_loop, toy, Loss(), None, replace(KILLS[-1], calls=(2,)))
    assert steps(tmp_path / "run") == [6, 3]
    resumed = run(pair, tmp_path / "run", NEVER, rejected=(7, 30))
    assert resumed.begun[0][0] == 7 and torch.equal(resumed.weights, undisturbed.weights)
    quarantined = [(tmp_path / part / QUARANTINE).read_text() for part in ("run", "undisturbed")]
    assert quarantined[0] == quarantined[1]

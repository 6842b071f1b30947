"""Planned faults happen once, where they are planned, are recorded, and are survived."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster.audit import lives, surviving
from cluster.checkpoint import CheckpointError
from cluster.commit import COMMIT, scan
from cluster.config import CheckpointConfig
from cluster.fault_config import DRIVER, FaultPlan
from cluster.faults import DIRECTORY as FAULTS
from cluster.faults import Faults, InjectedFault, unfired
from cluster.ledger import read_epoch
from cluster.trainer import DIRECTORY, TrainingRun
from pipelines.storage import Storage, StorageUnavailable
from tests.cluster.loops import Loss, Outcome, run_loop, toy_run
from tests.cluster.toy import ToyData
from tests.cluster.workers import Workers

STEP_PHASES = ("forward", "backward", "update", "mark")


def faults_of(folder: Path, *specs: str, rank: int = 0) -> Faults:
    return Faults(FaultPlan(specs), rank, Storage(folder))


def labels(specs: tuple[str, ...], folder: Path) -> list[str]:
    return [fault.label for fault in unfired(FaultPlan(specs), Storage(folder))]


def status_of_child(faults: Faults, phase: Any, step: int) -> int:
    """How a process ends, or pauses, that comes by."""
    child = os.fork()
    if not child:
        faults.at(phase, step)
        os._exit(0)
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return status


@pytest.mark.parametrize("phase", STEP_PHASES)
@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_a_signal_hits_its_rank_at_its_phase_and_step_once_over_all_lives(
    tmp_path: Path, kind: str, phase: str
) -> None:
    spec = f"{kind}:rank=1,step=3,phase={phase}"
    assert status_of_child(faults_of(tmp_path, spec, rank=0), phase, 3) == 0
    assert status_of_child(faults_of(tmp_path, spec, rank=1), phase, 2) == 0
    other = "mark" if phase != "mark" else "update"
    assert status_of_child(faults_of(tmp_path, spec, rank=1), other, 3) == 0
    assert labels((spec,), tmp_path) == [f"{kind}-1-3-{phase}"]

    status = status_of_child(faults_of(tmp_path, spec, rank=1), phase, 3)
    assert os.WTERMSIG(status) == signal.SIGKILL if kind == "kill" else os.WSTOPSIG(status) == signal.SIGSTOP
    assert labels((spec,), tmp_path) == []
    [record] = tmp_path.iterdir()
    assert record.name == f"{kind}-1-3-{phase}-1.json" and json.loads(record.read_text())["step"] == 3
    assert status_of_child(faults_of(tmp_path, spec, rank=1), phase, 3) == 0, "the next life"


def test_a_fault_with_a_count_happens_as_often_at_its_step_or_later(tmp_path: Path) -> None:
    spec = "raise:rank=0,step=3,phase=mark,count=3"
    raised = []
    for life in range(3):
        faults = faults_of(tmp_path, spec)
        for step in (2, 3, 4) if life else (1, 2, 5):
            try:
                faults.at("mark", step)
            except InjectedFault as error:
                raised.append(step)
                assert "raise-0-3-mark" in str(error)
        assert bool(labels((spec,), tmp_path)) == (len(raised) < 3)
    assert raised == [5, 3, 4]


def test_the_driver_is_killed_when_it_hears_of_the_step_or_a_later_one(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, "kill:rank=-1,step=3,phase=update", rank=DRIVER)
    faults.at_driver(2)
    child = os.fork()
    if not child:
        faults.at_driver(4)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_a_poisoned_loss_is_nan_or_finite_with_a_gradient_that_is_not(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, "nan:rank=0,step=1,phase=forward", "nan:rank=0,step=2,phase=backward")
    weight = torch.ones(3, requires_grad=True)
    assert faults.poison(weight.sum(), 1).isnan()
    loss = faults.poison(weight.sum(), 2)
    loss.backward()
    assert loss.item() == 3 and weight.grad.isnan().all()
    untouched = weight.sum()
    assert faults.poison(untouched, 3) is untouched


def test_uploads_fail_and_are_delayed_as_planned_and_the_storage_is_as_it_was_otherwise(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path / "faults",
        "fail_upload:rank=0,step=4,phase=write,count=2",
        "fail_upload:rank=0,step=4,phase=commit",
        "delay_upload:rank=0,step=6,phase=commit,seconds=0.2",
    )
    storage = faults.storage(Storage(tmp_path / "place"))
    storage.write("step-00000003-aa/weights", b"old")
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="fail_upload-0-4-write"):
            storage.write("step-00000005-bb/weights", b"new")
    assert not storage.exists("step-00000005-bb/weights")
    storage.write("step-00000005-bb/weights", b"new")
    with pytest.raises(StorageUnavailable, match="fail_upload-0-4-commit"):
        storage.child("step-00000005-bb").write(COMMIT, b"{}")
    before = time.monotonic()
    (tmp_path / "file").write_bytes(b"{}")
    storage.upload(tmp_path / "file", f"step-00000006-cc/{COMMIT}")
    assert time.monotonic() - before >= 0.2
    assert sorted(info.name for info in storage.list()) == [
        "step-00000003-aa/weights",
        "step-00000005-bb/weights",
        f"step-00000006-cc/{COMMIT}",
    ]
    plain = Storage(tmp_path)
    assert faults_of(tmp_path / "faults", "kill:rank=0,step=4,phase=mark").storage(plain) is plain


def toy(folder: Path, *specs: str, keep_last: int = 100) -> TrainingRun:
    return toy_run(
        folder,
        data=ToyData(),
        probes=(),
        checkpoint=CheckpointConfig(every_steps=3, keep_last=keep_last),
        faults=FaultPlan(specs, record_ids=True),
    )


def survive(run: TrainingRun) -> tuple[int, Outcome]:
    """How many lives it took and how the last ended."""
    for life in range(1, 6):
        try:
            return life, run_loop(run, Loss(), None)
        except (InjectedFault, CheckpointError):
            continue
    raise AssertionError("five lives were not enough")


@pytest.fixture(scope="module")
def undisturbed(solo: Workers, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return solo.run(survive, toy(tmp_path_factory.mktemp("undisturbed")))[0][1]


@pytest.mark.parametrize(
    "fault",
    [
        "raise:rank=0,step=0,phase=setup",
        *(f"raise:rank=0,step=5,phase={phase}" for phase in (*STEP_PHASES, "write", "commit")),
        "raise:rank=0,step=5,phase=retain",
        "fail_upload:rank=0,step=5,phase=write",
        "fail_upload:rank=0,step=5,phase=commit",
    ],
)
def test_a_fault_in_any_phase_happens_once_and_the_run_ends_like_an_undisturbed_one(
    solo: Workers, tmp_path: Path, undisturbed: Outcome, fault: str
) -> None:
    run = toy(tmp_path, fault, keep_last=2)
    [(count, outcome)] = solo.run(survive, run)
    assert unfired(run.faults, Storage(tmp_path).child(FAULTS)) == []
    assert [path.suffix for path in (tmp_path / FAULTS).iterdir()] == [".json"]
    assert (outcome.step, outcome.samples) == (14, 100)
    torch.testing.assert_close(outcome.weights, undisturbed.weights, rtol=0, atol=0)
    used = surviving(Storage(tmp_path))
    assert used == {epoch: dict.fromkeys(range(50), 1) for epoch in (0, 1)}
    if fault.startswith("raise") and run.faults.faults[0].phase in ("setup", *STEP_PHASES):
        assert count == 2, "what is raised outside of a save ends a life"


def test_a_rank_killed_between_its_files_and_the_commit_leaves_no_checkpoint(
    pair: Workers, tmp_path: Path, undisturbed: Outcome
) -> None:
    run = toy(tmp_path, "kill:rank=0,step=4,phase=commit")
    with pytest.raises((BrokenProcessPool, RuntimeError)):  # who notices first: the test, or the other rank
        pair.run(run_loop, run, Loss(), None)
    listing = scan(Storage(tmp_path / DIRECTORY))
    assert [commit.step for commit in listing.commits] == [3]
    [orphan] = listing.orphans
    files = {path.name for path in (tmp_path / DIRECTORY / orphan).iterdir()}
    assert orphan.startswith("step-00000006") and {"rank-00000.json", "rank-00001.json"} <= files
    outcomes = pair.run(run_loop, run, Loss(), None)
    assert outcomes[0].step == 14 and unfired(run.faults, Storage(tmp_path).child(FAULTS)) == []
    torch.testing.assert_close(outcomes[0].weights, undisturbed.weights, rtol=1e-5, atol=1e-6)
    assert [life.resumed_step for life in lives(Storage(tmp_path))] == [0, 3]
    for epoch, used in surviving(Storage(tmp_path)).items():
        assert used == dict.fromkeys(range(50), 1)
        assert np.array_equal(read_epoch(Storage(tmp_path), epoch)[0], np.ones(50, bool))


def test_a_fault_of_a_rank_that_is_not_there_is_told_to_be_missing(solo: Workers, tmp_path: Path) -> None:
    run = toy(tmp_path, "kill:rank=7,step=4,phase=update", "raise:rank=0,step=4,phase=mark,count=2")
    solo.run(survive, run)
    assert labels(run.faults.specs, tmp_path / FAULTS) == ["kill-7-4-update"]

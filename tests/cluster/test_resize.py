"""A run goes on with another number of workers: the same weights, moments, groups, schedule, losses and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.config import OptimizerConfig
from cluster.ledger import read_epoch
from cluster.protocols import Reference
from cluster.schedule import resolve
from pipelines.storage import Storage
from tests.cluster.tiny_runs import (
    TASKS,
    Segment,
    committed_state,
    hashes,
    ids_by_step,
    live,
    losses,
    tiny_run,
)
from tests.cluster.workers import Workers

STAGES = (0, 1, 2, 3)
STEPS = 36
"""Of two epochs of 69 visits, four in a step; the last step of each has one."""
CHANGES = (12, 24)
"""Steps after which the workers change, inside of the first and of the second epoch; 12 more follow each."""
APART = {"fp32": (1e-6, 1e-4), "bf16": (1e-3, 0.5)}
"""Allowed difference of losses, and of each tensor as a share of its norm. In bfloat16 a weight that differs in its
last bit may be rounded to a neighbour: undisturbed runs of two stages are as far from each other."""

_undisturbed: dict[tuple[str, str], Path] = {}


@pytest.fixture(scope="session")
def undisturbed(pair: Workers, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run that was left alone, on two workers at stage 0, trained once for each task and precision."""

    def folder_of(task: str, precision: str) -> Path:
        if (task, precision) not in _undisturbed:
            folder = tmp_path_factory.mktemp("undisturbed")
            pair.run(live, tiny_run(folder, *TASKS[task], stage=0, precision=precision))
            _undisturbed[task, precision] = folder
        return _undisturbed[task, precision]

    return folder_of


def check_life(lived: list[Segment], before: list[Segment] | None, folder: Path, until: int) -> None:
    """What was loaded is, bit for bit, what the workers before had left and the checkpoint holds."""
    for rank in lived:
        assert rank.error is None and (rank.step, rank.updates) == (until, until)
        if before is not None:
            assert rank.resumed_step == before[0].step
            assert rank.loaded == before[0].left == hashes(committed_state(folder, rank.resumed_step))
            assert set(rank.loaded_counts) == {rank.resumed_step}


def check_groups(lived: list[Segment], task: Reference, optimizer: OptimizerConfig) -> None:
    """The hyper-parameters of every group are the recipe's, its rate is the schedule's."""
    expected = task.build().parameter_groups(optimizer.weight_decay)
    schedule = resolve(optimizer, STEPS // 2)
    for rank in lived:
        rate = schedule.rate(rank.step - 1)
        assert rate == rank.scheduled_rate > 0
        assert [group["name"] for group in rank.groups] == [group["name"] for group in expected]
        for group, wanted in zip(rank.groups, expected, strict=True):
            assert (group["weight_decay"], group["lr_scale"]) == (wanted["weight_decay"], wanted["lr_scale"])
            assert group["lr"] == rate * wanted["lr_scale"]
            assert (tuple(group["betas"]), group["eps"]) == (optimizer.betas, optimizer.eps)


def check_like(folder: Path, reference: Path, *, until: int, precision: str) -> None:
    """Losses at every step, and at the end all weights and moments, are those of the run that was left alone."""
    found, expected = losses(folder), losses(reference)
    assert list(found) == list(range(1, until + 1))
    loss_apart, tensors_apart = APART[precision]
    assert max(abs(found[step] - expected[step]) for step in found) < loss_apart
    state, wanted = committed_state(folder, until), committed_state(reference, until)
    assert state.keys() == wanted.keys()
    # Some have no gradient, and moments of zero.
    assert not [n for n in wanted if (state[n] - wanted[n]).norm() > tensors_apart * wanted[n].norm()]


def check_samples(lives: list[list[Segment]], task: str, folder: Path, epochs: int) -> None:
    """In each epoch every visit is trained on once, whoever trained."""
    by_step = ids_by_step(lives)
    for epoch in range(epochs):
        first = epoch * (STEPS // 2) + 1
        trained = [i for step in range(first, first + STEPS // 2) for i in by_step[step]]
        assert sorted(trained) == sorted(TASKS[task][1].ids(epoch))
        consumed, quarantined = read_epoch(Storage(folder), epoch)
        assert np.flatnonzero(consumed).tolist() == sorted(trained) and not quarantined.size


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("stage", "precision"), [*((stage, "fp32") for stage in STAGES), (2, "bf16")])
def test_a_run_goes_from_two_workers_to_one_and_back_as_if_nothing_had_changed(
    pair: Workers, solo: Workers, undisturbed: Any, tmp_path: Path, stage: int, precision: str, task: str
) -> None:
    lives: list[list[Segment]] = []
    for workers, until in zip((pair, solo, pair), (*CHANGES, STEPS), strict=True):
        stop = until if until < STEPS else None
        run = tiny_run(tmp_path, *TASKS[task], stage=stage, precision=precision, stop_at_step=stop)
        lives.append(workers.run(live, run))
        check_life(lives[-1], lives[-2] if len(lives) > 1 else None, tmp_path, until)
        check_groups(lives[-1], run.task, run.optimizer)
    check_like(tmp_path, undisturbed(task, precision), until=STEPS, precision=precision)
    check_samples(lives, task, tmp_path, epochs=2)


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_from_one_worker_to_two_as_if_nothing_had_changed(
    pair: Workers, solo: Workers, undisturbed: Any, tmp_path: Path, stage: int
) -> None:
    task = "fine-tuning"
    lives: list[list[Segment]] = []
    for workers, until in zip((solo, pair), CHANGES, strict=True):
        run = tiny_run(tmp_path, *TASKS[task], stage=stage, precision="fp32", stop_at_step=until)
        lives.append(workers.run(live, run))
        check_life(lives[-1], lives[-2] if len(lives) > 1 else None, tmp_path, until)
        check_groups(lives[-1], run.task, run.optimizer)
    check_like(tmp_path, undisturbed(task, "fp32"), until=CHANGES[-1], precision="fp32")
    check_samples(lives, task, tmp_path, epochs=1)

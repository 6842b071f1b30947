"""Deterministic mode: whenever a worker is killed, weights and moments end bit-equal to those of a run left alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.commit import DIRECTORY, newest
from cluster.config import CheckpointConfig, EngineConfig
from cluster.ledger import read_epoch
from cluster.protocols import Reference
from cluster.worker import set_kernels
from pipelines.storage import Storage
from tests.cluster.killed import Kill, Phase, die, live_in_deterministic_mode
from tests.cluster.loops import ListedLink, make_loop
from tests.cluster.tiny_runs import TinyData, committed_state, losses, tiny_run
from tests.cluster.workers import Workers
from tests.models import samples

DATA = TinyData("labelled", videos=9, passes=2)
"""Five steps in each of two epochs, the last of two samples."""
STEPS = 10
KILLED_STEPS = range(1, 9)
RANDOM = samples.fine_tuning_config(layer_decay=0.5, drop_path=0.2, mixup=0.8, cutmix=1.0, erasing=0.5)
"""Draws in every forward pass."""
COMBINATIONS = [
    pytest.param("backward", 0, "bf16", marks=pytest.mark.soak),
    ("update", 2, "bf16"),
    pytest.param("save", 3, "fp32", marks=pytest.mark.soak),
    ("commit", 1, "fp32"),
]


@pytest.fixture
def fresh() -> Iterator[Workers]:
    """Two workers that have trained nothing: stage 3 of DeepSpeed puts a linear layer of its own in the place of
    torch's, for all engines that the process has after it, and its sums differ in their last bit."""
    workers = Workers(2)
    yield workers
    workers.close()


def random_run(folder: Path, stage: int, precision: str, *, every_steps: int) -> Any:
    checkpoint = CheckpointConfig(every_steps=every_steps, keep_last=100)
    task = Reference("models.fine_tuning:build", RANDOM)
    return tiny_run(folder, task, DATA, stage=stage, precision=precision, checkpoint=checkpoint)


@pytest.mark.parametrize(("phase", "stage", "precision"), COMBINATIONS)
def test_a_run_killed_at_every_step_ends_bit_equal_to_one_left_alone(
    fresh: Workers, tmp_path: Path, phase: Phase, stage: int, precision: str
) -> None:
    every_steps = 1 if phase in ("save", "commit") else 3
    alone, killed = (random_run(tmp_path / n, stage, precision, every_steps=every_steps) for n in ("alone", "killed"))
    fresh.run(live_in_deterministic_mode, alone)
    for step in KILLED_STEPS:
        kill = Kill(0 if phase == "commit" else step % 2, step, phase, str(tmp_path / f"fired-{step}"))
        with pytest.raises((BrokenProcessPool, RuntimeError)):
            fresh.run(die, killed, kill)
        assert Path(kill.flag).read_text() == f"{kill}"
    # A save goes on beside the steps that follow, so the last kill may have met the one before it.
    resumed = newest(Storage(tmp_path / "killed").child(DIRECTORY)).step
    assert max(KILLED_STEPS) - 2 * every_steps <= resumed < max(KILLED_STEPS)
    ends = fresh.run(live_in_deterministic_mode, killed)
    assert [(end.error, end.resumed_step, end.step, end.updates) for end in ends] == [(None, resumed, STEPS, STEPS)] * 2
    state, expected = committed_state(tmp_path / "killed"), committed_state(tmp_path / "alone")
    assert any(value.any() for name, value in expected.items() if name.endswith("/exp_avg_sq"))
    assert state.keys() == expected.keys()
    assert not [name for name in expected if not torch.equal(state[name], expected[name])]
    assert losses(tmp_path / "killed") == losses(tmp_path / "alone")
    for epoch in (0, 1):
        assert read_epoch(Storage(tmp_path / "killed"), epoch)[0].all()


def warnings_of(run: Any) -> list[str]:
    """On every rank: what is warned of when the run starts."""
    seen: list[str] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    handler = Seen()
    logger = logging.getLogger("cluster.worker")
    logger.addHandler(handler)
    try:
        make_loop(run, ListedLink(None)).telemetry.close()
    finally:
        logger.removeHandler(handler)
    return seen


def test_a_resume_that_cannot_be_bit_equal_is_told_once(pair: Workers, solo: Workers, tmp_path: Path) -> None:
    run = replace(random_run(tmp_path, 2, "fp32", every_steps=3), stop_at_step=1)
    pair.run(live_in_deterministic_mode, run)
    assert pair.run(warnings_of, run) == [[], []]
    [(fewer_workers,)] = solo.run(warnings_of, run)
    assert "cannot be bit-equal" in fewer_workers and "workers 2 -> 1" in fewer_workers
    other = replace(run, engine=EngineConfig(zero_stage=3, precision="fp32", micro_batch=1))
    (other_engine,), of_rank_1 = pair.run(warnings_of, other)
    assert "zero_stage 2 -> 3" in other_engine and "micro_batch 2 -> 1" in other_engine and not of_rank_1
    casual = replace(other, workers=replace(run.workers, deterministic=False))
    assert pair.run(warnings_of, casual) == [[], []]


def kernels(workers_here: int, deterministic: bool) -> tuple[int, bool]:
    threads = torch.get_num_threads()
    try:
        set_kernels(workers_here, deterministic=deterministic)
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)


def test_the_threads_that_sum_are_as_many_on_every_machine_in_deterministic_mode(solo: Workers) -> None:
    assert solo.run(kernels, 1, True) == solo.run(kernels, 2, True) == [(1, True)]
    assert solo.run(kernels, 1000, False) == [(1, False)]

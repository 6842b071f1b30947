"""Every visit of an epoch is trained on once: at any number of workers, whenever a run stops, however often a video is
visited, and where the epoch ends with less than a batch."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.config import CheckpointConfig
from cluster.ledger import QUARANTINE, read_epoch
from cluster.protocols import Reference
from cluster.trainer import TrainingRun
from pipelines.storage import Storage
from tests.cluster.tiny_runs import (
    Segment,
    TinyData,
    committed_state,
    ids_by_step,
    live,
    losses,
    tiny_run,
)
from tests.cluster.workers import Workers

EPOCHS = 3
TASK = Reference("tests.cluster.toy:make_task", ())
STREAMS = {
    "once": TinyData("numbers", videos=26, passes=1),
    "three times": TinyData("numbers", videos=9, passes=3, rejected=(4,)),
    "some more often": TinyData("numbers", videos=12, passes=2, shares=(0.3,) * 4 + (1.0,) * 4 + (1.75,) * 4),
    "less than a batch": TinyData("numbers", videos=3, passes=1),
}
SEEDS = range(20)
Alone = dict[str, tuple[Path, dict[int, list[int]]]]


def run_of(folder: Path, data: TinyData, *, stage: int = 2, stop_at_step: int | None = None) -> TrainingRun:
    run = tiny_run(
        folder,
        TASK,
        data,
        stage=stage,
        precision="fp32",
        checkpoint=CheckpointConfig(every_steps=3, keep_last=100),
        stop_at_step=stop_at_step,
    )
    return replace(run, optimizer=replace(run.optimizer, epochs=EPOCHS))


def check(lives: list[list[Segment]], data: TinyData, folder: Path) -> dict[int, list[int]]:
    """The ids of every step, of whichever life made the update that counts."""
    by_step = ids_by_step(lives)
    steps = -(-len(data.ids(0)) // 4)
    assert list(by_step) == list(range(1, EPOCHS * steps + 1))
    for epoch in range(EPOCHS):
        members = data.ids(epoch)
        trained = [i for step in range(epoch * steps + 1, (epoch + 1) * steps + 1) for i in by_step[step]]
        assert sorted(trained) == sorted(members - set(data.rejected))
        consumed, quarantined = read_epoch(Storage(folder), epoch)
        assert set(np.flatnonzero(consumed).tolist()) == members
        assert set(quarantined.tolist()) == members & set(data.rejected)
    lines = [json.loads(line) for line in (folder / QUARANTINE).read_text().splitlines()]
    expected = [(epoch, i) for epoch in range(EPOCHS) for i in data.rejected if i in data.ids(epoch)]
    assert sorted((line["epoch"], line["sample_id"]) for line in lines) == expected
    for rank in lives[-1]:
        assert rank.step == rank.updates == EPOCHS * steps
    return by_step


@pytest.fixture(scope="module")
def alone(solo: Workers, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """Each stream trained by one worker, without a stop: its folder and the ids of every step."""
    found: Alone = {}
    for name, data in STREAMS.items():
        folder = tmp_path_factory.mktemp("alone")
        found[name] = folder, check([solo.run(live, run_of(folder, data))], data, folder)
    return found


def test_videos_that_are_visited_more_often_have_more_samples_in_some_epochs_than_in_others() -> None:
    data = STREAMS["some more often"]
    epochs = [data.ids(epoch) for epoch in range(EPOCHS)]
    assert len({len(ids) for ids in epochs}) == 1 and len({frozenset(ids) for ids in epochs}) > 1
    visits = [sum(i % 12 == video for ids in epochs for i in ids) for video in (0, 4, 8)]
    assert visits[0] < visits[1] < visits[2]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_stopped_at_random_among_changing_workers_uses_every_visit_once(
    pair: Workers, solo: Workers, alone: Alone, tmp_path: Path, seed: int
) -> None:
    """Some lives end with a checkpoint, some lose what they did since their last one."""
    draw = random.Random(seed)
    name = list(STREAMS)[seed % len(STREAMS)]
    data, (folder, expected) = STREAMS[name], alone[name]
    last = max(expected)
    lives: list[list[Segment]] = []
    reached = 0
    for workers in draw.choice([(pair, solo), (solo, pair), (pair, solo, pair), (solo, solo)]):
        step = draw.randint(reached + 1, max(reached + 1, min(reached + 6, last - 1)))
        is_clean = draw.random() < 0.5
        run = run_of(tmp_path, data, stage=draw.randrange(4), stop_at_step=step if is_clean else None)
        lives.append(workers.run(live, run, None if is_clean else step))
        reached = step if is_clean else step - 1
        assert {rank.step for rank in lives[-1]} == {reached}
    lives.append(draw.choice((pair, solo)).run(live, run_of(tmp_path, data, stage=draw.randrange(4))))
    assert check(lives, data, tmp_path) == expected
    found, wanted = losses(tmp_path), losses(folder)
    assert list(found) == list(wanted)
    assert max(abs(found[step] - wanted[step]) for step in wanted) < 1e-5
    state, whole = committed_state(tmp_path), committed_state(folder)
    assert max((state[key] - whole[key]).abs().max().item() for key in whole) < 1e-5

"""Superseded checkpoints go, and whatever happens two good ones stay."""

from __future__ import annotations

import logging
import os
import random
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster import retention as module
from cluster.commit import COMMIT, CheckpointDamaged, scan
from cluster.config import CheckpointConfig
from cluster.retention import Retention, superseded
from pipelines.storage import Storage, StorageUnavailable
from tests.cluster.test_commit import write_commit

WEIGHTS = "weights-00000-000.safetensors"
LONG_AGO = timedelta(hours=25).total_seconds()


def test_retention_keeps_the_newest_and_the_milestones(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    commits = []
    for epoch in range(1, 8):
        middle = write_commit(storage, 100 * epoch - 50)
        end = write_commit(storage, 100 * epoch)
        object.__setattr__(end, "epoch", epoch)
        end.progress["at_epoch_end"] = True
        commits = [end, middle, *commits]
    config = CheckpointConfig(keep_last=3, keep_epochs=(2, 5, 7))
    kept = [commit.step for commit in commits if commit not in superseded(commits, config)]
    assert kept == [700, 650, 600, 500, 200]


@pytest.mark.parametrize("count", range(6))
def test_retention_never_takes_the_newest_two(tmp_path: Path, count: int) -> None:
    commits = [write_commit(Storage(tmp_path), step) for step in range(count, 0, -1)]
    gone = {commit.name for commit in superseded(commits, CheckpointConfig(keep_last=2))}
    assert not gone & {commit.name for commit in commits[:2]}
    assert len(gone) == max(0, count - 2)


class WeakStorage(Storage):
    """Fails the verbs in `broken`."""

    broken: frozenset[str] = frozenset()

    def write(self, name: str, data: bytes) -> None:
        self._fail("write")
        super().write(name, data)

    def remove(self, name: str) -> None:
        self._fail("remove")
        super().remove(name)

    def remove_tree(self, name: str) -> None:
        self._fail("remove_tree")
        super().remove_tree(name)

    def _fail(self, verb: str) -> None:
        if verb in self.broken:
            raise StorageUnavailable(f"injected: {verb}")


@pytest.mark.parametrize("seed", range(10))
def test_two_good_checkpoints_remain_after_any_sequence_of_commits_damages_and_failed_deletes(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = random.Random(seed)
    monkeypatch.setattr(module, "ORPHAN_AGE", timedelta(hours=choose.choice([-1, 24])))  # at once, or not in this test
    storage = WeakStorage(tmp_path)
    retention = Retention(storage, CheckpointConfig(keep_last=choose.choice([2, 2, 2, 3])))
    good: list[str] = []
    for step in range(1, 25):
        good.append(write_commit(Storage(tmp_path), step).name)
        while len(good) > 1 and choose.random() < 0.3:
            _damage(storage, retention, good.pop(choose.randrange(len(good))), choose)
        storage.broken = frozenset(verb for verb in ("remove", "remove_tree", "write") if choose.random() < 0.3)
        retention.apply()
        storage.broken = frozenset()
        present = {commit.name for commit in scan(Storage(tmp_path)).commits}
        assert present >= set(good[-2:]), f"seed {seed}, step {step}"
        good = [name for name in good if name in present]
    retention.apply()
    assert len([name for name in good if (tmp_path / name / COMMIT).exists()]) <= retention.config.keep_last


def _damage(storage: WeakStorage, retention: Retention, name: str, choose: random.Random) -> None:
    kind = choose.choice(["missing", "short", "commit", "content", *["content, not to be marked"] * 4])
    if kind == "missing":
        Storage.remove(storage, f"{name}/{WEIGHTS}")
    elif kind == "short":
        Storage.write(storage, f"{name}/{WEIGHTS}", b"")
    elif kind == "commit":
        Storage.write(storage, f"{name}/{COMMIT}", b"{")
    else:
        storage.broken = frozenset(["write"] if "not" in kind else [])
        retention.mark_damaged(name, CheckpointDamaged("another content"))
        storage.broken = frozenset()


def test_a_damaged_newest_that_could_not_be_marked_does_not_count_and_is_marked_later(tmp_path: Path) -> None:
    storage = WeakStorage(tmp_path)
    retention = Retention(storage, CheckpointConfig(keep_last=2))
    names = [write_commit(Storage(tmp_path), step).name for step in (1, 2)]
    storage.broken = frozenset(["write"])
    retention.mark_damaged(names[1], CheckpointDamaged("another content"))
    storage.broken = frozenset()
    names.append(write_commit(Storage(tmp_path), 3).name)
    retention.apply()
    listing = scan(storage)
    assert [commit.name for commit in listing.commits] == [names[2], names[0]]
    assert list(listing.damaged) == [names[1]]


def _age(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (time.time() - LONG_AGO,) * 2)


def test_an_old_damaged_directory_goes_once_two_good_ones_exist(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    retention = Retention(storage, CheckpointConfig())
    damaged = write_commit(storage, 1).name
    storage.write(f"{damaged}/{WEIGHTS}", b"")
    _age(tmp_path / damaged)
    young = write_commit(storage, 2).name
    storage.write(f"{young}/{WEIGHTS}", b"")
    write_commit(storage, 3)
    retention.apply()
    assert list(scan(storage).damaged) == [damaged, young]
    write_commit(storage, 4)
    retention.apply()
    assert list(scan(storage).damaged) == [young]
    assert [commit.step for commit in scan(storage).commits] == [4, 3]


def test_the_reads_of_a_save_do_not_grow_with_the_run(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    retention = Retention(storage, CheckpointConfig(keep_last=50))
    read: list[str] = []
    storage.read = lambda name: read.append(name) or Storage.read(storage, name)
    for step in range(1, 20):
        name = write_commit(storage, step).name
        read.clear()
        retention.apply()
        assert read == [f"{name}/{COMMIT}"]


def test_a_delete_that_fails_is_logged_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = WeakStorage(tmp_path)
    retention = Retention(storage, CheckpointConfig())
    commits = [write_commit(Storage(tmp_path), step) for step in (1, 2, 3)]
    storage.broken = frozenset(["remove"])
    with caplog.at_level(logging.WARNING):
        retention.apply()
    assert f"checkpoint {commits[0].name} could not be removed" in caplog.text
    assert len(scan(storage).commits) == 3
    storage.broken = frozenset()
    retention.apply()
    assert [commit.step for commit in scan(storage).commits] == [3, 2]


def test_a_listing_that_fails_removes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    storage = Storage(tmp_path)
    for step in (1, 2, 3):
        write_commit(storage, step)

    def fail(prefix: str = "") -> None:
        raise StorageUnavailable("injected: list")

    monkeypatch.setattr(storage, "list", fail)
    Retention(storage, CheckpointConfig()).apply()
    assert [commit.step for commit in scan(Storage(tmp_path)).commits] == [3, 2, 1]

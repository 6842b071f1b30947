"""Saving beside the training: what the training waits for, and what it hears."""

from __future__ import annotations

import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

from cluster import saver as module
from cluster.checkpoint import CheckpointStore
from cluster.commit import COMMIT, CheckpointError, RanksLost, scan
from cluster.config import CheckpointConfig
from cluster.failures import DataChanged, TrainingError
from cluster.ranks import Ranks
from cluster.saver import Saver, SavesFailed
from pipelines.storage import Storage
from tests.cluster.faulty_storage import Fault, FaultyStorage
from tests.cluster.test_checkpoint import METADATA, logged, make_store, progress_at
from tests.cluster.test_engine import is_same
from tests.cluster.workers import TinyTask, Workers, full_state, make_engine, train

WEIGHTS_OF_1 = "weights-00001"


def make_saver(uri: str, fault: Fault, **config: Any) -> Saver:
    return Saver(CheckpointStore(FaultyStorage(uri, fault), CheckpointConfig(**config)), Ranks())


def release(fault: Fault) -> None:
    dist.barrier()  # both ranks have seen what is to be seen before
    Path(fault.release).touch()


def waiting(folder: Path, part: str = WEIGHTS_OF_1, **changes: Any) -> Fault:
    return Fault("write", part, 1, "wait", release=str(folder / "release"), **changes)


def train_while_saving(uri: str, fault: Fault) -> dict[str, bool]:
    saver, engine = make_saver(uri, fault), make_engine(2, "fp32")
    train(engine, range(2))
    at_begin = full_state(engine)
    progress = progress_at(2, marked=(3,))
    saver.begin(engine, progress, METADATA)
    train(engine, range(2, 4))
    progress.consumed[:] = False  # as at the end of an epoch
    seen = {"not yet": scan(Storage(uri)).commits == []}
    release(fault)
    saver.settle(is_last=True)
    store, other = make_store(uri), make_engine(2, "fp32", task=TinyTask(seed=9))
    restored = store.restore(other, store.newest())
    seen["as it was at the beginning"] = is_same(full_state(other), at_begin)
    seen["and not as it is now"] = not is_same(full_state(engine), at_begin)
    seen["with its marks"] = np.flatnonzero(restored.consumed).tolist() == [3]
    return seen


def test_training_goes_on_while_a_checkpoint_is_written_and_changes_nothing_of_it(
    pair: Workers, tmp_path: Path
) -> None:
    for seen in pair.run(train_while_saving, str(tmp_path / "run"), waiting(tmp_path)):
        assert all(seen.values()), seen


def save_faster_than_the_storage(uri: str, fault: Fault) -> tuple[list[int], list[str]]:
    """Checkpoints that were committed when each save had begun; what was logged."""
    module.ALARM_SECONDS = 0.1
    saver, engine = make_saver(uri, fault, keep_last=10), make_engine(0, "fp32")
    committed = []
    with logged("cluster.saver") as lines, saver:
        for step in range(1, 4):
            saver.begin(engine, progress_at(step), METADATA)
            dist.barrier()
            committed.append(len(scan(Storage(uri)).commits))
            dist.barrier()
    return committed, lines


def test_one_save_at_most_is_pending_and_waiting_for_it_is_told_once(pair: Workers, tmp_path: Path) -> None:
    slow = Fault("write", WEIGHTS_OF_1, 1, "delay")
    (committed, lines), (_, elsewhere) = pair.run(save_faster_than_the_storage, str(tmp_path), slow)
    assert committed == [0, 1, 2]
    assert len(lines) == 1 and elsewhere == []
    assert lines[0].startswith("training waited ") and "s at step 2 because" in lines[0]
    assert float(lines[0].split()[2]) > 0.1
    assert [commit.step for commit in scan(Storage(tmp_path)).commits] == [3, 2, 1]


def save_again_and_again(uri: str, fault: Fault, saves: int, allowed: int) -> tuple[list[str], list[str]]:
    saver, engine = make_saver(uri, fault, keep_last=10, max_failed_saves=allowed), make_engine(0, "fp32")
    met = []
    with logged("cluster.saver") as lines:
        for step in range(1, saves + 1):
            try:
                saver.begin(engine, progress_at(step), METADATA)
                saver.settle()
                met.append("")
            except (CheckpointError, TrainingError) as error:
                met.append(f"{type(error).__name__}: {error}")
    return met, lines


def test_training_outlives_as_many_failed_saves_in_a_row_as_are_allowed(pair: Workers, tmp_path: Path) -> None:
    fault = Fault("write", WEIGHTS_OF_1, 1, calls=(0, 1, 3, 4, 5))
    (met, lines), (met_elsewhere, _) = pair.run(save_again_and_again, str(tmp_path), fault, 6, 2)
    assert met == met_elsewhere
    assert met[:5] == [""] * 5  # the third succeeds, and the count begins anew
    assert met[5].startswith("SavesFailed: 3 saves in a row failed, 2 are allowed")
    assert "rank 1: StorageUnavailable: injected" in met[5]
    assert [line.split(" (failure ")[1][0] for line in lines] == ["1", "2", "1", "2"]
    assert all(line.startswith("NOT SAVED, training goes on") for line in lines)
    listing = scan(Storage(tmp_path))
    assert [commit.step for commit in listing.commits] == [3] and not listing.orphans


def save_records(uri: str, fault: Fault) -> list[tuple[list[int], list[str]]]:
    """Steps committed, and records that lie there, after each of two saves; of the second epoch there is a new one."""
    records, engine = FaultyStorage(uri, fault), make_engine(0, "fp32")

    def write(files: Any) -> None:
        for name, data in files.items():
            records.write(name, data)

    store, seen = make_store(f"{uri}/checkpoints"), []
    saver = Saver(store, Ranks(), write)
    for step, name in ((1, "epochs/0"), (2, "epochs/1")):
        saver.begin(engine, progress_at(step), METADATA, {name: b"record"} if dist.get_rank() == 0 else {})
        saver.settle()
        dist.barrier()
        found = sorted(info.name for info in Storage(uri).list("epochs"))
        seen.append(([commit.step for commit in scan(store.storage).commits], found))
    return seen


def test_records_are_there_before_a_checkpoint_is_and_come_again_after_a_save_that_failed(
    pair: Workers, tmp_path: Path
) -> None:
    down = Fault("write", "epochs", 0, calls=(0,))
    for seen in pair.run(save_records, str(tmp_path), down):
        assert seen == [([], []), ([2], ["epochs/0", "epochs/1"])]


def test_no_save_may_fail_where_none_is_allowed_to(pair: Workers, tmp_path: Path) -> None:
    for met, _ in pair.run(save_again_and_again, str(tmp_path), Fault("write", COMMIT, 0), 1, 0):
        assert met[0].startswith("SavesFailed: 1 saves in a row failed, 0 are allowed")


def leave(uri: str, fault: Fault, error: Exception | None) -> tuple[str, list[str], bool]:
    """What comes out of training that begins a save at its end; what was logged; whether a save is left alone."""
    saver, engine = make_saver(uri, fault), make_engine(0, "fp32")
    try:
        with logged("cluster.saver") as lines, saver:
            saver.begin(engine, progress_at(1), METADATA)
            if error is not None:
                raise error
        met = ""
    except Exception as failure:
        met = f"{type(failure).__name__}: {failure}"
    is_left = saver._pending is not None and saver._pending.is_alive()
    dist.barrier()
    if fault.release:
        release(fault)
        saver.settle()
    return met, lines, is_left


def test_the_last_save_must_succeed(pair: Workers, tmp_path: Path) -> None:
    for met, _, _ in pair.run(leave, str(tmp_path), Fault("write", WEIGHTS_OF_1, 1), None):
        assert met.startswith("CheckpointError: failed to write") and "rank 1: StorageUnavailable: injected" in met


def test_training_that_ends_by_an_error_of_ours_commits_what_it_had_begun(pair: Workers, tmp_path: Path) -> None:
    slow = Fault("write", WEIGHTS_OF_1, 1, "delay")
    for met, _, is_left in pair.run(leave, str(tmp_path), slow, DataChanged("other data")):
        assert met == "DataChanged: other data" and not is_left
    assert [commit.step for commit in scan(Storage(tmp_path)).commits] == [1]


def test_an_error_of_ours_is_not_hidden_by_a_failed_save(pair: Workers, tmp_path: Path) -> None:
    fault = Fault("write", WEIGHTS_OF_1, 1)
    (met, lines, _), _ = pair.run(leave, str(tmp_path), fault, DataChanged("other data"))
    assert met == "DataChanged: other data"
    assert "NOT SAVED" in lines[0] and "injected" in lines[0]


def test_any_other_error_surfaces_without_waiting_for_the_storage(pair: Workers, tmp_path: Path) -> None:
    for met, _, is_left in pair.run(leave, str(tmp_path / "run"), waiting(tmp_path), KeyError("a bug")):
        assert met == "KeyError: 'a bug'" and is_left


def save_guarded(uri: str) -> list[str]:
    def guard() -> None:
        raise DataChanged("another driver has taken over")

    saver, met = Saver(CheckpointStore(Storage(uri), CheckpointConfig(), guard), Ranks()), []
    for settle_twice in (saver.settle, saver.settle):
        try:
            if not met:
                saver.begin(make_engine(0, "fp32"), progress_at(1), METADATA)
            settle_twice()
            met.append("nothing pending")
        except (CheckpointError, TrainingError) as error:
            met.append(f"{type(error).__name__}: {error}")
    return met


def test_what_a_guard_raises_stops_the_run_however_many_failed_saves_are_allowed(pair: Workers, tmp_path: Path) -> None:
    assert (
        pair.run(save_guarded, str(tmp_path)) == [["DataChanged: another driver has taken over", "nothing pending"]] * 2
    )
    assert list(Storage(tmp_path).list()) == []


def save_in_vain(uri: str, fault: Fault, train_seconds: float) -> tuple[str, float]:
    saver, engine = make_saver(uri, fault, timeout_s=1.0), make_engine(0, "fp32")
    saver.begin(engine, progress_at(1), METADATA)
    time.sleep(train_seconds)
    start = time.monotonic()
    met = ""
    try:
        saver.settle()
    except RanksLost as error:
        met = str(error)
    seconds = time.monotonic() - start
    release(fault)
    return met, seconds


@pytest.mark.parametrize("train_seconds", [0.0, 2.5])
def test_a_rank_that_does_not_arrive_in_time_is_named_on_all_ranks(
    pair: Workers, tmp_path: Path, train_seconds: float
) -> None:
    for met, seconds in pair.run(save_in_vain, str(tmp_path / "run"), waiting(tmp_path), train_seconds):
        assert "was not done within checkpoint.timeout_s=1: rank 1 has yet to write" in met
        assert seconds < 10
    assert scan(Storage(tmp_path / "run")).commits == []


def save_and_watch_the_memory(uri: str, fault: Fault) -> tuple[bool, bool]:
    """Whether the save succeeded, and whether its copy of the state is gone."""
    store = CheckpointStore(FaultyStorage(uri, fault), CheckpointConfig())
    save = module._Save(store, store.stage(make_engine(0, "fp32"), progress_at(1), METADATA), None)
    copies = [weakref.ref(tensor) for entry in save._staged.state.values() for tensor in entry.values()]
    save.start()
    save.join()
    return save.outcome() is None, len(copies) > 0 and all(copy() is None for copy in copies)


@pytest.mark.parametrize("part", ["no such file", WEIGHTS_OF_1])
def test_the_copy_of_the_state_is_dropped_when_the_save_is_over(pair: Workers, tmp_path: Path, part: str) -> None:
    for seen in pair.run(save_and_watch_the_memory, str(tmp_path), Fault("write", part, 1)):
        assert seen == (part != WEIGHTS_OF_1, True)


@pytest.mark.parametrize("changes", [{"timeout_s": 0.0}, {"max_failed_saves": -1}, {"keep_last": 1}])
def test_a_config_without_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        CheckpointConfig(**changes)


def test_an_error_of_too_many_failed_saves_is_one_that_no_restart_removes() -> None:
    assert issubclass(SavesFailed, TrainingError)

"""A save that fails, wherever it does, changes nothing of what was there before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.checkpoint import CheckpointError, CheckpointStore
from cluster.commit import BITMAP, COMMIT, scan
from cluster.config import CheckpointConfig
from cluster.failures import DataChanged, TrainingError
from pipelines.storage import Storage
from tests.cluster.faulty_storage import Fault, FaultyStorage
from tests.cluster.test_checkpoint import make_store, progress_at, save
from tests.cluster.test_engine import is_same
from tests.cluster.workers import Workers, full_state, make_engine, train


def save_with_fault(uri: str, fault: Fault, environment: dict[str, str]) -> tuple[str, bool, bool]:
    os.environ.update(environment)
    engine = make_engine(1, "fp32")
    train(engine, range(1))
    save(make_store(uri), engine, progress_at(1))
    train(engine, range(1, 2))
    before = full_state(engine)
    faulty = CheckpointStore(FaultyStorage(uri, fault), CheckpointConfig())
    try:
        save(faulty, engine, progress_at(2))
        message = ""
    except CheckpointError as error:
        message = str(error)
    untouched = is_same(before, full_state(engine))
    save(make_store(uri), engine, progress_at(2))
    return message, untouched, make_store(uri).newest().step == 2


FAULTS = [
    Fault("write", "weights-00000", 0),
    Fault("write", "weights-00001", 1),
    Fault("write", "weights-00001", 1, "disk full"),
    Fault("write", "adam-00001", 1),
    Fault("write", "rank-00000", 0),
    Fault("write", "rank-00001", 1),
    Fault("write", BITMAP, 0),
    Fault("write", COMMIT, 0),
    Fault("write", COMMIT, 0, "disk full"),
    Fault("read", "rank-00001", 0),
    Fault("list", "step-", 0),
    Fault("write", "weights-00001", 1, "truncate"),
    Fault("write", "adam-00000", 0, "truncate"),
    Fault("write", "rank-00001", 1, "truncate"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_save_that_fails_at_any_phase_is_never_seen(pair: Workers, tmp_path: Path, fault: Fault) -> None:
    fails_at_any_phase(pair, str(tmp_path), fault, {})


@pytest.mark.parametrize("fault", [FAULTS[1], FAULTS[7], FAULTS[11]], ids=str)
def test_a_save_that_fails_on_object_storage_is_never_seen(
    pair: Workers, s3_bucket: str, s3_variables: dict[str, str], fault: Fault
) -> None:
    fails_at_any_phase(pair, f"{s3_bucket}/run/checkpoints", fault, s3_variables)


def fails_at_any_phase(pair: Workers, uri: str, fault: Fault, environment: dict[str, str]) -> None:
    for message, untouched, recovered in pair.run(save_with_fault, uri, fault, environment):
        assert message, "the fault must have fired, and every rank must hear of it"
        assert untouched and recovered
        assert "No space left on device" in message or fault.act != "disk full"
    listing = scan(Storage(uri))
    assert [commit.step for commit in listing.commits] == [2, 1]
    assert not listing.orphans and not listing.damaged


class SmallDisk(Storage):
    def free_bytes(self) -> int:
        return 100

    def write(self, name: str, data: bytes) -> None:
        raise AssertionError(f"{name} is written although there is no room")


def save_without_room(uri: str) -> str:
    engine = make_engine(0, "fp32")
    train(engine, range(1))
    save(make_store(uri), engine, progress_at(1))
    try:
        save(CheckpointStore(SmallDisk(uri), CheckpointConfig()), engine, progress_at(2))
    except CheckpointError as error:
        return str(error)
    return "saved"


def test_a_save_for_which_there_is_no_room_is_refused_before_it_writes(pair: Workers, tmp_path: Path) -> None:
    for message in pair.run(save_without_room, str(tmp_path)):
        assert "GB are needed" in message and "make room there, or lower checkpoint.keep_last" in message
    listing = scan(Storage(tmp_path))
    assert [commit.step for commit in listing.commits] == [1] and not listing.orphans


def save_guarded(uri: str, kind: type[Exception] | None) -> tuple[str, list[str]]:
    """What each of the ranks met, and what rank 0's guard saw in the folder."""
    seen: list[str] = []

    def guard() -> None:
        seen.extend(sorted(info.name.partition("/")[2] for info in Storage(uri).list()))
        if kind is not None:
            raise kind("another driver has taken over")

    engine = make_engine(0, "fp32")
    try:
        save(CheckpointStore(Storage(uri), CheckpointConfig(), guard), engine, progress_at(1))
    except (CheckpointError, TrainingError) as error:
        return f"{type(error).__name__}: {error}", seen
    return "saved", seen


def test_a_guard_looks_when_all_but_the_commit_is_written(pair: Workers, tmp_path: Path) -> None:
    (_, seen), (_, elsewhere) = pair.run(save_guarded, str(tmp_path), None)
    [commit] = scan(Storage(tmp_path)).commits
    assert seen == sorted([*commit.files, "rank-00000.json", "rank-00001.json"])
    assert elsewhere == []


@pytest.mark.parametrize("kind", [DataChanged, KeyError])
def test_what_a_guard_raises_prevents_the_commit_and_reaches_all_ranks(
    pair: Workers, tmp_path: Path, kind: type[Exception]
) -> None:
    for message, _ in pair.run(save_guarded, str(tmp_path), kind):
        assert message.startswith("DataChanged: " if kind is DataChanged else "CheckpointError: failed to commit")
        assert "another driver has taken over" in message
    assert list(Storage(tmp_path).list()) == []

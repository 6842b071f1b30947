"""Which directories count as checkpoints."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.commit import (
    BEGUN,
    COMMIT,
    CheckpointDamaged,
    CheckpointError,
    Commit,
    FileEntry,
    Progress,
    newest,
    parse_commit,
    read_verified,
    scan,
)
from pipelines.storage import Storage


def write_commit(storage: Storage, step: int, attempt: str = "0a", *, created: str = "2030-01-01") -> Commit:
    name = f"step-{step:08d}-{attempt}"
    storage.write(f"{name}/weights-00000-000.safetensors", b"weights of " + name.encode())
    files = {"weights-00000-000.safetensors": FileEntry.of(b"weights of " + name.encode())}
    progress = Progress.start(10).counts()
    commit = Commit(name, step, 0, 1, created, progress, {"updates": step}, {"config": {3: (1, 2.5), 20: None}}, files)
    storage.write(f"{name}/{COMMIT}", commit.to_json())
    return commit


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(tmp_path)
    return Storage(request.getfixturevalue("s3_bucket") + "/run/checkpoints")


def test_a_commit_reads_as_it_was_written(storage: Storage) -> None:
    commit = write_commit(storage, 12)
    found = newest(storage)
    assert found == dataclasses.replace(commit, metadata={"config": {"3": [1, 2.5], "20": None}})


def test_a_run_without_checkpoints_has_no_newest(storage: Storage) -> None:
    storage.write("step-00000003-0a/weights-00000-000.safetensors", b"left by a run that died")
    storage.write("notes/COMMIT.json", b"{}")
    assert newest(storage) is None
    assert list(scan(storage).orphans) == ["step-00000003-0a"]


def test_the_newest_is_the_one_with_most_steps_and_of_equals_the_later_written(storage: Storage) -> None:
    write_commit(storage, 100, "ff", created="2030-01-03")
    write_commit(storage, 200, "ee", created="2030-01-01")
    write_commit(storage, 200, "aa", created="2030-01-02")
    assert [commit.name[-2:] for commit in scan(storage).commits] == ["aa", "ee", "ff"]


@pytest.mark.parametrize("damage", ["truncated", "edited", "empty", "missing file", "short file", "other format"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(storage: Storage, damage: str) -> None:
    before, damaged = write_commit(storage, 1), write_commit(storage, 2)
    data = storage.read(f"{damaged.name}/{COMMIT}")
    weights = f"{damaged.name}/weights-00000-000.safetensors"
    if damage == "truncated":
        storage.write(f"{damaged.name}/{COMMIT}", data[: len(data) // 2])
    elif damage == "edited":
        storage.write(f"{damaged.name}/{COMMIT}", data.replace(b'"updates": 2', b'"updates": 3'))
    elif damage == "empty":
        storage.write(f"{damaged.name}/{COMMIT}", b"")
    elif damage == "missing file":
        storage.remove(weights)
    elif damage == "short file":
        storage.write(weights, b"weights")
    else:
        storage.write(f"{damaged.name}/{COMMIT}", json.dumps({**json.loads(data), "format": 99}).encode())
    listing = scan(storage)
    assert [commit.name for commit in listing.commits] == [before.name]
    assert list(listing.damaged) == [damaged.name]


def test_when_all_checkpoints_are_damaged_the_run_does_not_start_from_nothing(storage: Storage) -> None:
    damaged = write_commit(storage, 2)
    storage.remove(f"{damaged.name}/weights-00000-000.safetensors")
    with pytest.raises(CheckpointError, match=damaged.name):
        newest(storage)


def test_a_folder_that_has_begun_and_lost_its_checkpoints_is_no_place_to_start_from_nothing(storage: Storage) -> None:
    storage.write(BEGUN, b"{}")
    storage.write("step-00000003-0a/weights-00000-000.safetensors", b"its COMMIT.json was deleted")
    with pytest.raises(CheckpointError, match="although some were committed.*remove the whole folder"):
        newest(storage)
    commit = write_commit(storage, 4)
    assert newest(storage).name == commit.name


def test_what_is_skipped_and_what_is_used_instead_are_both_named(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    before, damaged = write_commit(storage, 1), write_commit(storage, 2)
    storage.remove(f"{damaged.name}/weights-00000-000.safetensors")
    assert newest(storage).name == before.name
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert f"checkpoint {damaged.name} is damaged and not used, {before.name} is used" in record.getMessage()
    assert "weights-00000-000.safetensors is missing" in record.getMessage()


def test_a_commit_that_is_known_is_read_again_only_if_it_has_changed(storage: Storage) -> None:
    first, second = write_commit(storage, 1), write_commit(storage, 2)
    known: dict[str, tuple[str, Commit]] = {}
    assert [commit.step for commit in scan(storage, known).commits] == [2, 1]
    read = list[str]()
    storage.read = lambda name: read.append(name) or type(storage).read(storage, name)
    assert [commit.step for commit in scan(storage, known).commits] == [2, 1]
    assert read == []
    storage.write(f"{first.name}/{COMMIT}", b"overwritten")
    assert [commit.name for commit in scan(storage, known).commits] == [second.name]
    assert read == [f"{first.name}/{COMMIT}"]


def test_a_changed_byte_is_found_when_the_file_is_read(storage: Storage) -> None:
    commit = write_commit(storage, 2)
    file = "weights-00000-000.safetensors"
    data = bytearray(storage.read(f"{commit.name}/{file}"))
    assert read_verified(storage, commit, file) == bytes(data)
    data[3] ^= 1
    storage.write(f"{commit.name}/{file}", bytes(data))
    with pytest.raises(CheckpointDamaged, match="not what was committed"):
        read_verified(storage, commit, file)


@pytest.mark.parametrize(
    "data", [b"[]", b"7", b'{"format": 1}', b"\xff\xfe", b'{"format": 1, "digest": "0", "files": 3}']
)
def test_any_other_json_is_damage_and_nothing_else(data: bytes) -> None:
    with pytest.raises(CheckpointDamaged):
        parse_commit("step-00000001-0a", data)


def test_an_epoch_has_ended_when_the_next_has_no_mark_yet() -> None:
    start = Progress.start(4)
    assert not start.at_epoch_end
    begun = dataclasses.replace(start, epoch=3, consumed=np.array([True, False, False, False]))
    assert not begun.at_epoch_end
    assert dataclasses.replace(begun, consumed=np.zeros(4, dtype=bool)).at_epoch_end


def test_looking_for_checkpoints_needs_no_torch() -> None:
    import subprocess

    code = "import sys, cluster.commit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

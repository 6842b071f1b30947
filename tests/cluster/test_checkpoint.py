"""A checkpoint is complete and verified, or nobody sees it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

from cluster import checkpoint
from cluster.checkpoint import CheckpointError, CheckpointStore, Progress, load_weights
from cluster.commit import BEGUN, BITMAP, COMMIT, CheckpointDamaged, newest, scan
from cluster.config import CheckpointConfig
from cluster.engine import Engine
from pipelines.storage import ObjectMissing, Storage, StorageUnavailable
from tests.cluster.faulty_storage import Fault, FaultyStorage
from tests.cluster.test_engine import COMBINATIONS, is_same
from tests.cluster.workers import TinyTask, Workers, full_state, make_engine, train

METADATA = {"config": {"seed": 1}, "data": "abc"}


def make_store(uri: str, **config: Any) -> CheckpointStore:
    return CheckpointStore(Storage(uri), CheckpointConfig(**config))


def progress_at(step: int, marked: tuple[int, ...] = ()) -> Progress:
    consumed = np.zeros(20, dtype=bool)
    consumed[list(marked)] = True
    return Progress(step=step, epoch=1, consumed=consumed, samples=8 * step, quarantined=3, epoch_quarantined=2)


def save(store: CheckpointStore, engine: Engine, progress: Progress) -> str:
    return store.commit(store.stage(engine, progress, METADATA))


def save_and_restore(uri: str) -> dict[str, Any]:
    store, engine = make_store(uri), make_engine(2, "fp32")
    train(engine, range(3))
    name = save(store, engine, progress_at(3, marked=(0, 1, 7)))
    other = make_engine(3, "bf16", task=TinyTask(seed=9))
    progress = store.restore(other, store.newest())
    state = full_state(engine)
    same = is_same(state, full_state(other)) and other.updates == 3
    return {"name": name, "same": same, "progress": progress, "state": state}


def test_a_checkpoint_restores_everything_into_another_stage(pair: Workers, tmp_path: Path) -> None:
    for seen in pair.run(save_and_restore, str(tmp_path)):
        assert seen["same"]
        assert np.flatnonzero(seen["progress"].consumed).tolist() == [0, 1, 7]
        assert vars(seen["progress"]).items() >= {"step": 3, "epoch": 1, "samples": 24, "quarantined": 3}.items()
        assert seen["progress"].epoch_quarantined == 2
    commit = newest(Storage(tmp_path))
    assert (commit.name, commit.world_size, commit.metadata) == (seen["name"], 2, METADATA)
    assert commit.engine == {"zero_stage": 2, "precision": "fp32", "micro_batch": 4, "updates": 3}
    assert not any(path.suffix in (".pt", ".pkl", ".pth") for path in tmp_path.rglob("*"))


def test_weights_are_read_without_a_process_group_from_a_run_or_a_checkpoint(pair: Workers, tmp_path: Path) -> None:
    seen = pair.run(save_and_restore, str(tmp_path / "checkpoints"))[0]
    directory = tmp_path / "checkpoints" / seen["name"]
    for uri in (tmp_path, tmp_path / "checkpoints", directory):
        weights, description = load_weights(str(uri))
        TinyTask(seed=5).load_state_dict(weights, strict=True)
        expected = {name.removesuffix("/weight"): t for name, t in seen["state"].items() if name.endswith("/weight")}
        assert is_same(weights, expected)
        assert description == {"checkpoint": str(directory), "step": 3, "epoch": 1, "metadata": METADATA}
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        load_weights(str(tmp_path / "elsewhere"))


def restore_damaged(uri: str, environment: dict[str, str]) -> dict[str, Any]:
    os.environ.update(environment)
    store, engine = make_store(uri), make_engine(0, "fp32")
    train(engine, range(1))
    older, names = full_state(engine), [save(store, engine, progress_at(1, marked=(4,)))]
    train(engine, range(1, 2))
    names.append(save(store, engine, progress_at(2)))
    latest = full_state(engine)
    seen: dict[str, Any] = {}

    _damage(uri, names[1], "adam-00001-000.safetensors")
    with logged("cluster.checkpoint") as lines:
        progress = store.restore(engine, store.newest())
    loud = [line for line in lines if line.startswith("CHECKPOINT DAMAGED")]
    seen["loud"] = len(loud) == 1 and f"{names[0]} (step 1) is used" in loud[0] and names[1] in loud[0]
    seen["fell back"] = progress.step == 1 and progress.consumed[4] and is_same(full_state(engine), older)
    seen["remembered"] = list(scan(Storage(uri)).damaged) == [names[1]] and store.newest().name == names[0]

    _damage(uri, names[0], BITMAP)
    fresh = make_engine(0, "fp32")
    before = full_state(fresh)
    try:
        store.restore(fresh, store.newest())
    except CheckpointError as error:
        seen["none intact"] = "intact" in str(error) and is_same(full_state(fresh), before)
    seen["distinct"] = not is_same(older, latest)
    return seen


@contextmanager
def logged(name: str) -> Iterator[list[str]]:
    """Messages of a logger in this process."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger(name).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(name).removeHandler(handler)


def _damage(uri: str, name: str, file: str) -> None:
    """Flips one bit in the middle of the file; the size stays."""
    dist.barrier()  # no rank is still reading
    if dist.get_rank() == 0:
        data = bytearray(Storage(uri).read(f"{name}/{file}"))
        data[len(data) // 2] ^= 4
        Storage(uri).write(f"{name}/{file}", bytes(data))
    dist.barrier()


def test_a_flipped_bit_sends_all_ranks_to_the_checkpoint_before(
    pair: Workers, place: tuple[str, dict[str, str]]
) -> None:
    for seen in pair.run(restore_damaged, *place):
        assert seen == dict.fromkeys(["loud", "fell back", "remembered", "none intact", "distinct"], True)


def test_a_reader_whose_checkpoint_is_removed_takes_another(
    pair: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    older, latest = pair.run(save_steps, str(tmp_path), range(2), {})[0]

    def remove_and_read(storage: Storage, name: str) -> bytes:
        if name.startswith(f"{latest}/weights-00001"):  # after the first file has been read
            storage.remove_tree(latest)
        return read(storage, name)

    read = Storage.read
    monkeypatch.setattr(Storage, "read", remove_and_read)
    weights, description = load_weights(str(tmp_path))
    assert description["step"] == 1 and weights.keys() == TinyTask().state_dict().keys()
    assert f"{older} (step 1) is used" in caplog.text and f"{latest}/weights-00001" in caplog.text
    with pytest.raises(ObjectMissing):
        Storage(tmp_path).read(f"{latest}/{COMMIT}")


def test_a_folder_says_that_it_has_begun_and_is_then_never_taken_for_new(
    pair: Workers, place: tuple[str, dict[str, str]]
) -> None:
    uri, environment = place
    storage = Storage(uri)
    assert newest(storage) is None
    first, second = pair.run(save_steps, uri, range(2), environment)[0]
    assert json.loads(storage.read(BEGUN))["first"] == first
    assert newest(storage).name == second
    for name in (first, second):
        storage.remove(f"{name}/{COMMIT}")
    with pytest.raises(CheckpointError, match="although some were committed"):
        newest(storage)
    for name in (first, second):
        storage.remove_tree(name)
    with pytest.raises(CheckpointError, match="although some were committed"):
        newest(storage)
    storage.remove(BEGUN)
    assert newest(storage) is None


def save_steps(uri: str, steps: range, environment: dict[str, str]) -> list[str]:
    os.environ.update(environment)
    engine, store = make_engine(0, "fp32"), make_store(uri)
    names = []
    for step in steps:
        train(engine, range(step, step + 1))
        names.append(save(store, engine, progress_at(step + 1)))
    return names


def restore_while_storage_is_down(uri: str) -> str:
    engine = make_engine(0, "fp32")
    for step in range(2):
        train(engine, range(step, step + 1))
        save(make_store(uri), engine, progress_at(step + 1))
    faulty = CheckpointStore(FaultyStorage(uri, Fault("read", "weights-", 1)), CheckpointConfig())
    try:
        return f"restored step {faulty.restore(engine, make_store(uri).newest()).step}"
    except CheckpointDamaged:
        return "taken for damage"
    except CheckpointError as error:
        return str(error)


def test_a_storage_that_is_down_is_no_reason_to_go_back(pair: Workers, tmp_path: Path) -> None:
    for message in pair.run(restore_while_storage_is_down, str(tmp_path)):
        assert "rank 1: StorageUnavailable: injected" in message


def run_phase(uri: str, stage: int, precision: str, resume: bool, steps: range) -> list[float]:
    accumulation = 2 // dist.get_world_size()  # the same micro-batches, dealt out to fewer workers
    task = TinyTask(seed=3 if resume else 0)
    engine, store = make_engine(stage, precision, accumulation=accumulation, task=task), make_store(uri)
    if resume:
        assert store.restore(engine, store.newest()).step == steps.start
    losses = train(engine, steps)
    save(store, engine, progress_at(steps.stop))
    return losses


@pytest.mark.parametrize(("stage", "precision"), COMBINATIONS)
def test_a_run_goes_on_with_one_worker_and_with_two_again(
    pair: Workers, solo: Workers, tmp_path: Path, stage: int, precision: str
) -> None:
    undisturbed = pair.run(run_phase, str(tmp_path / "undisturbed"), stage, precision, False, range(12))[0]
    resized = pair.run(run_phase, str(tmp_path / "run"), stage, precision, False, range(4))[0]
    resized += solo.run(run_phase, str(tmp_path / "run"), stage, precision, True, range(4, 8))[0]
    resized += pair.run(run_phase, str(tmp_path / "run"), stage, precision, True, range(8, 12))[0]
    assert resized == pytest.approx(undisturbed, abs=1e-5)
    assert len(set(undisturbed)) == 12


def test_a_large_state_is_cut_into_parts(solo: Workers, tmp_path: Path) -> None:
    assert solo.run(save_in_parts, str(tmp_path), 64)[0]
    weights = sorted(path.name for path in tmp_path.rglob("weights-*"))
    assert len(weights) > 2 and len(set(weights)) == len(weights)


def save_in_parts(uri: str, part_bytes: int) -> bool:
    checkpoint.PART_BYTES = part_bytes
    seen = save_and_restore(uri)
    return seen["same"]


def test_a_checkpoint_goes_to_object_storage_and_back(
    solo: Workers, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    assert solo.run(save_to_s3, f"{s3_bucket}/run/checkpoints", environment)[0]
    weights, description = load_weights(f"{s3_bucket}/run")
    assert weights.keys() == TinyTask().state_dict().keys() and description["step"] == 3


def save_to_s3(uri: str, environment: dict[str, str]) -> bool:
    os.environ.update(environment)
    return save_and_restore(uri)["same"]


def save_repeatedly(uri: str, undeletable: bool) -> list[int]:
    engine = make_engine(0, "fp32")
    store = make_store(uri)
    if undeletable:
        store.storage.remove = _refuse
    for step in range(1, 5):
        save(store, engine, progress_at(step))
    return [commit.step for commit in scan(Storage(uri)).commits]


def _refuse(name: str) -> None:
    raise StorageUnavailable(f"injected: remove {name}")


def test_superseded_checkpoints_and_old_orphans_are_removed_after_a_commit(solo: Workers, tmp_path: Path) -> None:
    old, young = tmp_path / "step-00000001-dead", tmp_path / "step-00000002-beef"
    for directory in (old, young):
        directory.mkdir()
        (directory / "weights-00000-000.safetensors").write_bytes(b"unfinished")
    long_ago = (datetime.now(UTC) - timedelta(hours=25)).timestamp()
    os.utime(old / "weights-00000-000.safetensors", (long_ago, long_ago))
    assert solo.run(save_repeatedly, str(tmp_path), False)[0] == [4, 3]
    assert not old.exists() and young.exists()


def test_a_delete_that_fails_does_not_end_the_run(solo: Workers, tmp_path: Path) -> None:
    assert solo.run(save_repeatedly, str(tmp_path), True)[0] == [4, 3, 2, 1]


def test_the_files_of_a_checkpoint_are_those_in_its_table(pair: Workers, tmp_path: Path) -> None:
    name = pair.run(save_and_restore, str(tmp_path))[0]["name"]
    table = json.loads((tmp_path / name / COMMIT).read_bytes())["files"]
    extra = {COMMIT, "rank-00000.json", "rank-00001.json"}
    assert {path.name for path in (tmp_path / name).iterdir()} == table.keys() | extra

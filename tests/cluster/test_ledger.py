"""The account of an epoch: its books balance, no line is lost or doubled, and its records run nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.commit import Progress, scan
from cluster.config import CheckpointConfig
from cluster.failures import SamplesMiscounted
from cluster.ledger import QUARANTINE, Ledger, epoch_record, read_epoch
from cluster.protocols import BatchPlan
from cluster.trainer import DIRECTORY
from pipelines.storage import Storage
from tests.cluster.test_loop import json_lines, train
from tests.cluster.toy import ToyData, remaining_blocks
from tests.cluster.workers import Workers
from tests.pipelines import traps


class Alone:
    """The only rank there is."""

    is_first = True

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values

    any = sum

    def broadcast(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]


def ledger(folder: Path, progress: Progress | None = None) -> Ledger:
    return Ledger(Alone(), Storage(folder), progress or Progress.start(10))


def use(account: Ledger, ids: Iterable[int], rejected: Iterable[int] = (), *, step: int = 1) -> None:
    """Marks and counts a batch, as the loop does."""
    ids_B, bad = np.array(list(ids)), set(rejected)
    account.mark(ids_B, np.array(['{"reason": "empty"}' if i in bad else "" for i in ids_B]), step=step)
    account.count(trained=len(ids_B) - len(bad), rejected=len(bad))


def store(account: Ledger, folder: Path) -> None:
    """Writes the records, as a save does."""
    for name, data in account.take_records().items():
        Storage(folder).write(name, data)


def test_an_epoch_whose_books_balance_is_closed_and_recorded(tmp_path: Path) -> None:
    account = ledger(tmp_path)
    use(account, [0, 2, 4], rejected=[4])
    use(account, [6, 8], step=2)
    account.reduce()
    account.close_epoch(members=5)
    store(account, tmp_path)
    assert (account.epoch, account.trained, account.rejected, account.consumed.any()) == (1, 0, 0, False)
    consumed, quarantined = read_epoch(Storage(tmp_path), 0)
    assert np.flatnonzero(consumed).tolist() == [0, 2, 4, 6, 8] and quarantined.tolist() == [4]


def test_a_sample_that_is_not_of_the_epoch_stops_the_run_with_the_numbers(tmp_path: Path) -> None:
    account = ledger(tmp_path)
    use(account, [0, 2, 4, 6, 8, 9], rejected=[4])
    account.reduce()
    with pytest.raises(SamplesMiscounted, match="epoch 0: of 5 samples 6 were read, 5 trained on and 1 rejected"):
        account.close_epoch(members=5)
    assert account.epoch == 0 and epoch_record(0) not in account.take_records()


def test_a_sample_marked_without_being_trained_on_stops_the_run(tmp_path: Path) -> None:
    account = ledger(tmp_path)
    use(account, [0, 1])
    account.mark(np.array([2]), np.array([""]), step=2)
    account.reduce()
    with pytest.raises(SamplesMiscounted, match="of 3 samples 3 were read, 2 trained on and 0 rejected"):
        account.close_epoch(members=3)


def test_a_rejected_sample_without_a_line_stops_the_run(tmp_path: Path) -> None:
    account = ledger(tmp_path)
    account.mark(np.array([0, 1]), np.array(["", ""]), step=1)
    account.count(trained=1, rejected=1)
    account.reduce()
    with pytest.raises(SamplesMiscounted, match=rf"1 samples were rejected, but .*{QUARANTINE} has lines of 0"):
        account.close_epoch(members=2)


def test_the_books_balance_over_a_checkpoint(tmp_path: Path) -> None:
    account = ledger(tmp_path)
    use(account, [0, 1, 2], rejected=[1])
    account.reduce()
    store(account, tmp_path)
    progress = replace(Progress.start(10), step=1, consumed=account.consumed, epoch_quarantined=1)
    again = ledger(tmp_path, progress)
    assert (again.trained, again.rejected) == (2, 1)
    use(again, [3], step=2)
    again.reduce()
    again.close_epoch(members=4)


def test_a_lost_quarantine_file_is_found_at_the_start(tmp_path: Path) -> None:
    progress = replace(Progress.start(10), step=1, consumed=np.arange(10) < 3, epoch_quarantined=1)
    with pytest.raises(SamplesMiscounted, match="has lines of 0; give the file back, or remove the checkpoints"):
        ledger(tmp_path, progress)


def test_lines_of_earlier_epochs_and_of_unusable_videos_stay(tmp_path: Path) -> None:
    rows = [{"step": 0, "epoch": -1, "sample_id": 9}, {"step": 2, "epoch": 0, "sample_id": 3}]
    (tmp_path / QUARANTINE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    ledger(tmp_path, replace(Progress.start(10), step=2, epoch=1))
    assert json_lines(tmp_path / QUARANTINE) == rows


@pytest.mark.parametrize("rejected_batch", [1, 3])
def test_a_batch_of_rejected_samples_after_a_checkpoint_is_recorded_once_though_it_makes_no_step(
    pair: Workers, tmp_path: Path, rejected_batch: int
) -> None:
    """The run dies after the batch, and resumes from the checkpoint before it, at the same step."""
    data = ToyData(num_samples=24)  # three batches per epoch; the fourth begins the second epoch
    epoch, batch = divmod(rejected_batch, 3)
    blocks = remaining_blocks(data, epoch, np.zeros(24, bool), BatchPlan(2, 2, 2))
    rejected = tuple(int(i) for block in blocks[4 * batch : 4 * batch + 4] for i in block)
    data = replace(data, rejected=rejected)
    every = CheckpointConfig(every_steps=1, keep_last=100)
    train(pair, tmp_path, data=data, checkpoint=every)
    checkpoints = Storage(tmp_path / DIRECTORY)
    marked = [row["step"] for row in json_lines(tmp_path / QUARANTINE) if row["epoch"] == epoch]
    before = [c for c in scan(checkpoints).commits if (c.epoch, c.progress["epoch_quarantined"]) == (epoch, 0)]
    assert set(marked) >= {before[0].step}, "the batch makes no step of its own"
    for commit in scan(checkpoints).commits:
        if commit.order > before[0].order:
            checkpoints.remove_tree(commit.name)
    train(pair, tmp_path, data=data, checkpoint=every)
    lines = sorted((row["epoch"], row["sample_id"]) for row in json_lines(tmp_path / QUARANTINE))
    assert lines == [(e, i) for e in (0, 1) for i in sorted(rejected)]


def test_the_record_of_an_epoch_runs_nothing(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.write(epoch_record(3), traps.npz("consumed", tmp_path / "sprung"))
    with pytest.raises(ValueError, match="epochs/epoch-0003.npz is damaged"):
        read_epoch(storage, 3)
    assert not (tmp_path / "sprung").exists()

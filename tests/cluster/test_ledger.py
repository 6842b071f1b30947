"""The account of an epoch: what is recorded, what is refused, and that its records run nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.ledger import epoch_record, read_epoch
from pipelines.storage import Storage
from tests.pipelines import traps


def test_the_record_of_an_epoch_runs_nothing(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.write(epoch_record(3), traps.npz("consumed", tmp_path / "sprung"))
    with pytest.raises(ValueError, match="epochs/epoch-0003.npz"):
        read_epoch(storage, 3)
    assert not (tmp_path / "sprung").exists()

"""Only the newest life of a run may commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import attempts
from cluster.failures import RunTakenOver
from pipelines.storage import Storage


def test_the_newest_life_goes_on_and_the_one_before_is_told_of_it(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    first = attempts.begin(storage, resumed_step=0, workers=2)
    attempts.check_current(storage, first)
    second = attempts.begin(storage, resumed_step=6, workers=1)
    attempts.check_current(storage, second)
    with pytest.raises(RunTakenOver, match="another command trains in"):
        attempts.check_current(storage, first)


def test_lives_are_recorded_with_how_they_ended_and_only_so_many_are_kept(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    first = attempts.begin(storage, resumed_step=0, workers=2)
    attempts.end(storage, first, "killed in step 3")
    [entry] = attempts.read(storage)
    assert (entry["resumed_step"], entry["workers"], entry["how"]) == (0, 2, "killed in step 3")
    assert entry["began"] <= entry["ended"]
    ids = [attempts.begin(storage, resumed_step=step, workers=2) for step in range(attempts.KEPT)]
    assert [entry["id"] for entry in attempts.read(storage)] == ids


def test_a_run_whose_file_was_removed_is_not_committed_to(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    attempt = attempts.begin(storage, resumed_step=0, workers=2)
    storage.remove(attempts.ATTEMPTS)
    with pytest.raises(RunTakenOver, match="was removed"):
        attempts.check_current(storage, attempt)

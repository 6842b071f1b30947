"""The account of used samples: what a later life was resumed before does not count."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from cluster.audit import Audit, lives, surviving
from pipelines.storage import Storage


def begin(folder: Path, resumed_step: int, *, rank: int = 0, name: str = "") -> Audit:
    """One rank of a new life; a rank that is not the first joins the life called `name`."""
    ranks = SimpleNamespace(rank=rank, size=2, is_first=rank == 0, broadcast=lambda value: name or value)
    return Audit(Storage(folder), ranks, resumed_step=resumed_step)


def life_names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "audit").iterdir())


def test_steps_past_the_one_resumed_at_do_not_count(tmp_path: Path) -> None:
    first = begin(tmp_path, 0)
    peer = begin(tmp_path, 0, rank=1, name=life_names(tmp_path)[0])
    for step in (1, 2, 3):
        first.note(step, 0, [10 * step])
        peer.note(step, 0, [10 * step + 1])
    begin(tmp_path, 2).note(3, 0, [30, 31])
    assert surviving(Storage(tmp_path)) == {0: dict.fromkeys((10, 11, 20, 21, 30, 31), 1)}
    assert [(life.resumed_step, life.workers, len(life.notes)) for life in lives(Storage(tmp_path))] == [
        (0, 2, 6),
        (2, 2, 1),
    ]


def test_a_life_that_fell_back_further_cuts_all_before_it(tmp_path: Path) -> None:
    first = begin(tmp_path, 0)
    first.note(1, 0, [1])
    first.note(2, 0, [2])
    begin(tmp_path, 2).note(3, 1, [3])
    begin(tmp_path, 1).note(2, 0, [2])
    assert surviving(Storage(tmp_path)) == {0: {1: 1, 2: 1}}


def test_a_sample_used_in_two_updates_that_count_is_seen_twice(tmp_path: Path) -> None:
    begin(tmp_path, 0).note(1, 0, [5])
    later = begin(tmp_path, 1)
    later.note(2, 0, [5])
    later.note(3, 1, [5])
    assert surviving(Storage(tmp_path)) == {0: {5: 2}, 1: {5: 1}}


def test_a_run_without_an_account_has_used_nothing_that_is_known(tmp_path: Path) -> None:
    assert lives(Storage(tmp_path)) == [] and surviving(Storage(tmp_path)) == {}

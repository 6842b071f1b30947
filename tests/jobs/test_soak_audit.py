"""What a soak calls wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.parts.soak_audit import Account, account, largest_gap, losses
from jobs.parts.soak_run import judge
from pipelines.storage import Storage

DUE = frozenset(range(4))


def write_life(run: Path, number: int, resumed_step: int, used: dict[int, list[int]], *, per_epoch: int = 2) -> None:
    """`used` by step; epochs of so many steps."""
    place = Storage(run / "audit" / f"{number:04d}-00")
    place.write("start.json", json.dumps({"resumed_step": resumed_step, "workers": 1}).encode())
    for step, ids in used.items():
        line = {"step": step, "epoch": (step - 1) // per_epoch, "ids": ids}
        place.write(f"{step:08d}-00000.json", json.dumps(line).encode())


def test_a_run_that_lost_nothing_consumed_all_once_whatever_was_done_again(tmp_path: Path) -> None:
    write_life(tmp_path, 0, 0, {1: [0, 1], 2: [2, 3], 3: [3, 2]})
    write_life(tmp_path, 1, 2, {3: [0, 2], 4: [1, 3]})
    assert account(Storage(tmp_path), DUE, epochs=2, steps=4) == Account(8, twice=0, missing=0, foreign=0, lives=2)


def test_ids_used_twice_missing_or_not_due_are_counted(tmp_path: Path) -> None:
    write_life(tmp_path, 0, 0, {1: [0, 1], 2: [1, 9], 5: [0]})
    found = account(Storage(tmp_path), DUE, epochs=2, steps=4)
    assert found == Account(consumed=2, twice=1, missing=6, foreign=2, lives=1)


def test_quarantined_ids_are_not_due(tmp_path: Path) -> None:
    write_life(tmp_path, 0, 0, {1: [0, 1], 2: [2], 3: [0, 1], 4: [2, 3]})
    row = {"step": 2, "epoch": 0, "sample_id": 3}
    (tmp_path / "quarantine.jsonl").write_text(json.dumps(row) + "\n")
    assert account(Storage(tmp_path), DUE, epochs=2, steps=4) == Account(7, 0, 0, 0, 1)


def test_the_losses_of_a_run_need_every_step_once_and_are_compared_step_by_step(tmp_path: Path) -> None:
    lines = [{"step": 0, "held_out/loss": 1.0}, {"step": 1, "loss/total": 0.5}, {"step": 2, "loss/total": 0.4}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert losses(Storage(tmp_path), 2) == [0.5, 0.4]
    assert losses(Storage(tmp_path), 3) is None
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[-1]]))
    assert losses(Storage(tmp_path), 2) is None
    assert largest_gap([0.5, 0.25], [0.75, 0.25]) == 0.25 and largest_gap([0.5], None) is None


WELL = {
    "twice": 0,
    "missing": 0,
    "foreign": 0,
    "steps": 12,
    "undisturbed_steps": 12,
    "commands": 2,
    "largest_gap": 1e-5,
}


def test_a_run_that_did_what_it_should_is_well() -> None:
    assert judge(WELL, 12, needed=2, silent=[]) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"twice": 2}, "2 ids twice"),
        ({"missing": 1}, "1 ids missing"),
        ({"foreign": 1}, "1 ids foreign"),
        ({"steps": None}, "None steps"),
        ({"undisturbed_steps": 11}, "undisturbed 11, instead of 12"),
        ({"commands": 3}, "3 commands were needed instead of 2"),
        ({"largest_gap": 0.02}, "by up to 0.02"),
        ({"largest_gap": float("nan")}, "by up to nan"),
        ({"largest_gap": None}, "every step once"),
    ],
)
def test_anything_else_is_wrong_and_said(change: dict[str, Any], told: str) -> None:
    [wrong] = judge(WELL | change, 12, needed=2, silent=[])
    assert told in wrong
    assert judge(WELL, 12, needed=2, silent=["kill-0-3-mark"]) == ["did not happen: kill-0-3-mark"]

"""Steps that were refused: what is written about them, and that nobody runs into them again unasked."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from cluster.commit import scan
from cluster.failures import NonFinite, RefusedAhead
from cluster.fault_config import FaultPlan
from cluster.loop import forward_seed
from cluster.step_reports import rank_report, refused_ahead, write_refused
from cluster.trainer import DIRECTORY
from pipelines.storage import Storage
from tests.cluster.test_loop import train, trained_ids
from tests.cluster.workers import Workers

REPORT = "failures/step-00000005.json"


NAN = FaultPlan(("nan:rank=1,step=5,phase=forward",))
"""Checkpoints come every three steps."""


def strictly(text: str) -> Any:
    """JSON, without the tokens that JSON does not have."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_refused_step_is_written_down_with_its_seeds_and_its_losses_as_json(pair: Workers, tmp_path: Path) -> None:
    outcomes = train(pair, tmp_path, faults=NAN, seed=3)
    assert all(isinstance(outcome.error, NonFinite) for outcome in outcomes)
    report = strictly((tmp_path / REPORT).read_text())
    assert (report["step"], report["epoch"], report["seed"]) == (5, 0, 3)
    for rank, outcome in enumerate(outcomes):
        part = report["ranks"][rank]
        assert part["rank"] == rank and part["sample_ids"] == outcome.begun[-1][1]
        assert part["forward_seeds"] == [forward_seed(3, 4, rank, micro) for micro in (0, 1)]
        assert all(set(losses) == {"loss", "square"} for losses in part["losses"])
    first, second = report["ranks"]
    assert first["non_finite"] == {} and all(losses["loss"] > 0 for losses in first["losses"])
    assert second["non_finite"] == {"loss": "nan"} and second["losses"][0]["loss"] is None


def test_a_run_is_not_resumed_into_a_refused_step_and_says_what_can_be_done(pair: Workers, tmp_path: Path) -> None:
    train(pair, tmp_path, faults=NAN)
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(RefusedAhead) as refusal:
        train(pair, tmp_path)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    text = str(refusal.value)
    assert "step 5, after the checkpoint at step 3, was refused before" in text
    assert str(tmp_path / REPORT) in text and "optimizer.base_lr" in text and "retry_refused" in text


def test_a_run_told_to_try_again_goes_on_and_past_the_step_nobody_asks_any_more(pair: Workers, tmp_path: Path) -> None:
    first = train(pair, tmp_path, faults=NAN)
    second = train(pair, tmp_path, retry_refused=True, stop_at_step=6)
    third = train(pair, tmp_path)
    assert [outcome.error for outcome in (*second, *third)] == [None] * 4 and third[0].step == 14
    kept = [ids for outcome in first for step, ids in outcome.begun if step <= 3]
    used = [i for ids in kept for i in ids] + trained_ids(second) + trained_ids(third)
    assert sorted(used) == sorted([*range(50)] * 2)


def test_a_report_that_cannot_be_written_leaves_the_failure_as_it_is(pair: Workers, tmp_path: Path) -> None:
    (tmp_path / REPORT / "in the way").mkdir(parents=True)
    outcomes = train(pair, tmp_path, faults=NAN)
    for outcome in outcomes:
        assert isinstance(outcome.error, NonFinite) and outcome.step == 4
        assert "Details in no file, for it could not be written" in str(outcome.error)
        assert f"rank 1: sample ids {outcomes[1].begun[-1][1]}" in str(outcome.error)
    assert [commit.step for commit in scan(Storage(tmp_path / DIRECTORY)).commits] == [3]


def test_only_steps_after_the_checkpoint_count_and_a_damaged_report_counts_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage(tmp_path)
    assert refused_ahead(storage, 0) is None
    report = rank_report(0, [7, 8], [1], [{"loss": float("inf")}])
    with caplog.at_level(logging.WARNING):
        write_refused(storage, {"step": 12, "ranks": [report]})
    assert caplog.records == [] and refused_ahead(storage, 12) is None
    assert "{0: [7, 8]}" in (refused_ahead(storage, 11) or "")
    storage.write("failures/spike-00000099.json", b"{}")
    assert refused_ahead(storage, 12) is None
    storage.write("failures/step-00000020.json", b"torn")
    assert "that cannot be read any more" in (refused_ahead(storage, 12) or "")

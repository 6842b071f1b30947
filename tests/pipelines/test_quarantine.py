from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from pipelines.quarantine import (
    Budget,
    BudgetConfig,
    BudgetExceeded,
    QuarantineRow,
    Reason,
    SampleError,
    read_table,
    rejection,
    write_table,
)
from pipelines.storage import Storage


def test_a_rejection_names_the_object_the_reason_and_the_detail() -> None:
    text = rejection("dev/a.mp4", SampleError(Reason.short_read, "48 of 100 frames"))
    assert json.loads(text) == {"uri": "dev/a.mp4", "reason": "short_read", "detail": "48 of 100 frames"}


def test_a_detail_is_one_bounded_line_without_secrets() -> None:
    detail = "line\n" * 1000 + "x"
    fields = json.loads(rejection("a", SampleError(Reason.decode, "api_key=CANARY1234\n" + detail)))
    assert "CANARY" not in fields["detail"] and "\n" not in fields["detail"] and len(fields["detail"]) == 500


def test_a_sample_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(SampleError(Reason.empty, "no bytes")))
    assert (error.reason, error.detail, str(error)) == (Reason.empty, "no bytes", "empty: no bytes")


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [
        QuarantineRow.from_rejection(rejection(f"{i}.mp4", SampleError(reason, "é\n\u2028")), sample_id=i, epoch=3)
        for i, reason in enumerate(Reason)
    ]
    write_table(Storage(tmp_path), "run/quarantine.jsonl", rows)
    assert read_table(Storage(tmp_path), "run/quarantine.jsonl") == rows
    assert rows[0] == QuarantineRow(0, "0.mp4", Reason.empty, "é", 3)


@pytest.mark.parametrize("text", ["[]", '{"uri": "a"}', "null", '{"uri": "a", "reason": "bored", "detail": ""}'])
def test_a_text_that_is_no_rejection_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        QuarantineRow.from_rejection(text, sample_id=0, epoch=0)


def test_the_allowance_is_a_share_but_never_less_than_the_floor() -> None:
    config = BudgetConfig(fraction=0.005, at_least=10)
    assert [config.allowed(n) for n in (1, 2000, 2400, 1_000_000)] == [10, 10, 12, 5000]


def test_the_first_bad_sample_beyond_the_budget_stops_the_run_with_the_counts_and_the_table() -> None:
    budget = Budget(BudgetConfig(fraction=0.01, at_least=2), samples=300, table="runs/x/quarantine.jsonl", rejected=1)
    for _ in range(2):
        budget.count(True)
        budget.count(False)
    with pytest.raises(BudgetExceeded, match=r"4 of 300 .* 3 are allowed.*runs/x/quarantine.jsonl"):
        budget.count(True)


def test_bad_samples_in_a_row_stop_the_run_although_the_budget_is_not_spent() -> None:
    budget = Budget(BudgetConfig(fraction=1.0, in_a_row=3), samples=100, table="t")
    for is_rejected in (True, True, False, True, True):
        budget.count(is_rejected)
    with pytest.raises(BudgetExceeded, match="3 samples in a row"):
        budget.count(True)


@pytest.mark.parametrize("values", [{"fraction": 1.5}, {"fraction": -0.1}, {"at_least": -1}, {"in_a_row": 0}])
def test_a_budget_out_of_range_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        BudgetConfig(**values)

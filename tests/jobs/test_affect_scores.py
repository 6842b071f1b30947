"""Expressions, action units, valence and arousal of one model, each scored over the frames that tell of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score

from jobs.parts.affect_scores import evaluate_tasks, has_task, narrowed, task_columns
from jobs.parts.scores import evaluate
from pipelines.corpora.aff_wild2 import ALL, OFFICIAL
from pipelines.corpora.aff_wild2_files import EXPRESSIONS, UNITS
from pipelines.labels import ATTRIBUTES_TYPE

FRAMES, SUBJECTS = 120, 5
URIS = [f"{frame:03}.jpg" for frame in range(FRAMES)]


def numbers(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets and scores [N, 22]; every third frame has no expression, every fourth no units, every fifth no values."""
    rng, frame_N = np.random.default_rng(seed), np.arange(FRAMES)
    target_NK = np.concatenate(
        [
            np.eye(8)[rng.integers(0, 8, FRAMES)],
            rng.integers(0, 2, (FRAMES, 12)),
            rng.uniform(-1, 1, (FRAMES, 2)),
        ],
        axis=1,
    )
    score_NK = np.clip(0.4 * target_NK + rng.uniform(0, 0.6, target_NK.shape), 0, 1)
    for columns, step in ((slice(0, 8), 3), (slice(8, 20), 4), (slice(20, 22), 5)):
        target_NK[frame_N % step == 0, columns] = np.nan
    return target_NK.astype(np.float32), score_NK.astype(np.float32)


def table_of(target_NK: np.ndarray, score_NK: np.ndarray) -> pa.Table:
    row = np.arange(FRAMES)
    return pa.table(
        {
            "sample_id": row,
            "uri": URIS,
            "subject": [f"S{one * SUBJECTS // FRAMES}" for one in row],
            "part": ["test"] * FRAMES,
            "attributes": pa.array([[]] * FRAMES, ATTRIBUTES_TYPE),
            "target": pa.array(target_NK.tolist(), pa.list_(pa.float32())),
            "score": pa.array(score_NK.tolist(), pa.list_(pa.float32())),
            "clips": pa.array(np.ones(FRAMES, np.int32)),
        }
    )


def scored(table: pa.Table, **changed: Any) -> dict[str, Any]:
    arguments = {"expected": URIS, "evaluation": "paper", "setting": None, "cost": {"parameters": 7}, "unit": "frames"}
    return evaluate_tasks(table, ALL, **(arguments | changed))


def concordance(target_N: np.ndarray, score_N: np.ndarray) -> float:
    """Lin's, from the definition, in float64."""
    true_N, told_N = target_N.astype(np.float64), score_N.astype(np.float64)
    covariance = ((true_N - true_N.mean()) * (told_N - told_N.mean())).mean()
    return 2 * covariance / (true_N.var() + told_N.var() + (true_N.mean() - told_N.mean()) ** 2)


def test_each_task_of_several_is_what_the_protocol_of_its_own_is() -> None:
    found = task_columns(ALL)
    assert {name: columns for name, (_, columns) in found.items()} == {
        "expr": slice(0, 8),
        "au": slice(8, 20),
        "va": slice(20, 22),
    }
    assert {name: single for name, (single, _) in found.items()} == OFFICIAL
    assert found["expr"][0].classes == EXPRESSIONS and found["au"][0].classes == UNITS


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_protocol_of_one_task_is_that_task(name: str) -> None:
    assert task_columns(OFFICIAL[name]) == {name: (OFFICIAL[name], slice(0, len(OFFICIAL[name].classes)))}


def test_the_headline_is_the_sum_of_three_scores_each_over_the_frames_that_have_the_task() -> None:
    target_NK, score_NK = numbers()
    result = scored(table_of(target_NK, score_NK))
    frame_N = np.arange(FRAMES)
    expr_N, au_N, va_N = frame_N % 3 > 0, frame_N % 4 > 0, frame_N % 5 > 0
    f1 = f1_score(target_NK[expr_N, :8].argmax(1), score_NK[expr_N, :8].argmax(1), average="macro")
    unit_f1 = f1_score(target_NK[au_N, 8:20] >= 0.5, score_NK[au_N, 8:20] >= 0.5, average="macro")
    ccc = np.mean([concordance(target_NK[va_N, k], score_NK[va_N, k]) for k in (20, 21)])
    assert result["metrics"]["expr/f1_macro"] == pytest.approx(f1, abs=1e-12)
    assert result["metrics"]["au/multi_label_f1"] == pytest.approx(unit_f1, abs=1e-12)
    assert result["metrics"]["va/ccc"] == pytest.approx(ccc, abs=1e-9)
    assert (result["metric"], result["headline"]) == ("affect", pytest.approx(f1 + unit_f1 + ccc, abs=1e-9))
    assert {name: one["videos"] for name, one in result["tasks"].items()} == {"expr": 80, "au": 90, "va": 96}
    assert (result["videos"], result["subjects"], result["parameters"]) == (FRAMES, SUBJECTS, 7)
    assert result["per_class"].keys() == set(ALL.classes)
    low, high = result["metrics_interval_95"]["va/ccc"]
    assert low < result["metrics"]["va/ccc"] < high
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_frame_without_any_task_is_scored_by_none_and_still_has_to_be_there() -> None:
    target_NK, score_NK = numbers()
    target_NK[7] = np.nan
    changed = score_NK.copy()
    changed[7] = 1 - changed[7]
    table, other = table_of(target_NK, score_NK), table_of(target_NK, changed)
    assert scored(table) == scored(other)
    with pytest.raises(ValueError, match=r"1 videos have no prediction: 007\.jpg"):
        scored(table.filter(pa.array(np.arange(FRAMES) != 7)))


def test_a_task_that_no_frame_has_is_named() -> None:
    target_NK, score_NK = numbers()
    target_NK[:, 20:] = np.nan
    with pytest.raises(ValueError, match="none of 120 rows is annotated for va of protocol all: complete the corpus"):
        scored(table_of(target_NK, score_NK))


def test_the_result_of_one_task_is_that_of_evaluate() -> None:
    target_NK, score_NK = numbers()
    rows = narrowed(table_of(target_NK, score_NK), slice(0, 8))
    options = {"evaluation": "paper", "setting": None, "cost": {}, "expected": rows["uri"].to_pylist()}
    assert evaluate_tasks(rows, OFFICIAL["expr"], **options) == evaluate(rows, OFFICIAL["expr"], **options)


def test_narrowed_rows_are_those_of_the_task_with_its_numbers_and_no_votes() -> None:
    target_NK, score_NK = numbers()
    table = table_of(target_NK, score_NK).append_column("votes", pa.array([[1]] * FRAMES))
    rows = narrowed(table, slice(8, 20))
    chosen_N = np.arange(FRAMES) % 4 > 0
    assert rows["uri"].to_pylist() == np.array(URIS)[chosen_N].tolist() and "votes" not in rows.column_names
    np.testing.assert_array_equal(np.array(rows["target"].to_pylist()), target_NK[chosen_N, 8:20])
    np.testing.assert_array_equal(np.array(rows["score"].to_pylist(), np.float32), score_NK[chosen_N, 8:20])


def test_a_task_of_which_one_number_is_missing_is_not_there() -> None:
    target_NK = np.array([[1, 0, 0.5], [np.nan, 0, 0.5], [1, 0, np.nan]])
    assert has_task(target_NK, slice(0, 2)).tolist() == [True, False, True]
    assert has_task(target_NK, slice(2, 3)).tolist() == [True, True, False]

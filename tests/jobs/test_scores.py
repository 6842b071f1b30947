"""What is reported of predictions: complete, computed from what it says, with intervals that mean something."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score, recall_score

from jobs.parts.score_comparison import compare, over_seeds
from jobs.parts.score_report import draw_confusion, show
from jobs.parts.scores import check_complete, evaluate
from pipelines.labels import ATTRIBUTES_TYPE, EvaluationProtocol

CLASSES = ("angry", "happy", "sad", "surprised")
VIEWS = ("front", "left_30", "top")
PROTOCOL = EvaluationProtocol("low", "classes", CLASSES, folds=2, metric="f1_macro", group_by="view", official=240)
POOLED = replace(PROTOCOL, group_by=None, metric="uar")
SUBJECTS, VIDEOS = 10, 240


def predictions(share_right: float = 0.6, seed: int = 0, *, subjects: int = SUBJECTS, **columns: Any) -> pa.Table:
    """Of videos that are told with `share_right`, in the front view always."""
    rng, row = np.random.default_rng(seed), np.arange(VIDEOS)
    label, view = row % len(CLASSES), row % len(VIEWS)
    guess = rng.integers(0, len(CLASSES), VIDEOS)
    told = np.where((rng.random(VIDEOS) < share_right) | (view == 0), label, guess)
    subject = row * subjects // VIDEOS
    attributes = [[{"name": "view", "value": VIEWS[v]}, {"name": "take", "value": str(n)}] for n, v in enumerate(view)]
    table = {
        "sample_id": row,
        "uri": [f"{n:03}.mp4" for n in row],
        "subject": [f"S{s:03}" for s in subject],
        "part": [str(1 + s % 2) for s in subject],
        "attributes": pa.array(attributes, ATTRIBUTES_TYPE),
        "target": np.eye(len(CLASSES))[label].tolist(),
        "score": (0.1 + 0.6 * np.eye(len(CLASSES))[told]).tolist(),
        "clips": pa.array(np.where(row < 2, 1, 2), pa.int32()),
    }
    return pa.table(table | columns)


def classes(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array(table[name].to_pylist()).argmax(1) for name in ("target", "score"))


def scored(table: pa.Table, protocol: EvaluationProtocol = PROTOCOL, **changed: Any) -> dict[str, Any]:
    arguments = {
        "expected": [f"{n:03}.mp4" for n in range(VIDEOS)],
        "evaluation": "clean",
        "setting": "inductive",
        "cost": {"parameters": 85_000_000, "gflops": 49.7123},
    }
    return evaluate(table, protocol, **(arguments | changed))


def test_every_number_of_a_result_is_scikit_learns():
    table = predictions()
    result, (label, told) = scored(table), classes(table)
    view = np.arange(VIDEOS) % len(VIEWS)
    per_view = [f1_score(label[view == v], told[view == v], average="macro") for v in range(len(VIEWS))]
    assert result["headline"] == pytest.approx(np.mean(per_view), abs=1e-12)
    assert result["metrics"]["f1_macro"] == pytest.approx(f1_score(label, told, average="macro"), abs=1e-12)
    assert result["metrics_averaged"]["f1_macro"] == result["headline"] != result["metrics"]["f1_macro"]
    for name, reached in zip(VIEWS, per_view, strict=True):
        found = result["per_attribute"]["view"][name]
        assert found["f1_macro"] == pytest.approx(reached, abs=1e-12)
        assert (found["videos"], found["subjects"]) == (80, SUBJECTS)
    recall = recall_score(label, told, average=None)
    assert [result["per_class"][name]["recall"] for name in CLASSES] == pytest.approx(recall, abs=1e-12)
    assert result["metrics"]["uar"] == pytest.approx(recall.mean(), abs=1e-12)
    assert sum(part["videos"] for part in result["per_part"].values()) == VIDEOS
    assert np.sum(result["confusion_matrix"]) == VIDEOS and result["confusion_matrix"][0][0] == sum(
        told[label == 0] == 0
    )


def test_a_result_is_json_and_says_what_it_is():
    result = scored(predictions())
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["evaluation"], result["setting"]) == ("clean", "inductive")
    assert (result["parameters"], result["gflops"], result["official_videos"]) == (85_000_000, 49.7123, 240)
    assert result["clips_per_video"] == {"1": 2, "2": VIDEOS - 2}
    assert set(result["per_attribute"]) == {"view"}, "an attribute of a value per video makes no groups"


def test_the_order_of_the_rows_is_of_no_effect():
    table = predictions()
    assert scored(table.take(np.random.default_rng(0).permutation(VIDEOS))) == scored(table)


def test_an_interval_holds_the_headline_and_shrinks_with_more_subjects():
    few, many = (scored(predictions(subjects=subjects), POOLED) for subjects in (5, 120))
    for result in (few, many):
        low, high = result["headline_interval_95"]
        assert low < result["headline"] < high
        assert result["metrics_interval_95"]["uar"] == [low, high]
    alone = scored(predictions(subjects=VIDEOS), POOLED)
    assert (many["intervals_over"], alone["intervals_over"]) == ("subjects", "videos")
    one = scored(predictions(subjects=1), POOLED)
    assert one["headline_interval_95"] is None and one["metrics_interval_95"] is None


def test_an_interval_of_videos_is_as_wide_as_theory_says():
    result = scored(predictions(subjects=VIDEOS), replace(POOLED, metric="war"))
    low, high = result["headline_interval_95"]
    share = result["headline"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / VIDEOS), rel=0.1)


def test_videos_that_are_missing_doubled_or_not_listed_are_named():
    check_complete(["a", "b"], ["b", "a"])
    with pytest.raises(ValueError, match="1 videos have no prediction: c.*1 videos were predicted several times: a"):
        check_complete(["a", "b", "c"], ["a", "b", "a"])
    with pytest.raises(ValueError, match="1 videos were predicted and are not listed: 239.mp4"):
        scored(predictions(), expected=[f"{n:03}.mp4" for n in range(VIDEOS - 1)])


def test_what_cannot_be_scored_is_refused_by_name():
    table = predictions()
    scores = table["score"].to_pylist()
    scores[7][1] = float("nan")
    column = table.column_names.index("score")
    with pytest.raises(ValueError, match="1 videos .*: 007.mp4"):
        scored(table.set_column(column, "score", [scores]))
    with pytest.raises(ValueError, match="metric=ccc .* none of the task classes"):
        scored(table, replace(POOLED, metric="ccc"))
    with pytest.raises(ValueError, match="240 videos have no attribute 'age': 000.mp4"):
        scored(table, replace(PROTOCOL, group_by="age"))
    with pytest.raises(ValueError, match="needs the column votes"):
        scored(table, replace(POOLED, metric="v_f1"))


def test_a_class_without_videos_has_no_recall():
    wide = replace(POOLED, classes=(*CLASSES, "calm"))
    table = predictions()
    longer = {name: [[*row, 0.0] for row in table[name].to_pylist()] for name in ("target", "score")}
    result = scored(predictions(**longer), wide)
    assert result["per_class"]["calm"] == {"videos": 0, "recall": None, "f1": 0.0}


def test_v_f1_is_that_of_the_class_most_clips_are_given():
    table = predictions()
    label, _ = classes(table)
    votes = 2 * np.eye(len(CLASSES), dtype=int)[label] + np.eye(len(CLASSES), dtype=int)[0]
    result = scored(predictions(votes=votes.tolist()), replace(POOLED, metric="v_f1"))
    assert result["headline"] == 1.0 > result["metrics"]["f1_macro"]


@pytest.mark.parametrize(("task", "metric"), [("multi_label", "multi_label_accuracy"), ("regression", "ccc")])
def test_labels_and_values_are_scored_too(task, metric, capsys):
    target = np.random.default_rng(0).integers(0, 2, (VIDEOS, len(CLASSES))).astype(float)
    table = predictions(target=target.tolist(), score=(0.8 * target).tolist())
    result = scored(table, replace(PROTOCOL, task=task, metric=metric))
    assert "confusion_matrix" not in result and 0.9 < result["headline"] <= 1
    if task == "multi_label":
        assert result["per_class"]["sad"]["videos"] == target[:, 2].sum()
        assert result["metrics"]["multi_label_all_negative_accuracy"] == pytest.approx(np.mean(target == 0))
    show(result)
    assert "surprised" in capsys.readouterr().err


def test_seeds_are_joined_as_mean_and_deviation():
    results = [scored(predictions(seed=seed)) for seed in range(3)]
    joined, headlines = over_seeds(results), [result["headline"] for result in results]
    expected = {"mean": np.mean(headlines), "deviation": np.std(headlines, ddof=1), "values": headlines}
    assert joined["headline"] == expected and joined["seeds"] == 3
    assert joined["metrics"]["uar"]["mean"] == pytest.approx(np.mean([r["metrics"]["uar"] for r in results]))
    assert over_seeds(results[:1])["headline"]["deviation"] is None
    with pytest.raises(ValueError, match="different evaluation"):
        over_seeds([results[0], results[1] | {"evaluation": "paper"}])


def test_what_is_better_lies_above_and_what_is_equal_does_not():
    tables = {
        "scratch": [predictions(0.4, seed) for seed in range(3)],
        "pre-trained": [predictions(0.7, seed) for seed in range(3)],
        "same": [predictions(0.4, seed) for seed in range(3)],
    }
    found = compare(tables, PROTOCOL, baseline="scratch")
    apart, low, high = found["pre-trained"]
    assert 0 < low < apart < high and found["same"] == [0, 0, 0]
    means = [np.mean([scored(table)["headline"] for table in tables[arm]]) for arm in ("scratch", "pre-trained")]
    assert apart == pytest.approx(means[1] - means[0], abs=1e-12)


def test_predictions_of_other_videos_or_targets_are_not_compared():
    tables = {"scratch": [predictions()], "other": [predictions().slice(1)]}
    with pytest.raises(ValueError, match="1 videos have no prediction: 000.mp4"):
        compare(tables, PROTOCOL, baseline="scratch")
    tables["other"] = [predictions(subjects=3)]
    with pytest.raises(ValueError, match="other: subjects or targets"):
        compare(tables, PROTOCOL, baseline="scratch")


def test_the_report_shows_classes_views_and_the_kind_of_protocol(capsys):
    result = scored(predictions())
    show(result)
    told = capsys.readouterr().err
    for words in (
        "surprised",
        "left_30",
        "clean protocol",
        "inductive",
        "mean over view",
        "85,000,000 parameters; 49.7 GFLOPs",
    ):
        assert words in told
    assert draw_confusion(result).startswith(b"\x89PNG")

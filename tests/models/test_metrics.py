"""Scores from counts agree with scikit-learn, scipy and plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    recall_score,
)

from models.metrics import METRICS, PER_CLASS, bootstrap_weights, majority, statistics

CLASSES, LABELS, VIDEOS = 5, 4, 40


def scored(task: str, target_NK: np.ndarray, score_NK: np.ndarray) -> dict[str, np.ndarray]:
    counts = statistics(task, target_NK, score_NK, np.zeros(len(target_NK), int), num_groups=1)[0]
    per_class = {f"{name}_per_class": metric(counts) for name, metric in PER_CLASS[task].items()}
    return {name: metric(counts) for name, metric in METRICS[task].items()} | per_class


def drawn_classes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions, in a third of the cases without the last class in one of them or in both."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES - (seed % 3 > 0), VIDEOS)
    return labels, rng.integers(0, CLASSES - (seed % 3 > 1), VIDEOS)


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray | float]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("seed", range(30))
def test_scores_of_classes_agree_with_scikit_learn(seed):
    labels, predicted = drawn_classes(seed)
    score = np.random.default_rng(seed).random((VIDEOS, CLASSES)) + np.eye(CLASSES)[predicted]
    every = {"labels": range(CLASSES), "zero_division": 0}
    expected = {
        "uar": recall_score(labels, predicted, labels=np.unique(labels), average="macro"),
        "war": accuracy_score(labels, predicted),
        "accuracy": accuracy_score(labels, predicted),
        "f1_macro": f1_score(labels, predicted, average="macro", **every),
        "f1_weighted": f1_score(labels, predicted, average="weighted", **every),
        "f1_per_class": f1_score(labels, predicted, average=None, **every),
        "recall_per_class": recall_score(labels, predicted, average=None, **every),
    }
    assert_equal(scored("classes", np.eye(CLASSES)[labels], score), expected)


def test_counts_of_classes_are_confusion_matrices_of_each_group():
    labels, predicted = drawn_classes(0)
    group = np.arange(VIDEOS) % 3
    counts = statistics("classes", np.eye(CLASSES)[labels], np.eye(CLASSES)[predicted], group, num_groups=4)
    for g in range(3):
        chosen = confusion_matrix(labels[group == g], predicted[group == g], labels=range(CLASSES))
        assert np.array_equal(counts[g], chosen)
    assert not counts[3].any()


@pytest.mark.parametrize("seed", range(20))
def test_scores_of_labels_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    target, score = (rng.random((VIDEOS, LABELS)) < 0.3).astype(float), rng.random((VIDEOS, LABELS))
    if seed % 2:
        target[:, 0] = score[:, 0] = 0  # never there, never found
    told = score >= 0.5
    expected = {
        "multi_label_accuracy": np.mean([accuracy_score(target[:, k], told[:, k]) for k in range(LABELS)]),
        "multi_label_all_negative_accuracy": np.mean(target == 0),
        "multi_label_f1": f1_score(target, told, average="macro", zero_division=0),
        "multi_label_f1_weighted": f1_score(target, told, average="weighted", zero_division=0),
        "accuracy_per_class": [accuracy_score(target[:, k], told[:, k]) for k in range(LABELS)],
        "f1_per_class": precision_recall_fscore_support(target, told, zero_division=0)[2],
    }
    assert_equal(scored("multi_label", target, score), expected)


@pytest.mark.parametrize("seed", range(20))
def test_scores_of_values_agree_with_scipy_and_with_their_definition(seed):
    rng = np.random.default_rng(seed)
    target = 10 * rng.normal(size=(VIDEOS, 3)) + 100 * (seed % 2)
    score = rng.normal() * target + rng.normal(size=(VIDEOS, 3)) - 7
    pearson = np.array([pearsonr(target[:, k], score[:, k]).statistic for k in range(3)])
    spread = 2 * pearson * target.std(0) * score.std(0)
    ccc = spread / (target.var(0) + score.var(0) + (target.mean(0) - score.mean(0)) ** 2)
    mae = mean_absolute_error(target, score, multioutput="raw_values")
    found = scored("regression", target, score)
    per_class = {"ccc_per_class": ccc, "pearson_per_class": pearson, "mae_per_class": mae}
    assert_equal(found, per_class | {"ccc": ccc.mean(), "pearson": pearson.mean(), "mae": mae.mean()})


def test_perfect_values_agree_fully_and_constant_ones_tell_nothing():
    target = np.random.default_rng(0).normal(size=(VIDEOS, 2))
    assert scored("regression", target, target)["ccc"] == pytest.approx(1, abs=1e-12)
    found = scored("regression", target, np.ones_like(target))
    assert (found["ccc"], found["pearson"]) == (0, 0)


@pytest.mark.parametrize("task", METRICS)
def test_counts_of_groups_add_up_to_those_of_all(task):
    rng = np.random.default_rng(2)
    target, score = (rng.integers(0, 2, (VIDEOS, 3)).astype(float), rng.random((VIDEOS, 3)))
    counts = statistics(task, target, score, rng.integers(0, 6, VIDEOS), num_groups=6)
    whole = scored(task, target, score)
    for name, metric in METRICS[task].items():
        assert metric(counts.sum(0)) == pytest.approx(whole[name], abs=1e-12)
        one_by_one = [metric(one) for one in counts]
        np.testing.assert_allclose(metric(counts.reshape(2, 3, *counts.shape[1:])).ravel(), one_by_one, atol=1e-12)


@pytest.mark.parametrize("task", METRICS)
def test_nothing_to_score_is_zero(task):
    empty = statistics(task, np.ones((1, 3)), np.ones((1, 3)), np.zeros(1, int), num_groups=2)[1]
    assert all(metric(empty) == 0 for metric in METRICS[task].values())


def test_a_video_is_given_the_class_of_most_of_its_clips_and_of_equally_many_the_likelier():
    votes = np.array([[2, 1, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1]])
    score = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.2, 0.3, 0.5], [0.2, 0.4, 0.4]])
    assert majority(votes, score).tolist() == [0, 0, 1, 1]


def test_a_bootstrap_draws_as_many_as_there_are_with_replacement():
    weights = bootstrap_weights(4, draws=200, rng=np.random.default_rng(1))
    assert weights.shape == (200, 4) and np.all(weights.sum(1) == 4) and weights.min() == 0
    assert len(np.unique(weights, axis=0)) > 20
    assert weights.mean(0) == pytest.approx(np.ones(4), abs=0.2)

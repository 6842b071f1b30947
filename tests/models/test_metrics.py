"""Scores from confusion matrices agree with scikit-learn, and add up over subjects."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from models.metrics import bootstrap_counts, confusion, macro_f1, unweighted_average_recall

CLASSES = 5


@pytest.mark.parametrize("seed", range(20))
def test_scores_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, CLASSES - 1, (2, 40)) if seed % 2 else rng.integers(0, CLASSES, (2, 40))
    counts = confusion(labels, predicted, CLASSES)
    assert np.array_equal(counts, confusion_matrix(labels, predicted, labels=range(CLASSES)))
    f1 = f1_score(labels, predicted, labels=range(CLASSES), average="macro", zero_division=0)
    assert macro_f1(counts) == pytest.approx(f1, abs=1e-12)
    recall = recall_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert unweighted_average_recall(counts) == pytest.approx(recall, abs=1e-12)


def test_scores_of_many_matrices_are_those_of_each():
    counts = np.random.default_rng(0).integers(0, 9, (3, 2, CLASSES, CLASSES))
    for metric in (macro_f1, unweighted_average_recall):
        assert np.allclose(metric(counts), [[metric(one) for one in row] for row in counts], atol=1e-15)


def test_nothing_to_score_is_zero():
    empty = np.zeros((CLASSES, CLASSES), int)
    assert macro_f1(empty) == unweighted_average_recall(empty) == 0


def test_a_bootstrap_draws_whole_subjects_and_the_same_ones_at_every_call():
    counts = np.zeros((4, CLASSES, CLASSES), int)
    counts[np.arange(4), np.arange(4), 0] = (1, 10, 100, 1000)
    drawn = bootstrap_counts(counts, draws=200, seed=1)
    times = drawn[:, range(4), 0] / (1, 10, 100, 1000)
    assert np.array_equal(times, times.round()) and np.all(times.sum(1) == 4)
    assert len(np.unique(times, axis=0)) > 20
    assert np.array_equal(drawn, bootstrap_counts(counts, draws=200, seed=1))

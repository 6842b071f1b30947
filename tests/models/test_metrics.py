"""Scores from confusion matrices agree with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from models.metrics import bootstrap_weights, macro_f1, unweighted_average_recall

CLASSES = 5


@pytest.mark.parametrize("seed", range(20))
def test_scores_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, CLASSES - 1, (2, 40)) if seed % 2 else rng.integers(0, CLASSES, (2, 40))
    counts = confusion_matrix(labels, predicted, labels=range(CLASSES))
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


def test_a_bootstrap_draws_as_many_as_there_are_with_replacement():
    weights = bootstrap_weights(4, draws=200, rng=np.random.default_rng(1))
    assert weights.shape == (200, 4) and np.all(weights.sum(1) == 4) and weights.min() == 0
    assert len(np.unique(weights, axis=0)) > 20
    assert weights.mean(0) == pytest.approx(np.ones(4), abs=0.2)

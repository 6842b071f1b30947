"""Scores of classifiers from confusion matrices [..., C, C] (rows: true class), over any leading axes.

Counts and not predictions, because they add up: over folds, over views, and over the subjects that a bootstrap draws,
thousands of times at the cost of a sum. They equal scikit-learn's `f1_score(average="macro", zero_division=0)` and
`recall_score(average="macro")`.
"""

from __future__ import annotations

import numpy as np


def macro_f1(confusion_CC: np.ndarray) -> np.ndarray:
    """Mean over classes of F1 [...]; a class that neither occurs nor is predicted counts as 0."""
    hits_C = np.diagonal(confusion_CC, axis1=-2, axis2=-1)
    either_C = confusion_CC.sum(-1) + confusion_CC.sum(-2)
    return (2 * hits_C / np.maximum(either_C, 1)).mean(-1)


def unweighted_average_recall(confusion_CC: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur of the share of each that is found (UAR) [...]; 0 where none occurs."""
    true_C = confusion_CC.sum(-1)
    recall_C = np.diagonal(confusion_CC, axis1=-2, axis2=-1) / np.maximum(true_C, 1)
    return recall_C.sum(-1) / np.maximum((true_C > 0).sum(-1), 1)


def bootstrap_weights(num_items: int, *, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of the items is drawn, with replacement and as many as there are, int64 [draws, items]."""
    return rng.multinomial(num_items, np.full(num_items, 1 / num_items), size=draws)

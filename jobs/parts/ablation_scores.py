"""From predictions to a comparison: F1 and UAR per view and arm, and intervals of the differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.metrics import bootstrap_weights, macro_f1, unweighted_average_recall

METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"f1": macro_f1, "uar": unweighted_average_recall}
DRAWS = 2000
_INTERVAL = (2.5, 97.5)


def count(predicted_N: np.ndarray, labels_N: np.ndarray, view_N: np.ndarray, subject_N: np.ndarray) -> np.ndarray:
    """Confusion matrices [subjects, views, C, C] of predictions for videos, of the views and classes that occur in the
    labels, in ascending order. A view or class that a corpus lacks would count as one that nobody recognises."""
    from sklearn.metrics import confusion_matrix

    classes, (subjects, views) = np.unique(labels_N), (np.unique(subject_N), np.unique(view_N))
    counts = np.zeros((len(subjects), len(views), len(classes), len(classes)), np.int64)
    for s, subject in enumerate(subjects):
        for v, view in enumerate(views):
            chosen_N = (subject_N == subject) & (view_N == view)
            counts[s, v] = confusion_matrix(labels_N[chosen_N], predicted_N[chosen_N], labels=classes)
    return counts


def describe(counts_RSVCC: np.ndarray, views: list[str]) -> dict[str, Any]:
    """Scores of one arm from its counts per run (seed), subject and view. The headline of a run is the unweighted mean
    over the views, as in MAURA's tables; `f1` and `uar` are means over the runs."""
    scores: dict[str, Any] = {"views": {view: {} for view in views}}
    for name, metric in METRICS.items():
        score_RV = metric(counts_RSVCC.sum(1))
        scores[f"{name}_runs"] = score_RV.mean(1).tolist()
        scores[name] = float(score_RV.mean())
        for view, score in zip(views, score_RV.mean(0), strict=True):
            scores["views"][view][name] = float(score)
    return scores


def differences(counts_ARSVCC: dict[str, np.ndarray], baseline: str) -> dict[str, dict[str, list[float]]]:
    """By arm and metric: how far its headline lies above the baseline's, and the 95 % interval of that, lower and upper
    end. Subjects and seeds are drawn with replacement, the same ones for both: arms of a seed begin with the same
    weights. An arm of a single run is compared with the mean of the baseline's."""
    drawn = {arm: _bootstrap(counts_RSVCC) for arm, counts_RSVCC in counts_ARSVCC.items()}
    headline = {
        arm: {name: metric(counts_RSVCC.sum(1)).mean() for name, metric in METRICS.items()}
        for arm, counts_RSVCC in counts_ARSVCC.items()
    }
    found: dict[str, dict[str, list[float]]] = {}
    for arm in counts_ARSVCC:
        if arm != baseline:
            found[arm] = {
                name: [
                    float(headline[arm][name] - headline[baseline][name]),
                    *np.percentile(drawn[arm][name] - drawn[baseline][name], _INTERVAL).tolist(),
                ]
                for name in METRICS
            }
    return found


def _bootstrap(counts_RSVCC: np.ndarray) -> dict[str, np.ndarray]:
    """Headlines [DRAWS] of an arm; the same subjects and seeds are drawn at every call."""
    rng = np.random.default_rng(0)
    runs, subjects = counts_RSVCC.shape[:2]
    subjects_DS = bootstrap_weights(subjects, draws=DRAWS, rng=rng)
    runs_DR = bootstrap_weights(runs, draws=DRAWS, rng=rng) / runs
    counts_DRVCC = np.tensordot(subjects_DS, counts_RSVCC.swapaxes(0, 1), axes=1)
    return {name: (metric(counts_DRVCC).mean(2) * runs_DR).sum(1) for name, metric in METRICS.items()}

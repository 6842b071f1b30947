"""From predictions to a comparison: F1 and UAR per view and arm, and intervals of the differences over subjects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.metrics import bootstrap_counts, confusion, macro_f1, unweighted_average_recall
from pipelines.corpora.mead import EMOTIONS, VIEWS

METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"f1": macro_f1, "uar": unweighted_average_recall}
DRAWS = 2000
_INTERVAL = (2.5, 97.5)


def count(predicted_N: np.ndarray, labels_N: np.ndarray, view_N: np.ndarray, subject_N: np.ndarray) -> np.ndarray:
    """Confusion matrices [subjects, views, C, C] of predictions for the videos of takes."""
    subjects = np.unique(subject_N)
    counts = np.zeros((len(subjects), len(VIEWS), len(EMOTIONS), len(EMOTIONS)), np.int64)
    for s, subject in enumerate(subjects):
        for view in range(len(VIEWS)):
            chosen_N = (subject_N == subject) & (view_N == view)
            counts[s, view] = confusion(labels_N[chosen_N], predicted_N[chosen_N], len(EMOTIONS))
    return counts


def describe(counts_RSVCC: np.ndarray) -> dict[str, Any]:
    """Scores of one arm from its counts per run (seed), subject and view. The headline of a run is the unweighted mean
    over the views, as in MAURA's tables; `f1` and `uar` are means over the runs."""
    scores: dict[str, Any] = {"views": {view: {} for view in VIEWS}}
    for name, metric in METRICS.items():
        score_RV = metric(counts_RSVCC.sum(1))
        scores[f"{name}_runs"] = score_RV.mean(1).tolist()
        scores[name] = float(score_RV.mean())
        for view, score in zip(VIEWS, score_RV.mean(0), strict=True):
            scores["views"][view][name] = float(score)
    return scores


def differences(counts_ARSVCC: dict[str, np.ndarray], baseline: str) -> dict[str, dict[str, list[float]]]:
    """By arm and metric: how far its headline lies above the baseline's, and the 95 % interval of that, lower and upper
    end. Subjects are drawn with replacement, the same ones for both; runs are averaged."""
    headlines = {arm: _bootstrap(counts_RSVCC) for arm, counts_RSVCC in counts_ARSVCC.items()}
    found: dict[str, dict[str, list[float]]] = {}
    for arm in counts_ARSVCC:
        if arm == baseline:
            continue
        found[arm] = {}
        for name in METRICS:
            scores = (describe(counts_ARSVCC[key])[name] for key in (arm, baseline))
            apart = headlines[arm][name] - headlines[baseline][name]
            found[arm][name] = [float(np.subtract(*scores)), *np.percentile(apart, _INTERVAL).tolist()]
    return found


def _bootstrap(counts_RSVCC: np.ndarray) -> dict[str, np.ndarray]:
    """Headlines [DRAWS] of an arm; the same subjects are drawn at every call."""
    counts_DRVCC = bootstrap_counts(counts_RSVCC.swapaxes(0, 1), draws=DRAWS, seed=0)
    return {name: metric(counts_DRVCC).mean((1, 2)) for name, metric in METRICS.items()}

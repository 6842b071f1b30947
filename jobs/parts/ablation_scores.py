"""The scores of an ablation's arms: F1 and UAR per view and run."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.metrics import METRICS, Metric

ABLATION_METRICS: dict[str, Metric] = {"f1": METRICS["classes"]["f1_macro"], "uar": METRICS["classes"]["uar"]}


def describe(counts_RSVCC: np.ndarray, views: list[str]) -> dict[str, Any]:
    """Scores of one arm from its confusion matrices per run (seed), subject and view. The headline of a run is the
    unweighted mean over the views, as in MAURA's tables; `f1` and `uar` are means over the runs."""
    scores: dict[str, Any] = {"views": {view: {} for view in views}}
    for name, metric in ABLATION_METRICS.items():
        score_RV = metric(counts_RSVCC.sum(1))
        scores[f"{name}_runs"] = score_RV.mean(1).tolist()
        scores[name] = float(score_RV.mean())
        for view, score in zip(views, score_RV.mean(0), strict=True):
            scores["views"][view][name] = float(score)
    return scores

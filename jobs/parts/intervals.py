"""How sure a score is: subjects and runs drawn again with replacement, the same ones for all that is compared.

Statistics (models.metrics) have the leading axes R, S, G: runs (seeds), subjects, groups. The headline of a run is the
mean over the groups, each weighing the same (a single group: its score), that of several runs their mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.config import Task
from models.metrics import Metric, bootstrap_weights, statistics

DRAWS = 2000
_INTERVAL = (2.5, 97.5)
_DRAWS_AT_ONCE = 100


def statistics_by_subject(
    task: Task, target_NK: np.ndarray, score_NK: np.ndarray, subject_N: np.ndarray, group_N: np.ndarray
) -> np.ndarray:
    """Statistics [S, G, ...] of predictions. Subjects and groups are any names; they come in ascending order."""
    subjects, subject_index_N = np.unique(subject_N, return_inverse=True)
    groups, group_index_N = np.unique(group_N, return_inverse=True)
    index_N = subject_index_N * len(groups) + group_index_N
    counts = statistics(task, target_NK, score_NK, index_N, num_groups=len(subjects) * len(groups))
    return counts.reshape(len(subjects), len(groups), *counts.shape[1:])


def headlines(statistics_RSG: np.ndarray, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """The headline by metric."""
    return {name: float(metric(statistics_RSG.sum(1)).mean()) for name, metric in metrics.items()}


def intervals(statistics_RSG: np.ndarray, metrics: Mapping[str, Metric]) -> dict[str, list[float]]:
    """By metric the lower and upper end of the headline's 95 % interval."""
    return {name: _ends(drawn) for name, drawn in _draw(statistics_RSG, metrics).items()}


def differences(
    statistics_ARSG: Mapping[str, np.ndarray], baseline: str, metrics: Mapping[str, Metric]
) -> dict[str, dict[str, list[float]]]:
    """By arm and metric: how far its headline lies above the baseline's, and the 95 % interval of that, lower and upper
    end. Subjects and runs are drawn with replacement, the same ones for both: runs of a seed belong together. An arm of
    a single run is compared with the mean of the baseline's."""
    drawn = {arm: _draw(statistics, metrics) for arm, statistics in statistics_ARSG.items()}
    headline = {arm: headlines(statistics, metrics) for arm, statistics in statistics_ARSG.items()}
    return {
        arm: {
            name: [
                headline[arm][name] - headline[baseline][name],
                *_ends(drawn[arm][name] - drawn[baseline][name]),
            ]
            for name in metrics
        }
        for arm in statistics_ARSG
        if arm != baseline
    }


def _draw(statistics_RSG: np.ndarray, metrics: Mapping[str, Metric]) -> dict[str, np.ndarray]:
    """Headlines [DRAWS]; the same subjects and runs are drawn at every call."""
    runs, subjects = statistics_RSG.shape[:2]
    runs_DR = bootstrap_weights(runs, draws=DRAWS, rng=np.random.default_rng(1)) / runs
    rng = np.random.default_rng(0)
    by_subject_SRG = statistics_RSG.swapaxes(0, 1).astype(np.float64)  # products of integers are slow
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for start in range(0, DRAWS, _DRAWS_AT_ONCE):
        some_DR = runs_DR[start : start + _DRAWS_AT_ONCE]
        subjects_DS = bootstrap_weights(subjects, draws=len(some_DR), rng=rng).astype(np.float64)
        statistics_DRG = np.tensordot(subjects_DS, by_subject_SRG, axes=1)
        for name, metric in metrics.items():
            drawn[name].append((metric(statistics_DRG).mean(2) * some_DR).sum(1))
    return {name: np.concatenate(parts) for name, parts in drawn.items()}


def _ends(drawn_D: np.ndarray) -> list[float]:
    return np.percentile(drawn_D, _INTERVAL).tolist()

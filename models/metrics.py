"""Scores of predictions from counts that add up: over folds, over views, and over the subjects that a bootstrap draws,
thousands of times at the cost of a sum.

`statistics` counts predictions per group, and every metric is a function of such counts over any leading axes [...]:

    classes      confusion matrices [..., K, K], rows: true class. The class of a target or score is its largest entry,
                 the first of several equal ones
    multi_label  confusion matrices of each label [..., K, 2, 2]; a label is predicted from a score of 0.5 on
    regression   moments of each dimension [..., K, 8]

The metrics of classes and labels are scikit-learn's with zero_division=0: a class that neither occurs nor is predicted
has an F1 of 0. UAR is the mean recall of the classes that occur. Correlations are 0 where one side is constant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.config import Task

Metric = Callable[[np.ndarray], np.ndarray]
THRESHOLD = 0.5


def statistics(
    task: Task, target_NK: np.ndarray, score_NK: np.ndarray, group_N: np.ndarray, *, num_groups: int
) -> np.ndarray:
    """Counts of each group [num_groups, ...]; `group_N` are indices. Those of one call add up, those of several
    regressions do not: their moments are taken about the means of the call."""
    num_outputs = target_NK.shape[1]
    if task == "classes":
        counts = np.zeros((num_groups, num_outputs, num_outputs))
        np.add.at(counts, (group_N, target_NK.argmax(1), score_NK.argmax(1)), 1)
    elif task == "multi_label":
        counts = np.zeros((num_groups, num_outputs, 2, 2))
        true_NK, told_NK = (np.asarray(x >= THRESHOLD, np.int64) for x in (target_NK, score_NK))
        np.add.at(counts, (group_N[:, None], np.arange(num_outputs), true_NK, told_NK), 1)
    else:
        counts = np.zeros((num_groups, num_outputs, 8))
        np.add.at(counts, group_N, _moments(target_NK.astype(np.float64), score_NK.astype(np.float64)))
    return counts


def macro_f1(confusion_CC: np.ndarray) -> np.ndarray:
    """Mean over classes of F1 [...]; a class that neither occurs nor is predicted counts as 0."""
    return f1_per_class(confusion_CC).mean(-1)


def weighted_f1(confusion_CC: np.ndarray) -> np.ndarray:
    """Mean over classes of F1 [...], each weighing as much as it occurs."""
    return _weighted(f1_per_class(confusion_CC), confusion_CC.sum(-1))


def f1_per_class(confusion_CC: np.ndarray) -> np.ndarray:
    """F1 of every class [..., C]."""
    hits_C = np.diagonal(confusion_CC, axis1=-2, axis2=-1)
    return 2 * hits_C / np.maximum(confusion_CC.sum(-1) + confusion_CC.sum(-2), 1)


def recall_per_class(confusion_CC: np.ndarray) -> np.ndarray:
    """Share of each class that is found [..., C]; 0 where it does not occur."""
    return np.diagonal(confusion_CC, axis1=-2, axis2=-1) / np.maximum(confusion_CC.sum(-1), 1)


def unweighted_average_recall(confusion_CC: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur of the share of each that is found (UAR) [...]; 0 where none occurs."""
    occurring = (confusion_CC.sum(-1) > 0).sum(-1)
    return recall_per_class(confusion_CC).sum(-1) / np.maximum(occurring, 1)


def accuracy(confusion_CC: np.ndarray) -> np.ndarray:
    """Share of all that is right [...], also called weighted average recall (WAR)."""
    hits = np.diagonal(confusion_CC, axis1=-2, axis2=-1).sum(-1)
    return hits / np.maximum(confusion_CC.sum((-2, -1)), 1)


def label_f1(confusion_K22: np.ndarray) -> np.ndarray:
    """F1 of every label [..., K], of its being there."""
    return f1_per_class(confusion_K22)[..., 1]


def all_negative_accuracy(confusion_K22: np.ndarray) -> np.ndarray:
    """The multi-label accuracy [...] of saying no to every label."""
    count_K2 = confusion_K22.sum(-1)
    return (count_K2[..., 0] / np.maximum(count_K2.sum(-1), 1)).mean(-1)


def concordance(moments_K8: np.ndarray) -> np.ndarray:
    """Lin's concordance correlation coefficient of every dimension [..., K], of population variances."""
    cov_K, true_K, told_K, apart_K = _central(moments_K8)
    return _divided(2 * cov_K, true_K + told_K + apart_K**2)


def pearson(moments_K8: np.ndarray) -> np.ndarray:
    """Pearson's correlation of every dimension [..., K]."""
    cov_K, true_K, told_K, _ = _central(moments_K8)
    return np.clip(_divided(cov_K, np.sqrt(true_K) * np.sqrt(told_K)), -1, 1)


def mean_absolute_error(moments_K8: np.ndarray) -> np.ndarray:
    """Mean distance from the target of every dimension [..., K]."""
    return _divided(moments_K8[..., 7], moments_K8[..., 0])


def _mean_over_outputs(metric: Metric) -> Metric:
    return lambda counts: metric(counts).mean(-1)


METRICS: dict[Task, dict[str, Metric]] = {
    "classes": {
        "uar": unweighted_average_recall,
        "war": accuracy,
        "accuracy": accuracy,
        "f1_macro": macro_f1,
        "f1_weighted": weighted_f1,
    },
    "multi_label": {
        "multi_label_accuracy": _mean_over_outputs(accuracy),
        "multi_label_all_negative_accuracy": all_negative_accuracy,
        "multi_label_f1": _mean_over_outputs(label_f1),
        "multi_label_f1_weighted": lambda counts: _weighted(label_f1(counts), counts[..., 1, :].sum(-1)),
    },
    "regression": {
        "ccc": _mean_over_outputs(concordance),
        "pearson": _mean_over_outputs(pearson),
        "mae": _mean_over_outputs(mean_absolute_error),
    },
}
"""Of statistics to scores [...]. Those of several labels or dimensions are means over them: the multi-label accuracy is
the mean of their binary accuracies, the multi-label F1 that of their F1 (macro)."""

PER_CLASS: dict[Task, dict[str, Metric]] = {
    "classes": {"recall": recall_per_class, "f1": f1_per_class},
    "multi_label": {"accuracy": accuracy, "f1": label_f1},
    "regression": {"ccc": concordance, "pearson": pearson, "mae": mean_absolute_error},
}
"""Of statistics to one score per class, label or dimension [..., K]."""


def majority(vote_NK: np.ndarray, score_NK: np.ndarray) -> np.ndarray:
    """The class that most items (clips) of a video are given [N]; of several equally frequent ones that of the larger
    score, then the first."""
    is_most_NK = vote_NK == vote_NK.max(1, keepdims=True)
    return np.where(is_most_NK, score_NK, -np.inf).argmax(1)


def bootstrap_weights(num_items: int, *, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of the items is drawn, with replacement and as many as there are, int64 [draws, items]."""
    return rng.multinomial(num_items, np.full(num_items, 1 / num_items), size=draws)


def _moments(target_NK: np.ndarray, score_NK: np.ndarray) -> np.ndarray:
    """Count, sums, squares and product about the means, difference and distance [N, K, 8]."""
    true_NK, told_NK = target_NK - target_NK.mean(0), score_NK - score_NK.mean(0)
    apart_NK = score_NK - target_NK
    sums = (np.ones_like(true_NK), true_NK, told_NK, true_NK**2, told_NK**2, true_NK * told_NK, apart_NK)
    return np.stack([*sums, np.abs(apart_NK)], axis=-1)


def _central(moments_K8: np.ndarray) -> tuple[np.ndarray, ...]:
    """Covariance, both variances, and how far the means lie apart, each [..., K]."""
    count_K = np.maximum(moments_K8[..., 0], 1)
    true_K, told_K, true2_K, told2_K, product_K, apart_K = (moments_K8[..., i] / count_K for i in range(1, 7))
    variances = (np.maximum(square - mean**2, 0) for square, mean in ((true2_K, true_K), (told2_K, told_K)))
    return product_K - true_K * told_K, *variances, apart_K


def _weighted(score_K: np.ndarray, weight_K: np.ndarray) -> np.ndarray:
    return (score_K * weight_K).sum(-1) / np.maximum(weight_K.sum(-1), 1)


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

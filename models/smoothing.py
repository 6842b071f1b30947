"""Predictions of one video smoothed over time: filters, and chains of them.

Sources: NetEase ABAW5 (3.2, 4.4, Table 9), Emotic-MAE (3.5, 4.5). Filters are those of scipy.ndimage, as in NetEase.
Whatever a filter needs beyond the ends of the video is the video mirrored there (scipy's `reflect`, its default): the
last frame repeated instead would outvote its neighbours. An even window reaches one frame further back than ahead. The
median of an even number is the upper of the two in the middle.
Deliberate differences:
- probabilities of classes are divided by their sum after a filter that does not keep it (the median);
- the papers do not say how filters are chained: here one after the other, as they are listed;
- Emotic's window smooths labels by an unnamed rule: the label of most frames in the window is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from models.config import Task
from models.metrics import METRICS, THRESHOLD, majority, statistics

_MODE = "reflect"
_TOLERANCE = 1e-3  # of the sum of probabilities, which networks tell in single or half precision


@dataclass(frozen=True)
class GaussianFilter:
    """The mean weighed by a Gaussian, cut off at 4 sigma."""

    sigma: float
    """In frames."""

    def __post_init__(self) -> None:
        if not 0 < self.sigma < inf:
            raise ValueError(f"sigma={self.sigma} must be a positive number of frames")


@dataclass(frozen=True)
class _WindowFilter:
    window: int
    """In frames."""

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window={self.window} must be at least 2 frames; for no smoothing leave the filter out")


@dataclass(frozen=True)
class MedianFilter(_WindowFilter):
    """The median of each output by itself."""


@dataclass(frozen=True)
class AverageFilter(_WindowFilter):
    """The mean."""


@dataclass(frozen=True)
class MajorityVote(_WindowFilter):
    """The label of most frames, as 1 for it and 0 for the others; of equally frequent ones that of the larger mean
    score. Each of several labels is there or not by itself. Values have no labels."""


Filter = GaussianFilter | MedianFilter | AverageFilter | MajorityVote
_FILTERS: dict[str, type[Filter]] = {
    "gaussian": GaussianFilter,
    "median": MedianFilter,
    "average": AverageFilter,
    "majority": MajorityVote,
}

NETEASE: dict[str, dict[str, tuple[str, ...]]] = {
    "none": {"au": (), "expr": (), "va": ()},
    "gaussian": {"au": ("gaussian:5",), "expr": ("gaussian:25",), "va": ("gaussian:25",)},
    "median": {"au": ("median:10",), "expr": ("median:25",), "va": ("median:50",)},
    "average": {"au": ("average:10",), "expr": ("average:25",), "va": ("average:50",)},
}
"""Rows of NetEase Table 9, for each of its columns."""
EMOTIC = ("majority:50",)
"""Emotic-MAE 3.5."""


def read_filters(words: Sequence[str]) -> tuple[Filter, ...]:
    """A chain from the words of a config, such as ("median:10", "gaussian:5"): the filter, and its sigma or window in
    frames.

    Raises:
        ValueError: no such filter; a number that is none or does not suit it.
    """
    return tuple(_read_filter(word) for word in words)


def smooth(score_NK: np.ndarray, filters: Sequence[Filter], task: Task) -> np.ndarray:
    """The scores of all frames of one video, in the order of time, after a chain of filters: float64 [N, K]. Without
    one they come back as they are.

    Scores are probabilities of classes (they still sum to 1 afterwards), of several labels, or values; of task=affect
    the groups are smoothed one by one.

    Raises:
        ValueError: numbers that are not finite or, but for a regression, no probabilities; a vote on values.
    """
    _check_scores(score_NK, task)
    for one in filters:
        score_NK = _filtered(score_NK.astype(np.float64), one, task)
    return score_NK


def choose(
    candidates: Sequence[Sequence[Filter]],
    score_VNK: Sequence[np.ndarray],
    target_VNK: Sequence[np.ndarray],
    *,
    task: Task,
    metric: str,
) -> int:
    """The index of the chain that is best by a metric of models.metrics.METRICS[task], over the annotated frames of all
    videos together; of several equally good ones the shortest, then the first. NaN in a target: a frame without
    annotation, smoothed and not scored. What is given must be the validation part: chosen on the test set, a filter
    would have seen it.

    Raises:
        ValueError: no candidate, no annotated frame, a metric the task does not have; as `smooth`.
    """
    if metric not in METRICS[task]:
        raise ValueError(f"metric={metric} is none of task={task}: {', '.join(METRICS[task])}")
    if not candidates:
        raise ValueError("there is no chain of filters to choose from; an empty one is a chain too")
    target_NK = np.concatenate(target_VNK)
    annotated_N = np.isfinite(target_NK).all(1)
    if not annotated_N.any():
        raise ValueError("no frame of the validation videos is annotated: there is nothing to choose by")
    reached = []
    for chain in candidates:
        told_NK = np.concatenate([smooth(score_NK, chain, task) for score_NK in score_VNK])
        columns = target_NK[annotated_N], told_NK[annotated_N], np.zeros(annotated_N.sum(), np.int64)
        reached.append(float(METRICS[task][metric](statistics(task, *columns, num_groups=1)[0])))
    sign = -1 if metric == "mae" else 1
    return max(range(len(candidates)), key=lambda i: (sign * reached[i], -len(candidates[i]), -i))


def _read_filter(word: str) -> Filter:
    name, _, number = word.partition(":")
    try:
        kind = _FILTERS[name]
        return kind(float(number)) if kind is GaussianFilter else kind(int(number))
    except KeyError:
        raise ValueError(f"smoothing by {word!r}: there are {', '.join(_FILTERS)}, as in median:10") from None
    except ValueError as error:
        raise ValueError(f"smoothing by {word!r}: {error}; say a number of frames, as in {name}:10") from None


def _check_scores(score_NK: np.ndarray, task: Task) -> None:
    if task == "affect":
        raise ValueError("task=affect is several tasks; smooth the columns of each by themselves")
    if not np.isfinite(score_NK).all():
        raise ValueError("scores that are not finite cannot be smoothed: they would spread; fill missing frames first")
    if task == "regression":
        return
    is_share = (score_NK >= -_TOLERANCE).all() and (score_NK <= 1 + _TOLERANCE).all()
    if not is_share or (task == "classes" and (np.abs(score_NK.sum(1) - 1) > _TOLERANCE).any()):
        raise ValueError(f"scores of task={task} must be probabilities; apply softmax or sigmoid first")


def _filtered(score_NK: np.ndarray, one: Filter, task: Task) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d, median_filter, uniform_filter1d

    match one:
        case GaussianFilter(sigma):
            return gaussian_filter1d(score_NK, sigma, axis=0, mode=_MODE)
        case AverageFilter(window):
            return uniform_filter1d(score_NK, window, axis=0, mode=_MODE)
        case MajorityVote(window):
            return _voted(score_NK, window, task)
        case MedianFilter(window):
            # One column at a time, mirrored by ourselves: scipy's filter of one dimension is ten times as fast and, on
            # fewer numbers than its window, reads memory that is not its own (1.17).
            mirrored_KN = np.pad(score_NK.T, ((0, 0), (window, window)), "symmetric")
            median_KN = np.stack([median_filter(mirrored_N, window) for mirrored_N in mirrored_KN])
            median_NK = median_KN[:, window:-window].T
            return _shares(median_NK, score_NK) if task == "classes" else median_NK


def _shares(median_NK: np.ndarray, score_NK: np.ndarray) -> np.ndarray:
    """Divided by their sum; where every median is 0, the scores stay as they were."""
    sum_N1 = median_NK.sum(1, keepdims=True)
    return np.divide(median_NK, sum_N1, out=score_NK.copy(), where=sum_N1 > 0)


def _voted(score_NK: np.ndarray, window: int, task: Task) -> np.ndarray:
    from scipy.ndimage import correlate1d

    def summed(x_NK: np.ndarray) -> np.ndarray:
        return correlate1d(x_NK, np.ones(window), axis=0, mode=_MODE)

    num_outputs = score_NK.shape[1]
    if task == "classes":
        vote_NK = np.eye(num_outputs)[score_NK.argmax(1)]
        return np.eye(num_outputs)[majority(summed(vote_NK), summed(score_NK))]
    if task == "multi_label":
        there_NK = summed(np.where(score_NK >= THRESHOLD, 1.0, 0.0))
        mean_NK = summed(score_NK) / window
        # There before not there: of equal votes and means that is the threshold's own rule.
        vote_M2 = np.stack([there_NK, window - there_NK], axis=-1).reshape(-1, 2)
        score_M2 = np.stack([mean_NK, 1 - mean_NK], axis=-1).reshape(-1, 2)
        return 1.0 - majority(vote_M2, score_M2).reshape(score_NK.shape)
    raise ValueError(f"majority:{window} votes on labels, task={task} has none; say median or average")

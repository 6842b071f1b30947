"""Scores of the ABAW challenges: frame by frame, over all frames of all videos together.

Source: NetEase ABAW5 (4.1): S_AU (Eq. 5) and S_EXPR (Eq. 6) are mean F1, S_VA (Eq. 7) is the mean of the two CCC
(Eq. 4), S_ERI (Eq. 8) the mean PCC (Eq. 9); the multi-task score is S_VA + S_EXPR + S_AU. The parts of each are those
of models.metrics.PER_CLASS.

A frame counts in a challenge if all numbers of its target are known (not NaN): where one action unit is not annotated,
none of the frame's is scored, as in the published code. An expression is the class of the largest score; an action unit
is there from its threshold on, 0.5 unless one was chosen on the validation part.

Difference from the paper: the denominator of Eq. 4 has the variance of a letter that is not defined; it is read as
Lin's definition, with population variances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from models.config import Task
from models.metrics import PER_CLASS, THRESHOLD, Metric, statistics

Challenge = Literal["au", "expr", "va", "eri"]
MULTI_TASK: tuple[Challenge, ...] = ("va", "expr", "au")


class Rule(NamedTuple):
    """How a challenge is scored: by the mean of a measure over classes, labels or dimensions."""

    task: Task
    measure: str

    @property
    def per_class(self) -> Metric:
        return PER_CLASS[self.task][self.measure]


RULES: dict[Challenge, Rule] = {
    "au": Rule("multi_label", "f1"),
    "expr": Rule("classes", "f1"),
    "va": Rule("regression", "ccc"),
    "eri": Rule("regression", "pearson"),
}


@dataclass(frozen=True)
class ChallengeScore:
    """What one challenge is won by."""

    score: float
    """The mean of the parts."""
    part_K: np.ndarray
    """F1 of every unit or expression, CCC or PCC of every dimension, float64."""
    frames: int
    """That count."""
    threshold_K: np.ndarray | None
    """From which score on a unit is there; None but for action units."""


def challenge_score(
    challenge: Challenge, target_NK: np.ndarray, score_NK: np.ndarray, *, threshold_K: np.ndarray | None = None
) -> ChallengeScore:
    """The score of a challenge over the frames of all videos, one row each.

    Args:
        target_NK: one-hot expressions, 0 or 1 for each unit, or values; NaN where there is no annotation.
        score_NK: probabilities or values, of every frame.
        threshold_K: of action units, such as `best_thresholds` of the validation part; None: 0.5 for each.

    Raises:
        ValueError: no annotated frame; scores that are not finite, also where there is no annotation; thresholds of
            another challenge.
    """
    annotated_N = np.isfinite(target_NK).all(1)
    if not annotated_N.any():
        raise ValueError(f"challenge={challenge}: none of {len(target_NK)} frames is annotated")
    if challenge == "au" and threshold_K is None:
        threshold_K = np.full(target_NK.shape[1], THRESHOLD)
    told_NK = predictions(challenge, score_NK, threshold_K)
    columns = target_NK[annotated_N], told_NK[annotated_N], np.zeros(annotated_N.sum(), np.int64)
    part_K = RULES[challenge].per_class(statistics(RULES[challenge].task, *columns, num_groups=1)[0])
    return ChallengeScore(float(part_K.mean()), part_K, int(annotated_N.sum()), threshold_K)


def predictions(challenge: Challenge, score_NK: np.ndarray, threshold_K: np.ndarray | None) -> np.ndarray:
    """What models.metrics is given [N, K]: of action units 1 from the threshold on and else 0, otherwise the scores.

    Raises:
        ValueError: as `challenge_score`.
    """
    if not np.isfinite(score_NK).all():
        broken = int((~np.isfinite(score_NK)).any(1).sum())
        raise ValueError(f"challenge={challenge}: {broken} frames have scores that are not finite")
    if threshold_K is None:
        return score_NK
    if challenge != "au":
        raise ValueError(f"threshold_K has no effect on challenge={challenge}; leave it out")
    return np.where(score_NK >= threshold_K, 1.0, 0.0)


def multi_task_score(scores: Mapping[Challenge, ChallengeScore]) -> float:
    """The sum of S_VA, S_EXPR and S_AU. Raises ValueError unless these three are given."""
    if set(scores) != set(MULTI_TASK):
        raise ValueError(f"the multi-task score is of {', '.join(MULTI_TASK)}, given: {', '.join(scores) or 'none'}")
    return sum(scores[challenge].score for challenge in MULTI_TASK)


def best_thresholds(target_NK: np.ndarray, score_NK: np.ndarray) -> np.ndarray:
    """For each label the threshold of the largest F1 (a label is there from it on), float64 [K]; what is given must be
    the validation part. Every way of dividing the frames by their score is tried.

    Of all thresholds between the same two scores, which tell the same, it is 0.5 if that lies among them, else the
    middle; of divisions with the same F1 that of the threshold nearest to 0.5. A label that never occurs keeps 0.5.

    Raises:
        ValueError: no annotated frame; scores that are not finite.
    """
    annotated_N = np.isfinite(target_NK).all(1)
    if not annotated_N.any():
        raise ValueError(f"none of {len(target_NK)} frames is annotated: there is nothing to choose thresholds by")
    score_NK = predictions("au", score_NK[annotated_N], None).astype(np.float64)
    columns = zip(target_NK[annotated_N].T, score_NK.T, strict=True)
    return np.array([_best_threshold(target_N >= THRESHOLD, score_N) for target_N, score_N in columns])


def _best_threshold(is_there_N: np.ndarray, score_N: np.ndarray) -> float:
    if not is_there_N.any():
        return THRESHOLD
    order_N = np.argsort(-score_N)
    score_N, hits_N = score_N[order_N], np.cumsum(is_there_N[order_N])
    told_N = np.arange(1, len(score_N) + 1)
    last_D = np.flatnonzero(np.diff(score_N, append=-np.inf))  # equal scores are told alike
    f1_D = 2 * hits_N[last_D] / (told_N[last_D] + hits_N[-1])
    # A division D says yes from upper on and no up to lower; below the smallest score nothing is left.
    upper_D = score_N[last_D]
    lower_D = np.append(upper_D[1:], min(0.0, upper_D[-1]))
    middle_D = lower_D + (upper_D - lower_D) / 2
    threshold_D = np.where(middle_D > lower_D, middle_D, upper_D)
    threshold_D[(lower_D < THRESHOLD) & (upper_D >= THRESHOLD)] = THRESHOLD
    best_B = np.flatnonzero(f1_D == f1_D.max())
    return float(threshold_D[best_B[np.abs(threshold_D[best_B] - THRESHOLD).argmin()]])

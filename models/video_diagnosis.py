"""Videos one by one: where the score of a challenge (models.challenge_metrics) is lost.

A video is scored by what it holds: by the action units or expressions that occur in it, by the values that vary in it.
So the mean over videos is not the score of the challenge, which is taken over all frames together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.challenge_metrics import RULES, Challenge, predictions
from models.metrics import THRESHOLD, accuracy, mean_absolute_error, statistics


@dataclass(frozen=True)
class VideoDiagnosis:
    """One video. None: cannot be told, or not of this challenge."""

    video: str
    frames: int
    annotated: int
    """Frames that are scored."""
    missing: float
    """Share of all frames without a picture or features, whose prediction is a neighbour's."""
    part_K: tuple[float | None, ...]
    """F1 of each unit or expression that occurs, CCC or PCC of each value that varies."""
    score: float | None = None
    """The mean of those."""
    accuracy: float | None = None
    """Share of frames with the right expression; of units the mean of their shares."""
    longest_error: int | None = None
    """Most annotated frames in a row with a wrong expression, or with one and the same unit wrong."""
    changes: int | None = None
    """How often the expression, or a unit, changes between an annotated frame and the next."""
    changes_told: int | None = None
    """How often the predicted ones do: far more often where they flicker."""
    distance_K: tuple[float, ...] | None = None
    """Mean distance of each value from the truth."""
    bias_K: tuple[float, ...] | None = None
    """Mean of each predicted value less that of the truth."""


def diagnose(
    challenge: Challenge,
    target_NK: np.ndarray,
    score_NK: np.ndarray,
    video_N: np.ndarray,
    present_N: np.ndarray,
    *,
    threshold_K: np.ndarray | None = None,
) -> list[VideoDiagnosis]:
    """One for each video, in ascending order of their names. Rows are frames, those of a video in the order of time.

    Args:
        target_NK, score_NK, threshold_K: as in models.challenge_metrics.challenge_score.
        present_N: False where a frame has no picture or no features.

    Raises:
        ValueError: scores that are not finite; thresholds of another challenge.
    """
    told_NK = predictions(challenge, score_NK, threshold_K)
    videos, index_N = np.unique(video_N, return_inverse=True)
    rows = np.split(np.argsort(index_N, kind="stable"), np.cumsum(np.bincount(index_N))[:-1])
    return [
        _diagnosis(challenge, str(video), target_NK[own], told_NK[own], present_N[own])
        for video, own in zip(videos, rows, strict=True)
    ]


def _diagnosis(
    challenge: Challenge, video: str, target_NK: np.ndarray, told_NK: np.ndarray, present_N: np.ndarray
) -> VideoDiagnosis:
    annotated_N = np.isfinite(target_NK).all(1)
    frames, annotated = len(target_NK), int(annotated_N.sum())
    known: dict[str, Any] = {"part_K": (None,) * target_NK.shape[1]}
    if annotated:
        known = _found(challenge, target_NK[annotated_N], told_NK[annotated_N])
    return VideoDiagnosis(video, frames, annotated, float(1 - present_N.mean()), **known)


def _found(challenge: Challenge, target_NK: np.ndarray, told_NK: np.ndarray) -> dict[str, Any]:
    """Fields of the annotated frames."""
    task = RULES[challenge].task
    counts = statistics(task, target_NK, told_NK, np.zeros(len(target_NK), np.int64), num_groups=1)[0]
    part_K = RULES[challenge].per_class(counts)
    if task == "regression":
        can_tell_K = np.ptp(target_NK, axis=0) > 0
        measures = {
            "distance_K": tuple(mean_absolute_error(counts).tolist()),
            "bias_K": tuple((told_NK - target_NK).mean(0).tolist()),
        }
    else:
        can_tell_K = (counts if task == "classes" else counts[:, 1]).sum(-1) > 0
        measures = {"accuracy": float(accuracy(counts).mean())} | _over_time(task, target_NK, told_NK)
    return measures | {
        "part_K": tuple(float(part) if can else None for part, can in zip(part_K, can_tell_K, strict=True)),
        "score": float(part_K[can_tell_K].mean()) if can_tell_K.any() else None,
    }


def _over_time(task: str, target_NK: np.ndarray, told_NK: np.ndarray) -> dict[str, int]:
    """Errors that last and labels that change, of one column for the class or one per label."""
    true_NL, told_NL = (
        label_NK.argmax(1)[:, None] if task == "classes" else label_NK >= THRESHOLD for label_NK in (target_NK, told_NK)
    )
    wrong_NL = true_NL != told_NL
    return {
        "longest_error": max(_longest_run(wrong_N) for wrong_N in wrong_NL.T),
        "changes": int((true_NL[1:] != true_NL[:-1]).sum()),
        "changes_told": int((told_NL[1:] != told_NL[:-1]).sum()),
    }


def _longest_run(is_set_N: np.ndarray) -> int:
    return int(np.diff(np.flatnonzero(np.concatenate([[True], ~is_set_N, [True]]))).max()) - 1

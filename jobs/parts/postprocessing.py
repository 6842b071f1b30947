"""The scores of frames smoothed over time, video by video, and set to thresholds; what is chosen, on validation videos
alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jobs.parts.affect_scores import has_task, task_columns
from jobs.parts.postprocessing_config import PostprocessingConfig
from models.metrics import THRESHOLD
from models.smoothing import choose, read_filters, smooth
from pipelines.labels import EvaluationProtocol

Frames = Mapping[str, np.ndarray]
"""[N, K] by video, one row per frame."""


class Validated(NamedTuple):
    """Validation videos, to choose by."""

    scores: Frames
    targets: Frames
    """NaN where there is no annotation."""

    def of(self, columns: slice) -> Validated:
        """Those of one task."""
        return Validated(*({video: one_NK[:, columns] for video, one_NK in each.items()} for each in self))


def postprocess(
    scores: Frames, validation: Validated, protocol: EvaluationProtocol, config: PostprocessingConfig
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The scores of every video after smoothing and thresholds, and what was chosen for each task, as JSON values. A
    label is told from a score of .5 on: where another threshold was chosen, scores are moved so that it comes to lie
    there.

    Raises ValueError where something is to be chosen and no frame of the validation videos is annotated.
    """
    told: dict[str, list[np.ndarray]] = {video: [] for video in scores}
    chosen: dict[str, Any] = {}
    for task, (single, columns) in task_columns(protocol).items():
        own = validation.of(columns)
        words = _best_chain(task, own, single, config)
        filters = read_filters(words)
        chosen[task] = {"smoothing": list(words)}
        moves = single.task == "multi_label" and config.thresholds == "validation"
        threshold_K = _thresholds(own, filters) if moves else np.full(len(single.classes), THRESHOLD)
        for video, score_NK in scores.items():
            smoothed_NK = smooth(score_NK[:, columns], filters, single.task)
            told[video].append(move_threshold(smoothed_NK, threshold_K) if moves else smoothed_NK)
        if single.task == "multi_label":
            chosen[task]["thresholds"] = dict(zip(single.classes, threshold_K.tolist(), strict=True))
    return {video: np.concatenate(parts, axis=1) for video, parts in told.items()}, chosen


def check_postprocessing(protocol: EvaluationProtocol, config: PostprocessingConfig, targets: Frames) -> None:
    """Raises ValueError for what has no effect on the tasks of a protocol, for filters that they cannot have, and where
    something is to be chosen and no frame of the validation videos, whose `targets` these are, is annotated."""
    tasks = task_columns(protocol)
    if unknown := sorted(config.tasks() - tasks.keys()):
        raise ValueError(
            f"filters for {', '.join(unknown)} have no effect on protocol {protocol.name}, which is of "
            f"{', '.join(tasks)}; leave them out"
        )
    if config.thresholds != "half" and not any(single.task == "multi_label" for single, _ in tasks.values()):
        raise ValueError(
            f"thresholds={config.thresholds} has no effect on protocol {protocol.name}, which has no action units; "
            "leave it at half"
        )
    for task, (single, columns) in tasks.items():
        some_NK = np.full((1, len(single.classes)), 1 / len(single.classes))
        for words in config.chains(task):
            smooth(some_NK, read_filters(words), single.task)
        is_chosen = len(config.chains(task)) > 1 or (single.task == "multi_label" and config.thresholds != "half")
        if is_chosen and not any(has_task(target_NK, columns).any() for target_NK in targets.values()):
            raise ValueError(
                f"no frame of the {len(targets)} validation videos is annotated for {task}: there is nothing to choose "
                f"its smoothing or thresholds by; hold out more people with a larger --validation-share, or give "
                "candidates and thresholds for other tasks alone"
            )


def move_threshold(score_NK: np.ndarray, threshold_K: np.ndarray) -> np.ndarray:
    """Probabilities [N, K] whose order is kept, those of the threshold moved to .5."""
    low_K, high_K = np.maximum(threshold_K, 1e-12), np.maximum(1 - threshold_K, 1e-12)
    above_NK = THRESHOLD + (1 - THRESHOLD) * (score_NK - threshold_K) / high_K
    # The last of the numbers below must not be rounded up to the threshold.
    below_NK = np.minimum(THRESHOLD * score_NK / low_K, np.nextafter(np.float32(THRESHOLD), np.float32(0)))
    return np.clip(np.where(score_NK >= threshold_K, above_NK, below_NK), 0, 1)


def _best_chain(
    task: str, validation: Validated, single: EvaluationProtocol, config: PostprocessingConfig
) -> tuple[str, ...]:
    chains = config.chains(task)
    if len(chains) == 1:
        return chains[0]
    videos = sorted(validation.targets)
    index = choose(
        [read_filters(words) for words in chains],
        [validation.scores[video] for video in videos],
        [validation.targets[video] for video in videos],
        task=single.task,
        metric=single.metric,
    )
    return chains[index]


def _thresholds(validation: Validated, filters: Any) -> np.ndarray:
    from models.challenge_metrics import best_thresholds

    videos = sorted(validation.targets)
    target_NK = np.concatenate([validation.targets[video] for video in videos])
    smoothed = [smooth(validation.scores[video], filters, "multi_label") for video in videos]
    annotated_N = has_task(target_NK, slice(None))
    return best_thresholds(target_NK[annotated_N], np.concatenate(smoothed)[annotated_N])

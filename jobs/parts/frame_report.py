"""What is told of the predictions of frames beside their scores: every video by itself, timelines of some, and the
submission files of a challenge."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.parts.affect_scores import task_columns
from jobs.parts.frame_scores import SHOWN, scores_of_videos
from jobs.parts.postprocessing import Validated, postprocess
from jobs.parts.postprocessing_config import PostprocessingConfig
from models.metrics import THRESHOLD
from models.video_diagnosis import VideoDiagnosis, diagnose
from pipelines.feature_store import FeatureStore
from pipelines.labels import EvaluationProtocol, attribute_values
from pipelines.sequences import present_frames
from pipelines.storage import Storage
from pipelines.submission import check_submission, write_submission

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.frame_labels import FrameLabels

logger = logging.getLogger(__name__)

_TIMELINES = 3
_FPS = 25.0  # of the axis of a timeline


def write_diagnoses(place: Storage, predictions: pa.Table, protocol: EvaluationProtocol) -> list[VideoDiagnosis]:
    """videos-TASK.csv for each task: a line per video, the worst first. Returns those of the first task."""
    video_N = np.array([uri.rpartition("/")[0] for uri in predictions["uri"].to_pylist()])
    present_N = np.array(attribute_values(predictions["attributes"], SHOWN)) == "there"
    target_NK, score_NK = (np.array(predictions[name].to_pylist(), np.float64) for name in ("target", "score"))
    first: list[VideoDiagnosis] | None = None
    for task, (single, columns) in task_columns(protocol).items():
        found = diagnose(task, target_NK[:, columns], score_NK[:, columns], video_N, present_N)
        ordered = sorted(found, key=lambda one: (one.score is None, one.score))
        place.write(f"videos-{task}.csv", _lines(ordered, single.classes))
        first = first or ordered
    return first or []


def draw_timelines(
    place: Storage,
    diagnoses: Sequence[VideoDiagnosis],
    labels: FrameLabels,
    told: Mapping[str, np.ndarray],
    features: Sequence[FeatureStore],
) -> list[str]:
    """Of the worst video, the middle one and the best: timeline-VIDEO.png. Returns their addresses.

    Args:
        diagnoses: the worst first.
        told: scores of all frames of these videos.
        features: what the scores were made of; where a frame has none, the timeline says so.
    """
    from jobs.parts.affect_pictures import FrameTrack, draw_timeline

    scored = [one.video for one in diagnoses if one.score is not None] or [one.video for one in diagnoses]
    chosen = dict.fromkeys(scored[index] for index in np.linspace(0, len(scored) - 1, _TIMELINES).round().astype(int))
    for video in chosen:
        tracks = {
            task: FrameTrack(single.classes, labels.targets(video)[:, columns], told[video][:, columns])
            for task, (single, columns) in task_columns(labels.protocol).items()
        }
        present_N = present_frames(features, video, labels.num_frames(video))
        place.write(f"timeline-{video}.png", draw_timeline(video, tracks, present_N, fps=_FPS))
    return [place.full(f"timeline-{video}.png") for video in chosen]


def write_submissions(
    place: Storage,
    protocol: EvaluationProtocol,
    submitted: Mapping[str, Mapping[str, int | None]],
    stores: Sequence[FeatureStore],
    validated: Validated,
    config: PostprocessingConfig,
) -> dict[str, str]:
    """submission/TASK.txt for each task, checked by our reader; the mean over the `stores` of scores. Returns their
    addresses by task, none where the task has no videos without labels, or the frames of one are not known.

    Args:
        submitted: jobs.parts.frame_split.submitted_videos.
    """
    written = {}
    for task, (single, columns) in task_columns(protocol).items():
        lengths = submitted[task]
        if unknown := [video for video, frames in lengths.items() if frames is None]:
            logger.warning(
                "no submission of %s: nothing tells how many frames %d test videos have, the first is %s; add the "
                "example files of the challenge, which list them",
                task,
                len(unknown),
                unknown[0],
            )
        if unknown or not lengths:
            continue
        scores = [scores_of_videos(store, lengths) for store in stores]
        mean = {video: np.mean([one[video][:, columns] for one in scores], axis=0) for video in lengths}
        told, _ = postprocess(mean, validated.of(columns), single, config)
        data = write_submission(task, {video: _told(score_NK, single) for video, score_NK in told.items()})
        name = f"submission/{task}.txt"
        check_submission(task, data, lengths)
        place.write(name, data)
        written[task] = place.full(name)
    return written


def _told(score_NK: np.ndarray, single: EvaluationProtocol) -> np.ndarray:
    if single.task == "multi_label":
        return (score_NK >= THRESHOLD).astype(np.float64)
    return np.clip(score_NK, -1, 1) if single.task == "regression" else score_NK


def _lines(diagnoses: Sequence[VideoDiagnosis], classes: Sequence[str]) -> bytes:
    """Without the columns that no video has a value in, such as those of other tasks."""
    text = io.StringIO()
    rows = [_row(one, classes) for one in diagnoses]
    names = [name for name in rows[0] if any(row[name] != "" for row in rows)]
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _row(diagnosis: VideoDiagnosis, classes: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in asdict(diagnosis).items():
        if name.endswith("_K"):
            values = value if value is not None else [None] * len(classes)
            row |= {f"{name.removesuffix('_K')}/{label}": one for label, one in zip(classes, values, strict=True)}
        else:
            row[name] = value
    return {name: "" if value is None else value for name, value in row.items()}

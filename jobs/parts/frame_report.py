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
    present: Mapping[str, np.ndarray],
) -> list[str]:
    """Of the worst video, the middle one and the best: timeline-VIDEO.png. Returns their addresses."""
    from jobs.parts.affect_pictures import FrameTrack, draw_timeline

    scored = [one.video for one in diagnoses if one.score is not None]
    chosen = dict.fromkeys(scored[index] for index in np.linspace(0, len(scored) - 1, _TIMELINES).round().astype(int))
    for video in chosen:
        tracks = {
            task: FrameTrack(single.classes, labels.targets(video)[:, columns], told[video][:, columns])
            for task, (single, columns) in task_columns(labels.protocol).items()
        }
        place.write(f"timeline-{video}.png", draw_timeline(video, tracks, present[video], fps=_FPS))
    return [place.full(f"timeline-{video}.png") for video in chosen]


def write_submissions(
    place: Storage,
    labels: FrameLabels,
    stores: Sequence[FeatureStore],
    validated: Validated,
    config: PostprocessingConfig,
) -> dict[str, str]:
    """submission/TASK.txt for each task, of the videos whose labels nobody has told, checked by our reader; the mean
    over the `stores` of scores. Returns their addresses by task, none where there are no such videos."""
    lengths = {video: labels.test_frames[video] for video in labels.test_videos()}
    if unknown := sorted(video for video, frames in lengths.items() if frames is None):
        logger.warning(
            "no submission: nothing tells how many frames %d test videos have, the first is %s; add the example files "
            "of the challenge, which list them",
            len(unknown),
            unknown[0],
        )
        return {}
    if not lengths:
        return {}
    scores = [scores_of_videos(store, lengths)[0] for store in stores]
    mean = {video: np.mean([one[video] for one in scores], axis=0) for video in lengths}
    told, _ = postprocess(mean, validated, labels.protocol, config)
    written = {}
    for task, (single, columns) in task_columns(labels.protocol).items():
        values = {video: _told(one[:, columns], single) for video, one in told.items()}
        data, name = write_submission(task, values), f"submission/{task}.txt"
        check_submission(task, data, lengths)
        place.write(name, data)
        written[task] = place.full(name)
    return written


def _told(score_NK: np.ndarray, single: EvaluationProtocol) -> np.ndarray:
    if single.task == "multi_label":
        return (score_NK >= THRESHOLD).astype(np.float64)
    return np.clip(score_NK, -1, 1) if single.task == "regression" else score_NK


def _lines(diagnoses: Sequence[VideoDiagnosis], classes: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    rows = [_row(one, classes) for one in diagnoses]
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
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

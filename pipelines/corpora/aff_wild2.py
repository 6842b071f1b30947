"""Aff-Wild2 (Kollias & Zafeiriou: Aff-Wild2: Extending the Aff-Wild Database for Affect Recognition, 2018; ABAW
competitions from 2022 on).

Some 600 videos of YouTube, 2.8 million frames, annotated frame by frame: one of eight expressions, twelve action units,
valence and arousal, each on a part of the videos. For research only: a signed agreement is sent to the authors
(ibug.doc.ic.ac.uk/resources/aff-wild2). Editions of 2020 and 2021 (seven expressions, eight units) are refused.

Images: the cropped and aligned faces, 112x112, `cropped_aligned/<video>/<NNNNN>.jpg`, counted from 1; also the folders
`cropped_aligned_new_50_vids` and `cropped_aligned_images` of other editions, all of them anywhere below the root.
Frames without a face have no image. The other crops (`cropped`) and the videos themselves are no part of a catalog. A
second person of a video is a folder of its own, and `_left` or `_right` ends their names: both are one subject, which
is the video without these. Lines, and what is where else: pipelines.corpora.aff_wild2_files.

Protocols:

- `expr` (8 classes), `au` (12 units), `va`: the official sets; the validation set is what is tested on.
- `expr_folds`, `au_folds`, `va_folds`: five folds of subjects over both sets, about equal in annotated frames.
- `all`: all three at once, expressions as shares, NaN where a frame has none of a task. As the official sets differ
  from task to task, a video that is in the validation set of one is tested on, for the tasks where it is; others are
  learned from. So every task is measured on its official set, and nothing of that was learned from.
- `mtl`: the same of the challenge of several tasks, which has its own sets, where its files are there.

Test videos have rows without labels. A line of a frame without image is normal; an image beyond the last line is not.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpora.aff_wild2_files import (
    DIMENSIONS,
    EXPRESSIONS,
    TASKS,
    UNITS,
    TaskName,
    find_root,
    read_example,
    read_mtl,
    read_task,
    read_test_list,
)
from pipelines.corpora.image_labels import label_images, rows_by_video
from pipelines.corpora.registry import Labelled, Labels
from pipelines.frame_labels import FrameLabels, VideoLabels
from pipelines.labels import EvaluationProtocol, listed

if TYPE_CHECKING:
    from pipelines.storage import Storage

LAYOUT = "cropped_aligned/<video>/<NNNNN>.jpg"
FOLDS = 5
_AFFECT = (*(f"expr/{name}" for name in EXPRESSIONS), *(f"au/{name}" for name in UNITS))
AFFECT_CLASSES = (*_AFFECT, *(f"va/{name}" for name in DIMENSIONS))
"""Of the protocols of several tasks."""
OFFICIAL: dict[TaskName, EvaluationProtocol] = {
    "expr": EvaluationProtocol("expr", "classes", EXPRESSIONS, metric="f1_macro"),
    "au": EvaluationProtocol("au", "multi_label", UNITS, metric="multi_label_f1"),
    "va": EvaluationProtocol("va", "regression", DIMENSIONS, metric="ccc"),
}
ALL = EvaluationProtocol("all", "affect", AFFECT_CLASSES, metric="affect")
MTL = EvaluationProtocol("mtl", "affect", AFFECT_CLASSES, metric="affect")

_NAME = re.compile(
    r"(?:[^/]+/)*cropped_aligned(?:_images|_new_50_vids)?/(?P<video>[^/]+)/(?P<frame>\d{5,})\.jpg", re.IGNORECASE
)
_TAIL = r"(?P<image>[^/]+/[^/]+)$"  # video and file of a uri

logger = logging.getLogger(__name__)


def parse(name: str) -> Labels | None:
    match = _NAME.fullmatch(name)
    return Labels("all", subject_of(match["video"]), match["video"]) if match else None


def subject_of(video: str) -> str:
    """Who is in a video, or in its other half: nobody tells the two apart in the recording."""
    return video.removesuffix("_left").removesuffix("_right")


def settle(table: pa.Table) -> pa.Table:
    image = pc.struct_field(pc.extract_regex(table["uri"], _TAIL), "image")
    if pc.count_distinct(image).as_py() < table.num_rows:
        counts = pc.value_counts(image)
        name = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0].as_py()
        places = table["uri"].filter(pc.equal(image, name)).to_pylist()
        raise ValueError(f"the image {name} is there more than once, as {listed(places)}; keep one of the copies")
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    offered, frame_R = frame_labels(storage), _frame_numbers(table)
    withdrawn_videos = {labels.video for labels in map(parse, withdrawn) if labels}
    _check_videos(offered, set(table["video"].unique().to_pylist()), withdrawn_videos)
    _check_frames(table, frame_R, offered)
    labelled = label_images(table, frame_R, list(offered.values()))
    return Labelled(labelled, tuple(known.protocol for known in offered.values()))


def frame_labels(storage: Storage) -> dict[str, FrameLabels]:
    """Label sequences of every protocol that the files at `storage` offer. Raises ValueError for files that are missing
    or break their format, naming file and line."""
    root = find_root(storage)
    tasks = {name: found for name in TASKS if (found := read_task(storage, root, name))}
    tests = {name: _test_frames(storage, root, name) for name in TASKS}
    for name, videos in tasks.items():
        if both := sorted(videos.keys() & tests[name].keys()):
            raise ValueError(f"{videos[both[0]].source} has labels of a video that is in the test list of {name}")
    offered = [FrameLabels(OFFICIAL[name], videos, tests[name]) for name, videos in tasks.items()]
    fold_of = subject_folds([known.annotated for known in offered])
    offered += [
        FrameLabels(_folds_of(known.protocol), _in_folds(known.annotated, fold_of), known.test_frames)
        for known in offered
    ]
    if tasks.keys() == TASKS.keys():
        offered.append(_all(tasks, tests))
    if several := read_mtl(storage, root):
        offered.append(FrameLabels(MTL, several, {}))
    return {known.protocol.name: known for known in offered}


def _test_frames(storage: Storage, root: str, name: TaskName) -> dict[str, int | None]:
    frames, names = read_example(storage, root, name), read_test_list(storage, root, name)
    if names is not None and frames and (odd := sorted(set(names) ^ frames.keys())):
        raise ValueError(f"list and example of the test set of {name} differ in the videos {listed(odd)}")
    return {video: frames.get(video) for video in (frames if names is None else names)}


def _folds_of(protocol: EvaluationProtocol) -> EvaluationProtocol:
    return EvaluationProtocol(f"{protocol.name}_folds", protocol.task, protocol.classes, FOLDS, protocol.metric)


def subject_folds(tasks: Sequence[Mapping[str, VideoLabels]]) -> dict[str, str]:
    """The fold of every subject, the same for all tasks, so that what is tuned on one task has seen nobody whom another
    is tested on: those with most annotated frames, of all tasks together, first, each to the fold with fewest."""
    frames: Counter[str] = Counter()
    for annotated in tasks:
        for video, labels in annotated.items():
            frames[subject_of(video)] += int((~np.isnan(labels.target_NK).all(1)).sum())
    sizes, fold_of = [0] * FOLDS, {}
    for subject in sorted(frames, key=lambda subject: (-frames[subject], subject)):
        fold = sizes.index(min(sizes))
        sizes[fold] += frames[subject]
        fold_of[subject] = str(fold + 1)
    return fold_of


def _in_folds(annotated: Mapping[str, VideoLabels], fold_of: Mapping[str, str]) -> dict[str, VideoLabels]:
    return {video: labels._replace(part=fold_of[subject_of(video)]) for video, labels in annotated.items()}


def _all(
    tasks: Mapping[TaskName, Mapping[str, VideoLabels]], tests: Mapping[TaskName, Mapping[str, int | None]]
) -> FrameLabels:
    joined: dict[str, VideoLabels] = {}
    for video in sorted(set().union(*tasks.values())):
        told = {name: videos[video] for name, videos in tasks.items() if video in videos}
        part = "test" if any(of_task.part == "test" for of_task in told.values()) else "train"
        counted = {name: of_task for name, of_task in told.items() if of_task.part == part}
        target_NK = _side_by_side({name: of_task.target_NK for name, of_task in counted.items()})
        joined[video] = VideoLabels(target_NK, part, ", ".join(of_task.source for of_task in counted.values()))
    unlabelled: dict[str, int | None] = {}
    for test in tests.values():
        unlabelled |= {video: test[video] or unlabelled.get(video) for video in test if video not in joined}
    return FrameLabels(ALL, joined, unlabelled)


def _side_by_side(target: Mapping[TaskName, np.ndarray]) -> np.ndarray:
    frames = max(map(len, target.values()))
    columns = []
    for name in TASKS:
        width = len(OFFICIAL[name].classes)
        of_task = target.get(name, np.empty((0, width), np.float32))
        columns.append(np.pad(of_task, ((0, frames - len(of_task)), (0, 0)), constant_values=np.nan))
    return np.concatenate(columns, axis=1)


def _frame_numbers(table: pa.Table) -> np.ndarray:
    """Of each image, from 0, int64 [R]."""
    number = pc.struct_field(pc.extract_regex(table["uri"], r"(?P<number>\d+)\.[^.]+$"), "number")
    return number.cast(pa.int64()).to_numpy() - 1


def _check_frames(table: pa.Table, frame_R: np.ndarray, offered: Mapping[str, FrameLabels]) -> None:
    """Raises ValueError for an image that no line of the file of its video is of."""
    for video, row_M in rows_by_video(table).items():
        row = row_M[frame_R[row_M].argmax()]
        for known in offered.values():
            labels = known.annotated.get(video)
            if known.protocol.name in OFFICIAL and labels is not None and frame_R[row] >= len(labels.target_NK):
                lines = len(labels.target_NK)
                raise ValueError(
                    f"{table['uri'][int(row)].as_py()!r} is beyond line {lines + 1} of {labels.source}, which is the "
                    f"last and of frame {lines}; are image and file of one edition?"
                )


def _check_videos(offered: Mapping[str, FrameLabels], found: Collection[str], withdrawn: Collection[str]) -> None:
    """Raises ValueError for files of videos without any image, and for images of videos that nothing names."""
    for known in offered.values():
        if missing := [video for video in known.videos() if video not in found and video not in withdrawn]:
            raise ValueError(
                f"{len(missing)} videos have no image: {listed(missing)}; the first is labelled by "
                f"{known.annotated[missing[0]].source}. Complete the corpus, or take these files away"
            )
    named = {video for known in offered.values() for video in (*known.annotated, *known.test_frames)}
    if strange := sorted(set(found) - named):
        problem = f"{len(strange)} videos have images, but no file of labels or list of a test set names them"
        if all(name in offered and offered[name].test_frames for name in OFFICIAL):
            raise ValueError(f"{problem}: {listed(strange)}; complete the lists, or name these in the exclusion list")
        logger.warning("%s: %s; without labels they serve pre-training alone", problem, listed(strange))

"""CMU-MOSEI (Zadeh et al.: Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and Interpretable Dynamic Fusion
Graph, ACL 2018).

23,453 labelled sentences of some 1,000 people who speak to the camera in YouTube videos. Three annotators scored six
emotions from 0 to 3; an emotion counts as present where the mean score is above 0, as the authors say. No licence is
published; labels and features come with the CMU-MultimodalSDK, the videos are no longer given out, only links to them.

Layout: the segments are named as in the archive of the raw videos. The labels are an HDF5 file there and the folds a
Python file; `labels.csv` is our export of both, a row per labelled segment:

- video, clip: the segment `Videos/Segmented/Combined/<video>_<clip>.mp4`. The sequence "All Labels" of
  CMU_MOSEI_Labels.csd names start and end instead; the transcripts tell which clip these are.
- happiness, sadness, anger, fear, disgust, surprise: the mean scores. "All Labels" has them in the order sentiment,
  happy, sad, anger, surprise, disgust, fear: name the columns, do not copy them by position.
- split: train, valid or test after the standard folds of the SDK (cmu_mosei_std_folds.py), which go by video; empty for
  the segments of videos in none of them, which then have no label. So somewhat fewer than the official number count.

Who speaks is not told; the segments of a video count as one person. Accuracy is the mean of the six binary ones (our
reading of MAURA, Table 2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pipelines.corpora.layout import check_once
from pipelines.corpora.lists import read_csv, replaced, unique
from pipelines.corpora.registry import Labelled, Labels
from pipelines.labels import EvaluationProtocol, Label, check_files, check_subjects, with_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

SEGMENTS = "Videos/Segmented/Combined"
LAYOUT = f"{SEGMENTS}/<video>_<clip>.mp4"
CLASSES = ("happiness", "sadness", "anger", "fear", "disgust", "surprise")
EMOTIONS = EvaluationProtocol("emotions", "multi_label", CLASSES, metric="multi_label_accuracy", official=23_453)
LABELS = "labels.csv"
PARTS = {"train": "train", "valid": "validation", "test": "test"}
"""Our names of the standard folds."""

_NAME = re.compile(rf"{SEGMENTS}/(?P<segment>(?P<video>[^/]+)_\d+)\.mp4")


class _Row(NamedTuple):
    target: tuple[float, ...]
    part: str


def parse(name: str) -> Labels | None:
    match = _NAME.fullmatch(name)
    return Labels("all", match["video"], match["segment"]) if match else None


def settle(table: pa.Table) -> pa.Table:
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    exported = read_csv(storage, LABELS, ("video", "clip", "split", *CLASSES))
    in_folds = [row for row in exported if row["split"]]
    rows = unique(((f"{SEGMENTS}/{row['video']}_{row['clip']}.mp4", _read_row(row)) for row in in_folds), source=LABELS)
    check_files(rows.keys(), table, withdrawn, source=LABELS)
    found = [rows.get(uri) for uri in table["uri"].to_pylist()]
    labels = [[Label(EMOTIONS.name, row.target, row.part)] if row else [] for row in found]
    labelled = replaced(with_labels(table, labels), split=[row.part if row else "all" for row in found])
    check_subjects(labelled, EMOTIONS)
    return Labelled(labelled, (EMOTIONS,))


def _read_row(row: Mapping[str, str]) -> _Row:
    if row["split"] not in PARTS:
        raise ValueError(f"{LABELS}: {row['video']}_{row['clip']} is in {row['split']!r}, not in {', '.join(PARTS)}")
    return _Row(tuple(float(_score(row, name) > 0) for name in CLASSES), PARTS[row["split"]])


def _score(row: Mapping[str, str], emotion: str) -> float:
    """A mean score. Some are above 3, where more annotators than three were added up; this changes no target."""
    try:
        score = float(row[emotion])
    except ValueError:
        score = math.nan
    if not 0 <= score < math.inf:
        raise ValueError(f"{LABELS}: {emotion} of {row['video']}_{row['clip']} is {row[emotion]!r}, no score from 0 up")
    return score

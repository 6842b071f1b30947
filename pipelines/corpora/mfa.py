"""MFA-Wild (Javadi, Lim: The Many Faces of Anger: A Multicultural Video Dataset of Negative Emotions in the Wild, FG
2021).

Some 200 clips of North American and Persian videos. Annotators of the same culture marked contempt, annoyed, anger,
hatred and furious, several of them or none. No licence is published: the videos are asked for from the authors. Their
lists of labels are public (github.com/rjavadi/social-signal-project, new_data/*/*_labels_cleaned.csv), their split is
not. So the layout is ours:

- `videos/na/vid_10_1.mp4`, `videos/persian/vid_7.mp4`: the names of the authors' lists, below `videos`.
- `labels.csv`: their rows of both cultures, with the columns filename, gender and emotions, and a fourth column, split,
  of train, validation or test. `emotions` is written as there: ['annoyed', 'contempt'], or ['none'].

Who is in a clip is not told; clips of one source video, such as vid_10_1 and vid_10_2, count as one person and must be
in one part. Culture and gender are attributes.

Protocols:

- `single`: the clips with one of the five labels, V-F1: MAURA (Table 2) gives a video the class that most of its frames
  or clips got.
- `multi`: all clips and all their labels, as the corpus's own paper has it; ['none'] is none of the five.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pipelines.corpora.layout import check_once
from pipelines.corpora.lists import read_csv, replaced, unique
from pipelines.corpora.registry import Labelled, Labels
from pipelines.labels import FIXED_PARTS, EvaluationProtocol, Label, check_files, check_subjects, with_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "videos/{na,persian}/vid_<n>[_<k>].mp4"
CLASSES = ("contempt", "annoyed", "anger", "hatred", "furious")
SINGLE = EvaluationProtocol("single", "classes", CLASSES, metric="v_f1")
MULTI = EvaluationProtocol("multi", "multi_label", CLASSES, metric="multi_label_f1")
LABELS = "labels.csv"
VIDEOS = "videos"

_NAME = re.compile(rf"{VIDEOS}/(?P<source>(?P<culture>na|persian)/vid_\d+)(?:_\d+)?\.mp4")
_NONE = "none"


class _Row(NamedTuple):
    target: tuple[float, ...]
    gender: str
    part: str


def parse(name: str) -> Labels | None:
    match = _NAME.fullmatch(name)
    return Labels("all", match["source"], name.removeprefix(f"{VIDEOS}/").removesuffix(".mp4")) if match else None


def settle(table: pa.Table) -> pa.Table:
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    exported = read_csv(storage, LABELS, ("filename", "gender", "emotions", "split"))
    rows = unique(((f"{VIDEOS}/{row['filename']}", _read_row(row)) for row in exported), source=LABELS)
    check_files(rows.keys(), table, withdrawn, source=LABELS)
    uris = table["uri"].to_pylist()
    found = [rows.get(uri) for uri in uris]
    labels = [list(_labels(row)) if row else [] for row in found]
    attributes = [_attributes(uri, row) for uri, row in zip(uris, found, strict=True)]
    labelled = replaced(with_labels(table, labels, attributes), split=[row.part if row else "all" for row in found])
    check_subjects(labelled, MULTI)
    return Labelled(labelled, (SINGLE, MULTI))


def _read_row(row: Mapping[str, str]) -> _Row:
    if row["split"] not in FIXED_PARTS:
        raise ValueError(f"{LABELS}: {row['filename']} is in {row['split']!r}, not in {', '.join(FIXED_PARTS)}")
    return _Row(_target(row), row["gender"], row["split"])


def _target(row: Mapping[str, str]) -> tuple[float, ...]:
    """A mark for each class. Raises ValueError for what is no list of classes."""
    try:
        emotions = ast.literal_eval(row["emotions"])
    except (ValueError, SyntaxError):
        emotions = None
    known = {*CLASSES, _NONE}
    if not isinstance(emotions, list) or not emotions or any(emotion not in known for emotion in emotions):
        raise ValueError(
            f"{LABELS}: {row['filename']} has {row['emotions']!r}, no list of {', '.join(CLASSES)} or none"
        )
    if _NONE in emotions and len(emotions) > 1:
        raise ValueError(f"{LABELS}: {row['filename']} has {row['emotions']!r}; none goes with no other")
    return tuple(float(name in emotions) for name in CLASSES)


def _labels(row: _Row) -> Iterator[Label]:
    yield Label(MULTI.name, row.target, row.part)
    if sum(row.target) == 1:
        yield Label(SINGLE.name, row.target, row.part)


def _attributes(uri: str, row: _Row | None) -> dict[str, str]:
    culture = {"culture": uri.split("/")[1]}
    return culture | {"gender": row.gender} if row and row.gender else culture

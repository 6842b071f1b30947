"""DFEW (Jiang et al.: DFEW: A Large-Scale Database for Recognizing Dynamic Facial Expressions in the Wild, ACM
Multimedia 2020).

16,372 clips of films, each labelled by ten people with one of seven emotions. The 11,697 single-labelled ones are
tested in five official folds. Free of charge: access is applied for at dfew-dataset.github.io, which states the terms.

The face crops come as folders of images: `Clip/jpg_224`, 256x256 pixels in spite of its name, so that MAE-DFER calls it
jpg_256; `Clip/clip_224x224` in other releases. Where there are none, the crops as video or else the original clips are
read: one form is used, the first of FORMS. `*_16f`, the crops resampled to sixteen frames, are ignored: they move in
another way. Nobody knows who is in a clip, so that the subject is the clip itself.

Protocols:

- `single`: the official lists, UAR (MAE-DFER, Table 6); their labels count from 1, ours from 0.
- `votes`: the same clips and folds, the target is the share of the ten votes.
- `maura`: MAURA (section 4.1) speaks of all 16,372 clips, "the splits provided by the authors" and F1. No such split is
  known to be public, so this is our reading: the class is the emotion with most votes, emotions that share the first
  place share the target, the clips of the official lists keep their fold, the others get one by their number (modulo
  five). Annotated clips that are not there are left out with a warning, for not every release has the crops of all;
  the official number shows how many are lacking.

The last two need the votes. The release has them as a spreadsheet, `Annotation/annotation.xlsx`; save it as
`Annotation/annotation.csv` (columns 1happy to 7fear, and order, which is the number of the clip).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from pipelines.corpora.clip_names import check_clips, one_form, parse_clip
from pipelines.corpora.lists import Assigned, merge_folds, read_csv, unique
from pipelines.corpora.registry import Labelled, Labels
from pipelines.labels import EvaluationProtocol, Label, listed, one_hot, with_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = (
    "Clip/{jpg_256,jpg_224,clip_224x224}/<NNNNN>/*.jpg, Clip/clip_224x224_avi/<N>.avi or Clip/original/[<part>/]<N>.mp4"
)
FORMS = ("Clip/jpg_256/", "Clip/jpg_224/", "Clip/clip_224x224/", "Clip/clip_224x224_avi/", "Clip/original/")
CLASSES = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
FOLDS = 5
SINGLE = EvaluationProtocol("single", "classes", CLASSES, folds=FOLDS, official=11_697)
VOTES = EvaluationProtocol("votes", "classes", CLASSES, folds=FOLDS, official=11_697)
MAURA = EvaluationProtocol("maura", "classes", CLASSES, folds=FOLDS, metric="f1_macro", official=16_372)
SETS = "EmoLabel_DataSplit"
ANNOTATION = "Annotation/annotation.csv"
VOTE_COLUMNS = ("1happy", "2sad", "3neutral", "4angry", "5surprise", "6disgust", "7fear")
VOTERS = 10

_CLIP = re.compile(
    r"Clip/(?:(?:jpg_256|jpg_224|clip_224x224)/(?P<frames>\d{5})"
    r"|(?:clip_224x224_avi|original)/(?:[^/]+/)?(?P<file>\d{1,5})\.(?:avi|mp4))"
)

logger = logging.getLogger(__name__)


def clip_of(uri: str) -> str | None:
    """The number of a clip, five digits."""
    match = _CLIP.fullmatch(uri)
    return (match["frames"] or match["file"]).zfill(5) if match else None


def parse(name: str) -> Labels | None:
    return parse_clip(name, clip_of)


def settle(table: pa.Table) -> pa.Table:
    return one_form(table, FORMS)


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    single = merge_folds([_read_set(storage, fold + 1) for fold in range(FOLDS)], source=SETS)
    check_clips(single, table, withdrawn, clip_of=clip_of, source=SETS)
    votes = _read_votes(storage) if storage.exists(ANNOTATION) else None
    if votes is not None:
        _check_votes(single, votes)
        known = {*table["video"].to_pylist(), *map(clip_of, withdrawn)}
        if absent := votes.keys() - known:
            logger.warning("%d of %d annotated clips are not there; maura goes without them", len(absent), len(votes))
    labels = [list(_labels(clip, single, votes or {})) for clip in table["video"].to_pylist()]
    return Labelled(with_labels(table, labels), (SINGLE,) if votes is None else (SINGLE, VOTES, MAURA))


def _labels(clip: str, single: Mapping[str, Assigned], votes: Mapping[str, tuple[int, ...]]) -> Iterator[Label]:
    part = single[clip].part if clip in single else str(int(clip) % FOLDS + 1)
    if clip in single:
        yield Label(SINGLE.name, one_hot(int(single[clip].label) - 1, CLASSES), part)
        if votes:
            yield Label(VOTES.name, tuple(count / VOTERS for count in votes[clip]), part)
    if clip in votes:
        yield Label(MAURA.name, most_votes(votes[clip]), part)


def most_votes(votes: tuple[int, ...]) -> tuple[float, ...]:
    """Shares of the classes with the highest number of votes, which are equal; 0 for all others."""
    first = [count == max(votes) for count in votes]
    return tuple(is_first / sum(first) for is_first in first)


def _read_set(storage: Storage, fold: int) -> tuple[dict[str, str], dict[str, str]]:
    return _read_list(storage, f"{SETS}/train(single-labeled)/set_{fold}.csv"), _read_list(
        storage, f"{SETS}/test(single-labeled)/set_{fold}.csv"
    )


def _read_list(storage: Storage, name: str) -> dict[str, str]:
    rows = read_csv(storage, name, ("video_name", "label"))
    known = {str(index + 1) for index in range(len(CLASSES))}
    if wrong := [row for row in rows if row["label"] not in known or not row["video_name"].isdecimal()]:
        raise ValueError(f"{name}: {wrong[0]} is not the number of a clip and a label from 1 to {len(CLASSES)}")
    return unique(((row["video_name"].zfill(5), row["label"]) for row in rows), source=name)


def _read_votes(storage: Storage) -> dict[str, tuple[int, ...]]:
    rows = read_csv(storage, ANNOTATION, (*VOTE_COLUMNS, "order"))
    if wrong := [row for row in rows if not all(value.isdecimal() for value in row.values())]:
        raise ValueError(f"{ANNOTATION}: {wrong[0]} must be whole numbers")
    votes = unique(
        ((row["order"].zfill(5), tuple(int(row[column]) for column in VOTE_COLUMNS)) for row in rows), source=ANNOTATION
    )
    if odd := sorted(clip for clip, counts in votes.items() if sum(counts) != VOTERS):
        raise ValueError(f"{ANNOTATION}: the clips {listed(odd)} do not have {VOTERS} votes")
    return votes


def _check_votes(single: Mapping[str, Assigned], votes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError naming clips of the lists that have no votes, or fewer for their emotion than for another."""
    if lacking := sorted(single.keys() - votes.keys()):
        raise ValueError(f"{ANNOTATION} lacks the clips {listed(lacking)}, which {SETS} labels")
    if odd := sorted(clip for clip, (number, _) in single.items() if votes[clip][int(number) - 1] < max(votes[clip])):
        raise ValueError(f"{ANNOTATION} and {SETS} disagree about the emotion of the clips {listed(odd)}")

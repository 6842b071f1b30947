"""FER+ (Barsoum, Zhang, Canton Ferrer, Zhang: Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution, ICMI 2016).

The images of FER2013, each labelled again by ten people. The labels are free (github.com/microsoft/FERPlus, MIT); the
images are those of FER2013's table, which the repository's script writes as PNG files of 48x48 grey pixels. The folders
may have others above them. Votes are read from `fer2013new.csv` in the root, or else from the `label.csv` beside the
images, with or without the column of the face's box. Without either the images have no label.

Nobody knows who is in an image, so that the subject is the image itself. FER2013Valid (the public test set) and
FER2013Test (the private one) are held out as "test", and are validation and test part of the protocols.

Protocols, of the images on which people agree as the repository's majority mode has it: single votes do not count, and
more than half of the others are for one of the eight emotions, not for "unknown" or "not a face".

- `majority`: that emotion.
- `votes`: the shares of the eight emotions in the votes that count. The repository's modes for distributions also drop
  rare emotions and choose other images; here both protocols have the same.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipelines.corpora.clip_names import check_clips
from pipelines.corpora.image_names import ANYWHERE, as_folder, match_image
from pipelines.corpora.layout import check_once
from pipelines.corpora.lists import read_csv, read_text, unique
from pipelines.corpora.registry import Labelled, Labels
from pipelines.label_columns import ProtocolLabels, with_label_columns
from pipelines.labels import EvaluationProtocol, one_hot

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "FER2013{Train,Valid,Test}/fer<NNNNNNN>.png and fer2013new.csv"
READS_ARCHIVES = True
CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
OTHERS = ("unknown", "NF")
MAJORITY = EvaluationProtocol("majority", "classes", CLASSES)
VOTES = EvaluationProtocol("votes", "classes", CLASSES)
LIST = "fer2013new.csv"
PARTS = {"FER2013Train": "train", "FER2013Valid": "validation", "FER2013Test": "test"}

_IMAGE = re.compile(rf"{ANYWHERE}(?P<folder>{'|'.join(PARTS)})/(?P<image>fer\d+)\.png")

logger = logging.getLogger(__name__)


def parse(name: str) -> Labels | None:
    match = match_image(name, _IMAGE)
    if match is None:
        return None
    return Labels("dev" if PARTS[match["folder"]] == "train" else "test", match["image"], match["image"])


def settle(table: pa.Table) -> pa.Table:
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    uris = table["uri"].to_pylist()
    votes = _read_votes(storage, uris)
    if not votes:
        logger.warning("neither %s nor label.csv is there: the images have no labels", LIST)
        return Labelled(with_label_columns(table), ())
    check_clips(votes, table, withdrawn, clip_of=image_of, source=f"{LIST} or label.csv")
    targets = [agreed(votes.get(image, ())) for image in table["video"].to_pylist()]
    known = [(row, found) for row, found in enumerate(targets) if found]
    row_N, parts = np.array([row for row, _ in known]), [PARTS[as_folder(uris[row]).split("/")[-2]] for row, _ in known]
    labels = [
        ProtocolLabels(
            protocol.name, row_N, np.array([found[k] for _, found in known]).reshape(-1, len(CLASSES)), parts
        )
        for k, protocol in enumerate((MAJORITY, VOTES))
    ]
    return Labelled(with_label_columns(table, labels), (MAJORITY, VOTES))


def image_of(uri: str) -> str | None:
    """The name of an image as the lists have it, without the ending."""
    labels = parse(uri)
    return labels.video if labels else None


def agreed(votes: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Majority and shares of the eight emotions, or None where people do not agree on one of them."""
    counted = [count if count > 1 else 0 for count in votes]
    most = max(counted, default=0)
    emotions = counted[: len(CLASSES)]
    if 2 * most <= sum(counted) or most not in emotions:
        return None
    return one_hot(emotions.index(most), CLASSES), tuple(count / sum(emotions) for count in emotions)


def _read_votes(storage: Storage, uris: Iterable[str]) -> Mapping[str, tuple[int, ...]]:
    if storage.exists(LIST):
        rows = read_csv(storage, LIST, ("Image name", *CLASSES, *OTHERS))
        # The table's images that are in no folder, for nobody saw a face, have no name.
        lines = [[row["Image name"], *(row[name] for name in (*CLASSES, *OTHERS))] for row in rows if row["Image name"]]
        return unique(map(_votes, lines), source=LIST)
    names = sorted({f"{as_folder(uri).rpartition('/')[0]}/label.csv" for uri in uris})
    lists = [read_text(storage, name) for name in names if storage.exists(name)]
    lines = [line for text in lists for line in csv.reader(text.splitlines())]
    return unique(map(_votes, filter(None, lines)), source="label.csv") if lines else {}


def _votes(line: list[str]) -> tuple[str, tuple[int, ...]]:
    counts = [cell.strip() for cell in line[-len(CLASSES + OTHERS) :]]
    if len(line) <= len(CLASSES + OTHERS) or not all(count.isdecimal() for count in counts):
        raise ValueError(f"the votes of FER+ have the line {','.join(line)!r}; there must be an image and ten numbers")
    return line[0].strip().removesuffix(".png"), tuple(map(int, counts))

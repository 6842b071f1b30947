"""AffectNet (Mollahosseini, Hasani, Mahoor: AffectNet: A Database for Facial Expression, Valence, and Arousal Computing
in the Wild, IEEE Transactions on Affective Computing 10(1), 2019).

About a million images from the web, 440,000 of them labelled by hand. For research only: professors and heads of
laboratories ask for it at mohammadmahoor.com. The official test set was never released: the validation set is held out
as "test", and is the test part of the protocols. Two forms are read:

- The release of eight labels, 287,651 and 3,999 images: `train_set` and `val_set`, each with `images/<ID>.jpg` and
  `annotations/<ID>_{exp,val,aro,lnd}.npy` (landmarks, lnd, are not read).
- The full release: `Manually_Annotated_Images/<folder>/<hash>.<ending>` and `Automatically_Annotated_Images`, with the
  lists training.csv and validation.csv in `Manually_Annotated_file_lists` or in the root. It comes as archives of parts
  to be unpacked. What a network labelled (automatically_annotated.csv) is not read.

Images may lie in archives; annotations and lists are files beside them, under the same names. Where there are none the
images have no label, and of the full release a hundredth of the images, chosen by a hash, is held out. Nobody knows who
is in an image, so that the subject is the image itself.

Protocols: `expressions`, the eight emotions (8 none, 9 uncertain and 10 no face are in none), and `valence_arousal`,
from -1 to 1, of the images that have both (-2: not applicable).
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.corpora.clip_names import check_clips
from pipelines.corpora.image_names import ANYWHERE, as_folder, match_image, settle_people, split_of
from pipelines.corpora.lists import read_all, replaced, unique
from pipelines.corpora.registry import Labelled, Labels
from pipelines.label_columns import ProtocolLabels, with_label_columns
from pipelines.labels import EvaluationProtocol

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = (
    "{train,val}_set/images/<ID>.jpg with annotations/<ID>_{exp,val,aro}.npy, or "
    "{Manually,Automatically}_Annotated_Images/<folder>/<hash>.jpg with training.csv and validation.csv"
)
READS_ARCHIVES = True
CLASSES = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
EXPRESSIONS = EvaluationProtocol("expressions", "classes", CLASSES, official=291_650)
AFFECT = EvaluationProtocol("valence_arousal", "regression", ("valence", "arousal"), metric="ccc")
NOT_APPLICABLE = -2
NUMBERS = range(11)
LISTS = ("Manually_Annotated_file_lists/{part}.csv", "{part}.csv")
PARTS = {"training": "train", "validation": "test"}
COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip
_KINDS = ("exp", "val", "aro")

_IMAGE = re.compile(
    rf"(?P<place>{ANYWHERE}(?P<part>train_set|val_set))/images/(?P<number>\d+)\.jpg"
    rf"|{ANYWHERE}(?:Manually|Automatically)_Annotated_Images/(?P<path>[^/]+/[^/]+)"
)

logger = logging.getLogger(__name__)


class Told(NamedTuple):
    """What is told of an image."""

    part: str
    expression: float
    valence: float
    arousal: float


def parse(name: str) -> Labels | None:
    match = match_image(name, _IMAGE)
    if match is None:
        return None
    image = match["path"] or f"{match['part']}/{match['number']}"
    split = split_of(image) if match["path"] else "dev" if match["part"] == "train_set" else "test"
    return Labels(split, image, image)


def settle(table: pa.Table) -> pa.Table:
    return settle_people(table)


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    told = unique(_read_annotations(table, storage), source="annotations") if _is_annotated(table, storage) else {}
    listed = unique(_read_lists(storage), source=" and ".join(PARTS)) if _lists(storage) else {}
    check_clips(listed, table, withdrawn, clip_of=image_of, source=" and ".join(PARTS))
    told |= listed
    images, splits = table["video"].to_pylist(), table["split"].to_pylist()
    if listed:
        splits = ["test" if image in told and told[image].part == "test" else "dev" for image in images]
    labels = _labels([(row, told[image]) for row, image in enumerate(images) if image in told])
    if not told:
        logger.warning("neither annotations nor lists of AffectNet are there: the images have no labels")
    used = {of_protocol.protocol for of_protocol in labels}
    protocols = tuple(protocol for protocol in (EXPRESSIONS, AFFECT) if protocol.name in used)
    return Labelled(with_label_columns(replaced(table, split=splits), labels), protocols)


def image_of(uri: str) -> str | None:
    """The name of an image as the lists have it."""
    labels = parse(uri)
    return labels.video if labels else None


def _labels(known: Sequence[tuple[int, Told]]) -> list[ProtocolLabels]:
    """Of the rows of which something is told; without a protocol that has nothing to say."""
    if strange := [told for _, told in known if told.expression not in NUMBERS]:
        raise ValueError(f"AffectNet has an image of expression {strange[0].expression:g}; there are 0 to 10")
    shown = [(row, told) for row, told in known if told.expression < len(CLASSES)]
    rated = [(row, told) for row, told in known if NOT_APPLICABLE not in (told.valence, told.arousal)]
    target_NK = np.eye(len(CLASSES))[[int(told.expression) for _, told in shown]]
    affect_N2 = np.array([(told.valence, told.arousal) for _, told in rated])
    return [
        ProtocolLabels(protocol.name, np.array([row for row, _ in of]), targets, [told.part for _, told in of])
        for protocol, of, targets in ((EXPRESSIONS, shown, target_NK), (AFFECT, rated, affect_N2))
        if of
    ]


def _annotations(uri: str) -> list[str]:
    """The files that label an image of the smaller release; none for others."""
    match = _IMAGE.fullmatch(as_folder(uri))
    return [] if match["path"] else [f"{match['place']}/annotations/{match['number']}_{kind}.npy" for kind in _KINDS]


def _is_annotated(table: pa.Table, storage: Storage) -> bool:
    first = next((files[0] for uri in table["uri"].to_pylist() if (files := _annotations(uri))), None)
    return first is not None and storage.exists(first)


def _read_annotations(table: pa.Table, storage: Storage) -> Iterator[tuple[str, Told]]:
    rows = table.select(["uri", "video"]).to_pylist()
    files = {row["video"]: found for row in rows if (found := _annotations(row["uri"]))}
    contents = read_all(storage, [name for of_image in files.values() for name in of_image])
    for image in files:
        part = "train" if image.startswith("train_set") else "test"
        yield image, Told(part, *(_number(next(contents)) for _ in _KINDS))


def _number(content: bytes) -> float:
    """Of an array of one number, which the release keeps as text."""
    return float(np.load(io.BytesIO(content), allow_pickle=False).item())


def _lists(storage: Storage) -> dict[str, str]:
    """The lists that are there, by their part."""
    places = {part: [place.format(part=part) for place in LISTS] for part in PARTS}
    found = {part: next(filter(storage.exists, names), None) for part, names in places.items()}
    return {part: name for part, name in found.items() if name}


def _read_lists(storage: Storage) -> Iterator[tuple[str, Told]]:
    """Of both lists, of which one may lack its header. Raises ValueError where one is missing."""
    import pyarrow as pa
    from pyarrow import csv

    lists = _lists(storage)
    if lacking := PARTS.keys() - lists.keys():
        raise ValueError(f"{lacking.pop()}.csv of AffectNet is missing in {storage.uri}; it belongs to the other list")
    used = ("subDirectory_filePath", "expression", "valence", "arousal")
    for part, name in lists.items():
        rows = csv.read_csv(
            pa.BufferReader(storage.read(name)),
            read_options=csv.ReadOptions(column_names=COLUMNS),
            convert_options=csv.ConvertOptions(include_columns=used, column_types=dict.fromkeys(used, pa.string())),
        )
        for image, *numbers in zip(*(rows[column].to_pylist() for column in used), strict=True):
            if image != COLUMNS[0]:
                yield image, Told(PARTS[part], *map(float, numbers))

"""FER2013 (Goodfellow et al.: Challenges in Representation Learning: A Report on Three Machine Learning Contests,
ICONIP 2013).

35,887 grey images of 48x48 pixels, found by a search engine, each with one of seven emotions: 28,709 to train, 3,589 in
the public and 3,589 in the private test set. Free from the page of the contest on Kaggle, under its rules.

The contest's form is one table (`fer2013.csv`, `icml_face_data.csv`): images are numbers in cells, so that there is
nothing to stream. It is read as folders of images, the form in which it mostly circulates; write the table out as PNG
files, the file `<Usage>_<row>.png` in the folder of its emotion. FER+ is made of the same table: of lossless copies the
union of corpora keeps one, while copies as JPEG have other pixels and are not recognised.

Nobody knows who is in an image, so that the subject is the image itself. Both test sets are held out as "test". In the
protocol the public one is for validation where file names tell it from the private one, else all of `test` is tested.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from pipelines.corpora.image_names import ANYWHERE, match_image
from pipelines.corpora.layout import check_once
from pipelines.corpora.registry import Labelled, Labels
from pipelines.label_columns import ProtocolLabels, with_label_columns
from pipelines.labels import EvaluationProtocol

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "{train,test}/<emotion>/[{Training,PublicTest,PrivateTest}_]<name>.{jpg,png}"
READS_ARCHIVES = True
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""In the order of the table's numbers."""
PROTOCOL = EvaluationProtocol("emotions", "classes", CLASSES, official=35_887)

_IMAGE = re.compile(
    rf"{ANYWHERE}(?P<image>(?P<part>train|test)/(?P<emotion>{'|'.join(CLASSES)})/[^/]+)\.(?:jpg|jpeg|png)"
)
_PUBLIC = "PublicTest_"


def parse(name: str) -> Labels | None:
    match = match_image(name, _IMAGE)
    if match is None:
        return None
    return Labels("dev" if match["part"] == "train" else "test", match["image"], match["image"])


def settle(table: pa.Table) -> pa.Table:
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    images = [image.split("/") for image in table["video"].to_pylist()]
    target_NK = np.eye(len(CLASSES))[[CLASSES.index(emotion) for _, emotion, _ in images]]
    parts = ["validation" if part == "test" and file.startswith(_PUBLIC) else part for part, _, file in images]
    labels = ProtocolLabels(PROTOCOL.name, np.arange(len(images)), target_NK, parts)
    return Labelled(with_label_columns(table, [labels]), (PROTOCOL,))

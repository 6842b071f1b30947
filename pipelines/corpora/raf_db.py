"""RAF-DB (Li, Deng, Du: Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the
Wild, CVPR 2017).

29,672 images from the web, each labelled by about forty people. The basic set is read: 15,339 images of one of seven
emotions, 12,271 to train and 3,068 to test. For non-commercial research only: people of a university ask for the
password (whdeng.cn/RAF/model1.html). The aligned crops are taken, 100x100 pixels, `basic/Image/aligned.zip`; the
`original` pictures, the compound set and the shares of the votes are not read.

Nobody knows who is in an image, so that the subject is the image itself; the official test part is held out as "test".
Without the official list the images have no label.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from pipelines.corpora.clip_names import check_clips
from pipelines.corpora.image_names import ANYWHERE, match_image
from pipelines.corpora.layout import check_once
from pipelines.corpora.lists import read_pairs
from pipelines.corpora.registry import Labelled, Labels
from pipelines.label_columns import ProtocolLabels, with_label_columns
from pipelines.labels import EvaluationProtocol

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "[basic/Image/]aligned[.zip]/{train,test}_<N>_aligned.jpg and [basic/]EmoLabel/list_patition_label.txt"
READS_ARCHIVES = True
CLASSES = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")
"""In the order of the list, which counts from 1."""
PROTOCOL = EvaluationProtocol("basic", "classes", CLASSES, official=15_339)
LISTS = ("basic/EmoLabel/list_patition_label.txt", "EmoLabel/list_patition_label.txt")

_IMAGE = re.compile(rf"{ANYWHERE}aligned/(?P<image>(?P<part>train|test)_\d+)_aligned\.jpg")

logger = logging.getLogger(__name__)


def parse(name: str) -> Labels | None:
    match = match_image(name, _IMAGE)
    if match is None:
        return None
    return Labels("dev" if match["part"] == "train" else "test", match["image"], match["image"])


def settle(table: pa.Table) -> pa.Table:
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    source = next((name for name in LISTS if storage.exists(name)), None)
    if source is None:
        logger.warning("%s is not there: the images have no labels", LISTS[0])
        return Labelled(with_label_columns(table), ())
    told = {image.partition(".")[0]: number for image, number in read_pairs(storage, source).items()}
    if wrong := sorted(set(told.values()) - {str(index + 1) for index in range(len(CLASSES))}):
        raise ValueError(f"{source}: {wrong[0]!r} is no label from 1 to {len(CLASSES)}")
    check_clips(told, table, withdrawn, clip_of=image_of, source=source)
    known = [(row, image) for row, image in enumerate(table["video"].to_pylist()) if image in told]
    target_NK = np.eye(len(CLASSES))[[int(told[image]) - 1 for _, image in known]]
    parts = [image.partition("_")[0] for _, image in known]
    labels = ProtocolLabels(PROTOCOL.name, np.array([row for row, _ in known]), target_NK, parts)
    return Labelled(with_label_columns(table, [labels]), (PROTOCOL,))


def image_of(uri: str) -> str | None:
    """The name of an image as the list has it."""
    labels = parse(uri)
    return labels.video if labels else None

"""CelebA (Liu, Luo, Wang, Tang: Deep Learning Face Attributes in the Wild, ICCV 2015).

202,599 images of 10,177 people. For non-commercial research only; the folders Img, Anno and Eval are linked from
mmlab.ie.cuhk.edu.hk/projects/CelebA.html. The aligned crops are read, 178x218 pixels: `Img/img_align_celeba.zip`, or
the same as PNG, `img_align_celeba_png`, of which the release has a 7z archive to be unpacked. The uncropped pictures,
`img_celeba`, are not.

`Anno/identity_CelebA.txt` tells who is in an image, `Eval/list_eval_partition.txt` the official parts, which share
nobody; validation and test are held out as "test". The lists may also lie in the root. Both are needed: without them
held-out images would show people that were learned from. The forty attributes are not read.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from pipelines.corpora.image_names import ANYWHERE, match_image
from pipelines.corpora.layout import check_once
from pipelines.corpora.lists import read_pairs, replaced
from pipelines.corpora.registry import Labelled, Labels, check_disjoint
from pipelines.label_columns import with_label_columns
from pipelines.labels import listed

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "[Img/]img_align_celeba[.zip]/<NNNNNN>.jpg, Anno/identity_CelebA.txt and Eval/list_eval_partition.txt"
READS_ARCHIVES = True
IDENTITIES = "Anno/identity_CelebA.txt"
PARTITION = "Eval/list_eval_partition.txt"
SPLITS = {"0": "dev", "1": "test", "2": "test"}
"""Of the parts train, validation and test."""

_IMAGE = re.compile(rf"{ANYWHERE}img_align_celeba(?:_png)?/(?P<image>\d{{6}})\.(?:jpg|png)")


def parse(name: str) -> Labels | None:
    match = match_image(name, _IMAGE)
    return Labels("all", match["image"], match["image"]) if match else None


def settle(table: pa.Table) -> pa.Table:
    check_once(table)
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    """Sets people and splits; there is nothing to predict."""
    people, parts = _read_list(storage, IDENTITIES), _read_list(storage, PARTITION)
    images = table["video"].to_pylist()
    if lacking := sorted(set(images) - (people.keys() & parts.keys())):
        raise ValueError(f"{IDENTITIES} or {PARTITION} lacks the images {listed(lacking)}; take the official lists")
    if wrong := sorted(set(parts.values()) - SPLITS.keys()):
        raise ValueError(f"{PARTITION} has the unknown parts {listed(wrong)}; there are {', '.join(SPLITS)}")
    told = replaced(
        table, subject=[people[image] for image in images], split=[SPLITS[parts[image]] for image in images]
    )
    check_disjoint(told)
    return Labelled(with_label_columns(told), ())


def _read_list(storage: Storage, name: str) -> dict[str, str]:
    """By the number of the image."""
    in_root = name.rpartition("/")[2]
    pairs = read_pairs(storage, in_root if storage.exists(in_root) else name)
    return {image.partition(".")[0]: value for image, value in pairs.items()}

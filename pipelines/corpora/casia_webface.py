"""CASIA-WebFace (Yi, Lei, Liao, Li: Learning Face Representation from Scratch, arXiv:1411.7923, 2014).

494,414 images of 10,575 people, crawled from IMDb and labelled with little control, 250x250 pixels. For non-commercial
research on a signed agreement; its authors no longer send it out, and copies circulate under the same terms. One
archive, `CASIA-WebFace.zip`, holds a folder of seven digits per person. Copies as a single MXNet record are not read:
unpack them into such folders.

The person is known, the corpus has no split: a hundredth of the people is held out as "test", chosen by a hash.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.corpora.image_names import ANYWHERE, match_image, settle_people, split_of
from pipelines.corpora.registry import Labels

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUT = "[CASIA-WebFace[.zip]/]<identity>/<NNN>.jpg"
READS_ARCHIVES = True

_IMAGE = re.compile(rf"{ANYWHERE}(?P<subject>\d{{7}})/(?P<image>\d+)\.jpg")


def parse(name: str) -> Labels | None:
    match = match_image(name, _IMAGE)
    return Labels(split_of(match["subject"]), match["subject"], match["image"]) if match else None


def settle(table: pa.Table) -> pa.Table:
    return settle_people(table)

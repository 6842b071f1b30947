"""VoxCeleb2 (Chung, Nagrani, Zisserman: VoxCeleb2: Deep Speaker Recognition, 2018).

About 1.09 million utterances of 6,112 speakers, cropped to the face, 224x224 pixels, 25 frames per second. Speakers of
dev and test are disjoint; pre-training reads dev, the held-out loss is measured on test.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.corpora.registry import Labels, check_disjoint

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUT = "{dev,test}/mp4/idNNNNN/<video>/NNNNN.mp4"

_NAME = re.compile(r"(?P<split>dev|test)/mp4/(?P<subject>id\d{5})/(?P<video>[^/]+)/\d{5}\.mp4")


def parse(name: str) -> Labels | None:
    match = _NAME.fullmatch(name)
    return Labels(**match.groupdict()) if match else None


def settle(table: pa.Table) -> pa.Table:
    check_disjoint(table)
    return table

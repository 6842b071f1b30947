"""Corpora of single images, each a row of its own, in folders or in archives."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.corpora import folder
from pipelines.corpora.layout import check_once
from pipelines.still_image import is_still_image

if TYPE_CHECKING:
    import pyarrow as pa

HELD_OUT_SHARE = 0.01
"""Of people, or of images of whom nobody knows: held out as "test" where a corpus has no official part for it."""
ANYWHERE = "(?:.+/)?"
"""Folders above what a layout begins with."""
_ARCHIVE = re.compile(r"\.(?:zip|tar)", re.IGNORECASE)


def as_folder(name: str) -> str:
    """The name as if every archive on its way were the folder that it holds: `x.zip/x/1.jpg` and `x.zip/1.jpg` are both
    `x/1.jpg`."""
    parts, opened = [], None
    for part in name.split("/"):
        if part == opened:
            opened = None
            continue
        stem, dot, suffix = part.rpartition(".")
        opened = stem if stem and _ARCHIVE.fullmatch(dot + suffix) else None
        parts.append(opened or part)
    return "/".join(parts)


def match_image(name: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """What a pattern of names without archives finds in the name of an image."""
    return pattern.fullmatch(as_folder(name)) if is_still_image(name) else None


def split_of(subject: str) -> str:
    """The split of a subject as far as its name alone decides it."""
    return folder.split_of(subject, held_out=HELD_OUT_SHARE)


def settle_people(table: pa.Table) -> pa.Table:
    """As `folder.settle`: somebody is held out and not everybody. Raises ValueError for an image that is there twice,
    beside its archive or in two forms."""
    check_once(table)
    return folder.settle(table)

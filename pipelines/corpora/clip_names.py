"""Corpora of clips whose people nobody named: a clip is a folder of images or a file, and known by its number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from pipelines.corpora.layout import check_once, place_of
from pipelines.corpora.registry import Labels
from pipelines.labels import check_files

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)


def parse_clip(name: str, clip_of: Callable[[str], str | None]) -> Labels | None:
    """Labels of an image or a file of a clip; `clip_of` tells the clip of a uri, None for what is none.

    Nobody knows who is in it, so that the subject is the clip itself: to exclude it, its number is enough.
    """
    uri, folder = place_of(name)
    clip = clip_of(uri)
    return Labels("all", clip, clip, folder) if clip else None


def one_form(table: pa.Table, prefixes: Sequence[str]) -> pa.Table:
    """The clips below the first of `prefixes` that has any: a release may hold the same ones in several forms.

    Raises ValueError for a clip that is there twice in this form.
    """
    import pyarrow.compute as pc

    for prefix in prefixes:
        chosen = table.filter(pc.starts_with(table["uri"], prefix))
        if chosen.num_rows:
            if others := table.num_rows - chosen.num_rows:
                logger.info("%d clips are taken from %s; %d in other forms are not", chosen.num_rows, prefix, others)
            break
    check_once(chosen)
    return chosen


def check_clips(
    clips: Iterable[str],
    table: pa.Table,
    withdrawn: Collection[str],
    *,
    clip_of: Callable[[str], str | None],
    source: str,
) -> None:
    """`check_files` for a list of clips, whatever form they are there in."""
    uris = {clip_of(uri): uri for uri in (*table["uri"].to_pylist(), *withdrawn)}
    check_files({uris.get(clip, clip) for clip in clips}, table, withdrawn, source=source)

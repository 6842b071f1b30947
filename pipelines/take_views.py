"""Every view of a take at the same instants, seen from the front: what MAURA's Figure 7 is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.alignment import central_crop
from pipelines.au_masks import MaskRecord
from pipelines.clips import central_frame_indices
from pipelines.corpora.mead import EMOTIONS, ViewName, read_name
from pipelines.quarantine import SampleError
from pipelines.randomness import Draw
from pipelines.take_reader import Found, find, held_out_key, take_at
from pipelines.take_sample import FRONT, Choice, Take, TakeSampleConfig, draw_masks, read_view

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.storage import Storage


class TakeViews(NamedTuple):
    """A take with all its views, and one mask of the frontal one."""

    clips: tuple[np.ndarray | None, ...]
    """Of each of VIEWS, uint8 [T, H, W, 3]; None where the take lacks it."""
    visible_V: np.ndarray
    """Tokens of the frontal view that stay visible, int32."""
    record: MaskRecord


def name_of(take: Take) -> ViewName:
    """Subject, emotion and level of a take, by the name of its first view."""
    return read_name(next(video.uri for video in take.videos if video is not None))


def one_of_each(rows: pa.Table, limit: int) -> list[Take]:
    """A take of every emotion and level that has a frontal view, ordered so: the one with most views, the first of
    several. Where there are more than `limit`, as many, spread evenly."""
    best: dict[tuple[int, int], Take] = {}
    for position in range(rows.num_rows):
        take = take_at(rows, position)
        if take.videos[FRONT] is None:
            continue
        name = name_of(take)
        key = EMOTIONS.index(name.emotion), name.level
        if key not in best or _num_views(take) > _num_views(best[key]):
            best[key] = take
    ordered = [best[key] for key in sorted(best)]
    chosen = np.linspace(0, len(ordered) - 1, min(limit, len(ordered))).round().astype(int)
    return [ordered[i] for i in chosen]


def read_views(take: Take, storage: Storage, annotations: Annotations, config: TakeSampleConfig) -> TakeViews:
    """All views at the central instants of the frames that all have, each with its own central crop.

    Raises:
        ValueError: a view cannot be used (names the video and the reason), or the take has none from the front.
        AccessDenied, StorageUnavailable: not the fault of the take.
    """
    if take.videos[FRONT] is None:
        raise ValueError(f"take {take.sample_id} has no frontal view")
    there = [video for video in take.videos if video is not None]
    clips: list[np.ndarray | None] = [None] * len(take.videos)
    for view, video in enumerate(take.videos):
        if video is None:
            continue
        try:
            indices = central_frame_indices(min(one.frames for one in there), there[0].fps, config.clip)
            choice = Choice(view, view, indices, central_crop(config.align, config.geometry.width))
            found = find(take, choice, storage, annotations, config)
            if not isinstance(found, Found):
                raise found.error
            clips[view] = np.zeros(config.clip_shape, np.uint8)
            read_view(video, found.files[view], found.tracks[view], choice, config, out_THWC=clips[view])
        except SampleError as error:
            raise ValueError(f"held-out video {video.uri} cannot be used: {error}") from error
        if view == FRONT:
            mask = draw_masks(choice, found.tracks, config, draw=Draw.HELD_OUT_MASK, **held_out_key(take))
    visible_RV, records = mask
    return TakeViews(tuple(clips), visible_RV[0], records[0])


def _num_views(take: Take) -> int:
    return sum(video is not None for video in take.videos)

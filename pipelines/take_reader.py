"""One micro-batch of takes: two views of each fetched, decoded, aligned and masked into arrays allocated once.

As in pipelines.batch_reader a row whose sample cannot be used keeps its place, with zero pixels and valid masks. Only
the two views that were drawn are fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.tokens import MultiViewBatch
from pipelines.batch_reader import Fetcher, fetch, main_face
from pipelines.order import PADDING
from pipelines.quarantine import SampleError, rejection
from pipelines.randomness import Draw
from pipelines.sample import Video
from pipelines.take_sample import (
    Choice,
    Take,
    TakeSampleConfig,
    Tracks,
    choose,
    choose_held_out,
    draw_masks,
    plain_masks,
    read_view,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.au_masks import MaskRecord
    from pipelines.storage import Storage

_NO_TAKE = Take(PADDING, ())


class Unusable(NamedTuple):
    """A sample that cannot be used, and the video that is to blame."""

    uri: str
    error: SampleError


class Found(NamedTuple):
    """What a sample is made of."""

    choice: Choice
    files: dict[int, bytes]
    tracks: Tracks


def take_at(rows: pa.Table, position: int) -> Take:
    """The row at `position` of a table with the columns sample_id and videos (see pipelines.take_stream)."""
    videos = rows["videos"][position].as_py()
    return Take(
        rows["sample_id"][position].as_py(),
        tuple(None if video["sample_id"] == PADDING else Video(**video) for video in videos),
    )


class TakeReader:
    """Reads micro-batches of takes for one epoch; one per decode process."""

    def __init__(
        self,
        rows: pa.Table,
        *,
        storage: Storage,
        annotations: Annotations,
        config: TakeSampleConfig,
        fetch_threads: int,
        epoch: int,
        same_draws_every: int | None = None,
    ) -> None:
        """Random choices depend on the sample id, or with `same_draws_every` on its remainder."""
        self._rows, self._storage, self._annotations, self._config = rows, storage, annotations, config
        self._epoch, self._same_draws_every = epoch, same_draws_every
        self._fetcher = Fetcher(storage, fetch_threads)

    def read(self, positions_B: Sequence[int] | np.ndarray) -> MultiViewBatch:
        """The batch of the takes at these positions of the rows, PADDING for a row without a sample."""
        takes = [_NO_TAKE if position == PADDING else take_at(self._rows, int(position)) for position in positions_B]
        batch = empty_batch(len(takes), self._config)
        for index, (take, found) in enumerate(zip(takes, self._fetcher.map(self._find, takes), strict=True)):
            batch["sample_id_B"][index] = take.sample_id
            problem = _fill(batch, index, take, found, self._config, draw=Draw.MASK, key=self._key(take))
            if problem is not None:
                batch["rejected_B"][index] = rejection(*problem)
        return batch

    def _key(self, take: Take) -> dict[str, int]:
        return {"seed": self._config.seed, "epoch": self._epoch, "sample_id": self._drawn_as(take).sample_id}

    def _drawn_as(self, take: Take) -> Take:
        every = self._same_draws_every
        return take if every is None else take._replace(sample_id=take.sample_id % every)

    def _find(self, take: Take) -> Found | Unusable | None:
        if take is _NO_TAKE:
            return None
        try:
            choice = choose(self._drawn_as(take), self._config, epoch=self._epoch)
        except SampleError as error:
            return Unusable(next(video.uri for video in take.videos if video is not None), error)
        return find(take, choice, self._storage, self._annotations, self._config)


def find(
    take: Take, choice: Choice, storage: Storage, annotations: Annotations, config: TakeSampleConfig
) -> Found | Unusable:
    """Files and faces of the views that were drawn.

    Raises:
        AccessDenied, StorageUnavailable: not the fault of the sample.
        ValueError: the annotations are those of other videos.
    """
    files = {}
    for view in choice.views:
        try:
            files[view] = fetch(storage, take.videos[view])
        except SampleError as error:
            return Unusable(take.videos[view].uri, error)
    return Found(choice, files, find_faces(take, choice, annotations, config))


def find_faces(take: Take, choice: Choice, annotations: Annotations, config: TakeSampleConfig) -> Tracks:
    """The longest largest face of each view that must be known. Raises ValueError as `find`."""
    return {
        view: main_face(take.videos[view], annotations)
        for view in choice.annotated_views(config)
        if take.videos[view] is not None
    }


def read_held_out(
    rows: pa.Table,
    storage: Storage,
    annotations: Annotations,
    config: TakeSampleConfig,
    *,
    positions_B: Sequence[int],
) -> MultiViewBatch:
    """One fixed batch: central instants and crop, views and masks drawn from the sample ids alone.

    Evaluation never skips or substitutes.

    Raises:
        ValueError: a take cannot be used; names the video and the reason.
    """
    batch = empty_batch(len(positions_B), config)
    for index, position in enumerate(positions_B):
        take = take_at(rows, int(position))
        batch["sample_id_B"][index] = take.sample_id
        found = find(take, choose_held_out(take, config), storage, annotations, config)
        problem = _fill(batch, index, take, found, config, draw=Draw.HELD_OUT_MASK, key=held_out_key(take))
        if problem is not None:
            raise ValueError(f"held-out video {problem.uri} cannot be used: {problem.error}") from problem.error
    return batch


def held_out_key(take: Take) -> dict[str, int]:
    """What the masks of a held-out take are drawn from."""
    return {"seed": 0, "sample_id": take.sample_id}


def held_out_records(take: Take, annotations: Annotations, config: TakeSampleConfig) -> list[MaskRecord]:
    """What the masks of the take show in `read_held_out`, drawn again from annotations alone. Raises as `find`."""
    choice = choose_held_out(take, config)
    faces = find_faces(take, choice, annotations, config)
    return draw_masks(choice, faces, config, draw=Draw.HELD_OUT_MASK, **held_out_key(take))[1]


def empty_batch(size: int, config: TakeSampleConfig) -> MultiViewBatch:
    """Arrays of a batch, pixels zero."""
    clips = (size, *config.clip_shape)
    return {
        "clip_BTHWC": np.zeros(clips, np.uint8),
        "target_BTHWC": np.zeros(clips, np.uint8),
        "input_view_B": np.zeros(size, np.int32),
        "target_view_B": np.zeros(size, np.int32),
        "visible_BRV": np.zeros((size, *config.visible_shape), np.int32),
        "sample_id_B": np.full(size, PADDING, np.int64),
        "rejected_B": np.full(size, "", object),
    }


def _fill(
    batch: MultiViewBatch,
    index: int,
    take: Take,
    found: Found | Unusable | None,
    config: TakeSampleConfig,
    *,
    draw: Draw,
    key: dict[str, int],
) -> Unusable | None:
    """Writes one row. Returns what makes the sample unusable; its pixels are zero then and its masks plain."""
    if isinstance(found, Found):
        choice, files, tracks = found
        batch["visible_BRV"][index], _ = draw_masks(choice, tracks, config, draw=draw, **key)
        batch["input_view_B"][index], batch["target_view_B"][index] = choice.shown_views
        rows = {choice.target_view: batch["target_BTHWC"][index], choice.input_view: batch["clip_BTHWC"][index]}
        try:
            for view, out_THWC in rows.items():
                read_view(take.videos[view], files[view], tracks.get(view), choice, config, out_THWC=out_THWC)
        except SampleError as error:
            found = Unusable(take.videos[view].uri, error)
        else:
            if choice.target_view == choice.input_view:
                batch["target_BTHWC"][index] = batch["clip_BTHWC"][index]
            return None
    batch["clip_BTHWC"][index] = batch["target_BTHWC"][index] = 0
    batch["visible_BRV"][index] = plain_masks(config)
    return found

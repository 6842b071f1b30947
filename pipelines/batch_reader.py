"""One micro-batch: fetch, decode, crop and mask into arrays allocated once, ready to become a block without a copy.

A row whose sample cannot be used keeps its place: zero pixels, valid masks and the reason in `rejected_B`. So a batch
always has the rows it was planned with, and nothing is lost in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.tokens import PretrainingBatch
from pipelines.order import PADDING
from pipelines.quarantine import Reason, SampleError, rejection
from pipelines.sample import SampleConfig, Video, draw_masks, read_held_out_sample, read_sample
from pipelines.storage import ObjectMissing, Storage, content_digest

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.face_tracks import FaceTrack

VIDEO_COLUMNS = list(Video._fields)


class Found(NamedTuple):
    """What a sample is made of."""

    data: bytes
    track: FaceTrack | None
    """Its main face, where crops or masks follow one and it has one."""


def video_at(table: pa.Table, position: int) -> Video:
    """The row of a catalog table (columns VIDEO_COLUMNS, in that order) at `position`."""
    return Video(*(column[position].as_py() for column in table.columns))


def fetch(storage: Storage, video: Video) -> bytes:
    """The bytes of a video, the very ones of the catalog; what arrives otherwise is fetched once more.

    Raises:
        SampleError: missing, short_read, changed.
        AccessDenied, StorageUnavailable: not the fault of the sample; the run must stop.
    """
    try:
        data = storage.read(video.uri)
        if _difference(video, data) is not None:
            data = storage.read(video.uri)
    except ObjectMissing as error:
        raise SampleError(Reason.missing, str(error)) from error
    if (difference := _difference(video, data)) is not None:
        raise difference
    return data


def _difference(video: Video, data: bytes) -> SampleError | None:
    """How the bytes differ from those the catalog was built from."""
    if len(data) != video.size:
        reason = Reason.short_read if len(data) < video.size else Reason.changed
        return SampleError(reason, f"{len(data)} bytes read, {video.size} in the catalog")
    if video.digest and content_digest(data) != video.digest:
        return SampleError(Reason.changed, f"{len(data)} bytes as in the catalog, but with another digest")
    return None


class MicroBatchReader:
    """Reads micro-batches of catalog rows for one epoch; one per decode process."""

    def __init__(
        self,
        videos: pa.Table,
        storage: Storage,
        config: SampleConfig,
        *,
        epoch: int,
        fetch_threads: int,
        same_draws_every: int | None = None,
        annotations: Annotations | None = None,
    ) -> None:
        """Random choices depend on the sample id, or with `same_draws_every` on its remainder.

        `annotations` are those of the catalog, for crops and masks that follow the face.
        """
        check_faces(config, annotations)
        self._videos = videos
        self._storage = storage
        self._config = config
        self._epoch = epoch
        self._same_draws_every = same_draws_every
        self._annotations = annotations
        # Local files are in the page cache or on a disk that threads do not make faster.
        self._pool = None if storage.is_local else ThreadPoolExecutor(fetch_threads, thread_name_prefix="fetch")

    def read(self, positions_B: Sequence[int] | np.ndarray) -> PretrainingBatch:
        """The batch of the rows at these positions of the table, PADDING for a row without a sample."""
        videos = [None if position == PADDING else video_at(self._videos, int(position)) for position in positions_B]
        batch = empty_batch(len(videos), self._config)
        for index, (video, found) in enumerate(zip(videos, self._find_all(videos), strict=True)):
            self._read_row(batch, index, video, found)
        return batch

    def _read_row(
        self, batch: PretrainingBatch, index: int, video: Video | None, found: Found | SampleError | None
    ) -> None:
        clip_THWC, visible_RV = batch["clip_BTHWC"][index], batch["visible_BRV"][index]
        batch["sample_id_B"][index] = PADDING if video is None else video.sample_id
        if video is not None and self._same_draws_every is not None:
            video = video._replace(sample_id=video.sample_id % self._same_draws_every)
        out = {"epoch": self._epoch, "out_RV": visible_RV}
        if not isinstance(found, Found):
            clip_THWC[:] = 0
            draw_masks(PADDING if video is None else video.sample_id, self._config, **out)
            if video is not None:
                batch["rejected_B"][index] = rejection(video.uri, found)
            return
        try:
            read_sample(video, found.data, self._config, out_THWC=clip_THWC, track=found.track, **out)
        except SampleError as error:
            clip_THWC[:] = 0
            batch["rejected_B"][index] = rejection(video.uri, error)

    def _find_all(self, videos: Iterable[Video | None]) -> Iterator[Found | SampleError | None]:
        """In the order of the rows; remote files arrive in the background while earlier rows are decoded."""
        return map(self._find, videos) if self._pool is None else self._pool.map(self._find, videos)

    def _find(self, video: Video | None) -> Found | SampleError | None:
        if video is None:
            return None
        try:
            return Found(fetch(self._storage, video), main_face(video, self._annotations))
        except SampleError as error:
            return error


def read_held_out(
    videos: pa.Table,
    storage: Storage,
    config: SampleConfig,
    *,
    positions_B: Sequence[int],
    annotations: Annotations | None = None,
) -> PretrainingBatch:
    """One fixed batch for the held-out loss: central clip and crop, masks drawn from the sample ids alone.

    Evaluation never skips or substitutes.

    Raises:
        ValueError: a video cannot be used; names it and the reason.
    """
    check_faces(config, annotations)
    batch = empty_batch(len(positions_B), config)
    for index, position in enumerate(positions_B):
        video = video_at(videos, int(position))
        out = {"out_THWC": batch["clip_BTHWC"][index], "out_RV": batch["visible_BRV"][index]}
        try:
            data = fetch(storage, video)
            read_held_out_sample(video, data, config, track=main_face(video, annotations), **out)
        except SampleError as error:
            raise ValueError(f"held-out video {video.uri} cannot be used: {error}") from error
        batch["sample_id_B"][index] = video.sample_id
    return batch


def main_face(video: Video, annotations: Annotations | None) -> FaceTrack | None:
    """The longest largest face of a video. Raises ValueError where the annotations are those of other videos."""
    tracks = annotations.tracks(video.uri) if annotations is not None else []
    return tracks[0] if tracks else None


def check_faces(config: SampleConfig, annotations: object | None) -> None:
    """Raises ValueError where crops or masks follow the face and nothing tells it, or annotations are of no use."""
    if config.follows_face and annotations is None:
        raise ValueError("crops and masks that follow the face need the annotations of the catalog")
    if annotations is not None and not config.follows_face:
        raise ValueError("annotations have no effect where neither crops nor masks follow the face; leave them out")


def empty_batch(rows: int, config: SampleConfig) -> PretrainingBatch:
    """Arrays of a batch. Pixels and masks are not initialised: every row must be written."""
    return {
        "clip_BTHWC": np.empty((rows, *config.clip_shape), dtype=np.uint8),
        "visible_BRV": np.empty((rows, *config.visible_shape), dtype=np.int32),
        "sample_id_B": np.empty(rows, dtype=np.int64),
        "rejected_B": np.full(rows, "", dtype=object),
    }

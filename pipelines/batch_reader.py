"""One micro-batch: fetch, decode, crop and mask into arrays allocated once, ready to become a block without a copy.

A row whose sample cannot be used keeps its place: zero pixels, valid masks and the reason in `rejected_B`. So a batch
always has the rows it was planned with, and nothing is lost in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from models.tokens import PretrainingBatch
from pipelines.archives import read_file
from pipelines.frame_folder import open_folder
from pipelines.order import PADDING
from pipelines.quarantine import Reason, SampleError, rejection
from pipelines.sample import SampleConfig, Video, draw_masks, read_held_out_sample, read_sample
from pipelines.still_image import StillImage
from pipelines.storage import ObjectMissing, Storage, content_digest
from pipelines.video import Images

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.face_tracks import FaceTrack
    from pipelines.labelled_sample import LabelledSampleConfig

VIDEO_COLUMNS = list(Video._fields)

T = TypeVar("T")
Result = TypeVar("Result")


class Found(NamedTuple):
    """What a sample is made of."""

    data: bytes | Images
    track: FaceTrack | None
    """Its main face, where crops or masks follow one and it has one."""


def video_at(table: pa.Table, position: int) -> Video:
    """The row of a catalog table (columns VIDEO_COLUMNS, in that order) at `position`."""
    return Video(*(column[position].as_py() for column in table.columns))


def fetch(storage: Storage, video: Video) -> bytes | Images:
    """The bytes of a video, the very ones of the catalog; what arrives otherwise is fetched once more. Of a folder of
    images the list: which of them a clip shows is known when it is cut. An image is told by its pixels, when it is
    read.

    Raises:
        SampleError: missing, short_read, changed, decode (of an archive).
        AccessDenied, StorageUnavailable: not the fault of the sample; the run must stop.
    """
    if video.kind == "frames":
        return open_folder(storage, video.uri, expect_frames=video.frames, expect_bytes=video.size)
    try:
        try:
            data = _read(storage, video)
        except SampleError:
            data = _read(storage, video)
    except ObjectMissing as error:
        raise SampleError(Reason.missing, str(error)) from error
    return StillImage(data, video.digest) if video.kind == "image" else data


def _read(storage: Storage, video: Video) -> bytes:
    """Raises SampleError where the bytes differ from those that the catalog was built from."""
    place = {"offset": video.archive_offset, "stored_bytes": video.archive_bytes}
    data = read_file(storage, video.uri, size=video.size, **place)
    if len(data) != video.size:
        reason = Reason.short_read if len(data) < video.size else Reason.changed
        raise SampleError(reason, f"{len(data)} bytes read, {video.size} in the catalog")
    if video.kind == "video" and video.digest and content_digest(data) != video.digest:
        raise SampleError(Reason.changed, f"{len(data)} bytes as in the catalog, but with another digest")
    return data


class Row(NamedTuple):
    """What is known of one row of a batch."""

    sample_id: int
    """PADDING where the row carries no sample."""
    video: Video | None
    """The sample id it has is the one that random choices depend on."""
    found: Found | SampleError | None
    """Why the video cannot be used, or what it is made of; None without one."""


class Fetcher:
    """Finds what samples are made of, in their order; remote files arrive in the background while earlier ones are
    decoded."""

    def __init__(self, storage: Storage, threads: int) -> None:
        # Local files are in the page cache or on a disk that threads do not make faster.
        self._pool = None if storage.is_local else ThreadPoolExecutor(threads, thread_name_prefix="fetch")

    def map(self, find: Callable[[T], Result], samples: Iterable[T]) -> Iterator[Result]:
        return map(find, samples) if self._pool is None else self._pool.map(find, samples)


class RowReader:
    """The rows of micro-batches of videos and what they are made of; one per decode process."""

    def __init__(
        self,
        videos: pa.Table,
        storage: Storage,
        *,
        fetch_threads: int,
        same_draws_every: int | None = None,
        annotations: Annotations | None = None,
    ) -> None:
        """Random choices depend on the sample id, or with `same_draws_every` on its remainder."""
        self._videos = videos
        self._storage = storage
        self._same_draws_every = same_draws_every
        self._annotations = annotations
        self._fetcher = Fetcher(storage, fetch_threads)

    def read(self, positions_B: Sequence[int] | np.ndarray) -> Iterator[Row]:
        """The rows at these positions of the table, PADDING for one without a sample."""
        return self._fetcher.map(self._read, positions_B)

    def _read(self, position: int) -> Row:
        if position == PADDING:
            return Row(PADDING, None, None)
        video = video_at(self._videos, int(position))
        drawn_as = video
        if self._same_draws_every is not None:
            drawn_as = video._replace(sample_id=video.sample_id % self._same_draws_every)
        try:
            found = Found(fetch(self._storage, video), main_face(video, self._annotations))
        except SampleError as error:
            found = error
        return Row(video.sample_id, drawn_as, found)


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
        """`annotations` are those of the catalog, for crops and masks that follow the face; see RowReader."""
        check_faces(config, annotations)
        self._config, self._epoch = config, epoch
        self._rows = RowReader(
            videos,
            storage,
            fetch_threads=fetch_threads,
            same_draws_every=same_draws_every,
            annotations=annotations,
        )

    def read(self, positions_B: Sequence[int] | np.ndarray) -> PretrainingBatch:
        """The batch of the rows at these positions of the table, PADDING for a row without a sample."""
        batch = empty_batch(len(positions_B), self._config)
        for index, row in enumerate(self._rows.read(positions_B)):
            batch["sample_id_B"][index] = row.sample_id
            error = self._fill(row, batch["clip_BTHWC"][index], batch["visible_BRV"][index])
            if error is not None:
                batch["rejected_B"][index] = rejection(row.video.uri, error)
        return batch

    def _fill(self, row: Row, clip_THWC: np.ndarray, visible_RV: np.ndarray) -> SampleError | None:
        """Writes pixels, zero for a row without a usable video, and masks. Returns why it cannot be used."""
        out = {"epoch": self._epoch, "out_RV": visible_RV}
        if isinstance(row.found, Found):
            try:
                data, track = row.found
                read_sample(row.video, data, self._config, out_THWC=clip_THWC, track=track, **out)
                return None
            except SampleError as error:
                clip_THWC[:] = 0
                return error
        clip_THWC[:] = 0
        draw_masks(PADDING if row.video is None else row.video.sample_id, self._config, **out)
        return row.found


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


def check_faces(config: SampleConfig | LabelledSampleConfig, annotations: object | None) -> None:
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

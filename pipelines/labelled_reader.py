"""Micro-batches of labelled videos, augmented for training, and the test clips of videos for evaluation.

As in pipelines.batch_reader a row of a training batch whose sample cannot be used keeps its place, with zero pixels, a
zero target and the reason. Evaluation never skips or substitutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.tokens import LabelledBatch
from pipelines.batch_reader import VIDEO_COLUMNS, Found, Row, RowReader, check_faces, fetch, main_face, video_at
from pipelines.catalog import OK
from pipelines.labelled_sample import LabelledSampleConfig, read_labelled_sample, read_test_clips
from pipelines.labelled_videos import targets
from pipelines.quarantine import Reason, SampleError, rejection

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.storage import Storage


class LabelledBatchReader:
    """Reads micro-batches of labelled videos (pipelines.labelled_videos) for one epoch; one per decode process."""

    def __init__(
        self,
        videos: pa.Table,
        storage: Storage,
        config: LabelledSampleConfig,
        *,
        epoch: int,
        fetch_threads: int,
        same_draws_every: int | None = None,
        annotations: Annotations | None = None,
    ) -> None:
        """`annotations` are those of the catalog, for crops that follow the face; see RowReader."""
        check_faces(config, annotations)
        self._config, self._epoch = config, epoch
        self._target_NK = targets(videos)
        self._rows = RowReader(
            videos.select(VIDEO_COLUMNS),
            storage,
            fetch_threads=fetch_threads,
            same_draws_every=same_draws_every,
            annotations=annotations,
        )

    def read(self, positions_B: Sequence[int] | np.ndarray) -> LabelledBatch:
        """The batch of the rows at these positions of the table, PADDING for a row without a sample."""
        rows, config = len(positions_B), self._config
        batch: LabelledBatch = {
            "clip_BRTHWC": np.empty((rows, config.repeats, *config.clip_shape), np.uint8),
            "target_BK": np.zeros((rows, self._target_NK.shape[1]), np.float32),
            "sample_id_B": np.empty(rows, np.int64),
            "rejected_B": np.full(rows, "", object),
        }
        for index, (position, row) in enumerate(zip(positions_B, self._rows.read(positions_B), strict=True)):
            batch["sample_id_B"][index] = row.sample_id
            error = self._fill(row, batch["clip_BRTHWC"][index])
            if error is not None:
                batch["rejected_B"][index] = rejection(row.video.uri, error)
            elif row.video is not None:
                batch["target_BK"][index] = self._target_NK[position]
        return batch

    def _fill(self, row: Row, clip_RTHWC: np.ndarray) -> SampleError | None:
        """Writes pixels, zero for a row without a usable video. Returns why it cannot be used."""
        error = row.found
        if isinstance(row.found, Found):
            data, track = row.found
            try:
                read_labelled_sample(
                    row.video, data, self._config, epoch=self._epoch, out_RTHWC=clip_RTHWC, track=track
                )
                return None
            except SampleError as caught:
                error = caught
        clip_RTHWC[:] = 0
        return error


def read_test_batch(
    videos: pa.Table,
    positions_B: Sequence[int] | np.ndarray,
    *,
    storage: Storage,
    config: LabelledSampleConfig,
    clips: int,
    annotations: Annotations | None = None,
) -> dict[str, np.ndarray]:
    """The test clips of the labelled videos at these positions, one video after the other: clip_VTHWC, uint8, and
    sample_id_V, int64, the video that each is of. Videos have as many as are distinct of `clips`, at least one.

    Raises:
        ValueError: a video cannot be used (names it and the reason), or the annotations are missing, without effect or
            those of other videos.
        AccessDenied, StorageUnavailable: not the fault of the video.
    """
    check_faces(config, annotations)
    found, sample_ids = [], []
    for position in positions_B:
        status, detail = (videos[name][int(position)].as_py() for name in ("status", "detail"))
        video = video_at(videos.select(VIDEO_COLUMNS), int(position))
        try:
            if status != OK:
                raise SampleError(Reason(status), detail)
            data, track = fetch(storage, video), main_face(video, annotations)
            clip_VTHWC = read_test_clips(video, data, config, clips=clips, track=track)
        except SampleError as error:
            raise ValueError(
                f"test video {video.uri} cannot be used: {error}. Give the file back, or name it in the exclusion list "
                "of the catalog, which every result then carries"
            ) from error
        found.append(clip_VTHWC)
        sample_ids.append(np.full(len(clip_VTHWC), video.sample_id, np.int64))
    return {"clip_VTHWC": np.concatenate(found), "sample_id_V": np.concatenate(sample_ids)}

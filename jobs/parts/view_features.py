"""What frozen encoders make of every view of every take: one feature vector per video.

The clip is the central one and its crop the central one of the aligned face, as in the held-out loss. Each video is
decoded once, for all encoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.alignment import central_crop
from pipelines.batch_reader import fetch, main_face
from pipelines.clips import central_frame_indices
from pipelines.corpora.mead import EMOTIONS
from pipelines.quarantine import SampleError
from pipelines.take_sample import Choice, TakeSampleConfig, read_view

if TYPE_CHECKING:
    import pyarrow as pa

    from models.encoder import VideoEncoder
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog
    from pipelines.sample import Video

_CLIPS_AT_ONCE = 16


class ViewTable(NamedTuple):
    """The videos of some takes, one entry each."""

    videos: list[Video]
    view_N: np.ndarray
    """Index into corpora.mead.VIEWS."""
    emotion_N: np.ndarray
    """Index into corpora.mead.EMOTIONS."""
    subject_N: np.ndarray
    fold_N: np.ndarray


def view_table(catalog: Catalog, takes: pa.Table) -> ViewTable:
    """The views that the takes (pipelines.takes.SCHEMA) have."""
    from pipelines.batch_reader import VIDEO_COLUMNS, video_at

    videos, rows = catalog.table.select(VIDEO_COLUMNS), []
    for take in takes.to_pylist():
        for view, video_id in enumerate(take["video_ids"]):
            if video_id >= 0:
                emotion = EMOTIONS.index(take["emotion"])
                rows.append((video_at(videos, video_id), view, emotion, take["subject"], take["fold"]))
    found, *columns = zip(*rows, strict=True)
    return ViewTable(list(found), *map(np.array, columns))


def read_views(
    table: ViewTable, catalog: Catalog, annotations: Annotations, sample: TakeSampleConfig
) -> Iterator[np.ndarray]:
    """Clips in the order of the table, uint8 [B, T, H, W, 3]. Evaluation never skips.

    Raises ValueError, naming the video, when one cannot be used.
    """
    crop = central_crop(sample.align, sample.geometry.width)
    for start in range(0, len(table.videos), _CLIPS_AT_ONCE):
        videos = table.videos[start : start + _CLIPS_AT_ONCE]
        clip_BTHWC = np.empty((len(videos), *sample.clip_shape), np.uint8)
        for video, view, out_THWC in zip(videos, table.view_N[start:], clip_BTHWC, strict=False):
            choice = Choice(view, view, central_frame_indices(video.frames, video.fps, sample.clip), crop)
            try:
                data, face = fetch(catalog.storage, video), main_face(video, annotations)
                read_view(video, data, face, choice, sample, out_THWC=out_THWC)
            except SampleError as error:
                raise ValueError(f"video {video.uri} cannot be used: {error}") from error
        yield clip_BTHWC


def encode_views(encoders: Mapping[str, VideoEncoder], clips: Iterator[np.ndarray]) -> dict[str, np.ndarray]:
    """Pooled features [N, D] of every clip by every encoder."""
    import torch

    from models.cubes import normalize_pixels

    features: dict[str, list[np.ndarray]] = {name: [] for name in encoders}
    with torch.inference_mode():
        for clip_BTHWC in clips:
            pixels_BTHWC = normalize_pixels(torch.from_numpy(clip_BTHWC))
            for name, encoder in encoders.items():
                features[name].append(encoder(pixels_BTHWC).numpy())
    return {name: np.concatenate(parts) for name, parts in features.items()}


def unit_features(table: ViewTable, annotations: Annotations) -> np.ndarray:
    """Mean scores of the 18 action units over each video, float32 [N, 18]; zeros where it has no face."""
    from pipelines.action_units import ACTION_UNITS

    features_NU = np.zeros((len(table.videos), len(ACTION_UNITS)), np.float32)
    for row, video in enumerate(table.videos):
        track = main_face(video, annotations)
        if track is not None:
            features_NU[row] = track.score_T18[track.valid_T].mean(0)
    return features_NU

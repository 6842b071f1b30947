"""What frozen encoders make of every view of every take: one feature vector per video.

The clip is the central one and its crop the central one of the aligned face, as in the held-out loss. Each video is
decoded once, for all encoders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from pipelines.alignment import central_crop
from pipelines.batch_reader import VIDEO_COLUMNS, fetch, main_face, video_at
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

Key = TypeVar("Key", bound=Hashable)


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
    """Clips in the order of the table, uint8 [B, T, H, W, 3], read by as many threads as there are CPUs. Evaluation
    never skips.

    Raises ValueError, naming the video and what to do, when one cannot be used.
    """
    crop = central_crop(sample.align, sample.geometry.width)

    def read(video: Video, view: int, out_THWC: np.ndarray) -> None:
        try:
            choice = Choice(view, view, central_frame_indices(video.frames, video.fps, sample.clip), crop)
            data, face = fetch(catalog.storage, video), main_face(video, annotations)
            read_view(video, data, face, choice, sample, out_THWC=out_THWC)
        except SampleError as error:
            raise ValueError(
                f"video {video.uri} cannot be used: {error}. Give the file back, or name it in the list of "
                "corpus.exclude and begin anew"
            ) from error

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="read") as pool:
        for start in range(0, len(table.videos), _CLIPS_AT_ONCE):
            chosen = slice(start, start + _CLIPS_AT_ONCE)
            videos = table.videos[chosen]
            clip_BTHWC = np.empty((len(videos), *sample.clip_shape), np.uint8)
            list(pool.map(read, videos, table.view_N[chosen], clip_BTHWC))
            yield clip_BTHWC


def encode_views(
    encoders: Mapping[Key, VideoEncoder], clips: Iterator[np.ndarray], advance: Callable[[int], None]
) -> dict[Key, np.ndarray]:
    """Pooled features [N, D] of every clip by every encoder, on the GPU where there is one. `advance` is told how many
    clips were done."""
    import torch

    from models.cubes import normalize_pixels

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    features: dict[Key, list[np.ndarray]] = {key: [] for key in encoders}
    for encoder in encoders.values():
        encoder.to(device)
    with torch.inference_mode():
        for clip_BTHWC in clips:
            pixels_BTHWC = normalize_pixels(torch.from_numpy(clip_BTHWC).to(device))
            for key, encoder in encoders.items():
                features[key].append(encoder(pixels_BTHWC).cpu().numpy())
            advance(len(clip_BTHWC))
    return {key: np.concatenate(parts) for key, parts in features.items()}


def unit_features(table: ViewTable, annotations: Annotations) -> np.ndarray:
    """Mean scores of the 18 action units over each video, float32 [N, 18]; zeros where it has no face."""
    from pipelines.action_units import ACTION_UNITS

    features_NU = np.zeros((len(table.videos), len(ACTION_UNITS)), np.float32)
    for row, video in enumerate(table.videos):
        track = main_face(video, annotations)
        if track is not None:
            features_NU[row] = track.score_T18[track.valid_T].mean(0)
    return features_NU

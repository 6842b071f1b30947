"""Face tracks of any length, and annotations of them, made on the spot."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.annotations import Annotations, publish, write_shard
from pipelines.catalog import OK
from pipelines.face_tracks import FaceTrack
from pipelines.storage import Storage
from pipelines.track_file import NO_FACE, VideoFaces


def track(frames: int = 12, *, seed: int = 0, face_id: int = 0, features: bool = True) -> FaceTrack:
    """A face that is lost in the second frame; its arrays are NaN there."""
    rng = np.random.default_rng(seed)
    valid_T = np.arange(frames) != 1

    def draw(*shape: int, lost: float = np.nan) -> np.ndarray:
        array = rng.normal(500.0, 100.0, (frames, *shape)).astype(np.float32)
        array[~valid_T] = lost
        return array

    return FaceTrack(
        landmarks_T682=draw(68, 2),
        valid_T=valid_T,
        box_T4=draw(4, lost=500.0),
        score_T18=draw(18, lost=0.0),
        yaw_T=draw(lost=0.0),
        pitch_T=draw(lost=0.0),
        source="mediapipe",
        version="test-1",
        face_id=face_id,
        features_TF=draw(17) if features else None,
    )


def faces(uri: str, *tracks: FaceTrack) -> VideoFaces:
    return VideoFaces(uri, OK if tracks else NO_FACE, "", list(tracks))


def write_annotations(
    place: Storage,
    shards: list[list[VideoFaces]],
    *,
    frames: int = 12,
    views: list[str] | None = None,
    catalog: str = "of-the-catalog",
) -> Annotations:
    """Finished annotations of videos that are given shard by shard, in the order of their uris."""
    uris = [video.uri for shard in shards for video in shard]
    videos = pa.table({"uri": uris, "subject": ["s"] * len(uris), "view": views or [""] * len(uris)})
    videos = videos.append_column("frames", pa.array([frames] * len(uris), pa.int32()))
    written = [write_shard(place, number, shard) for number, shard in enumerate(shards)]
    return publish(place, written, videos, catalog_fingerprint=catalog, settings={})

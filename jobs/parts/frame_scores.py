"""The scores of frames as predictions: of every labelled frame of the test videos, whether it has an image or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jobs.parts.frame_split import FrameSplit
from pipelines.corpora.aff_wild2 import subject_of
from pipelines.feature_store import FeatureStore, align
from pipelines.labels import ATTRIBUTES_TYPE

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = "image"
"""Attribute of a frame: there, or missing, where it has no features of its own."""


def scores_of_videos(store: FeatureStore, num_frames: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Scores [N, K] of every frame of videos, those of the nearest frame where one has none (NetEase 3.2).

    Raises FeatureStoreError for a video that the store does not have, ValueError for one without any frame in it.
    """
    scores = {}
    for video, frames in num_frames.items():
        found = store.read(video)
        if not len(found.frame_M):
            raise ValueError(
                f"{store.place.uri} has scores of no frame of {video}, none of its images could be used: give them "
                "back, or name the video in the exclusion list of the catalog"
            )
        scores[video], _ = align(found.frame_M, found.feature_MD, frames, "nearest")
    return scores


def frame_uri(video: str, frame: int) -> str:
    """As submissions name frames, which count from 1; ours count from 0."""
    return f"{video}/{frame + 1:05d}.jpg"


def expected_frames(split: FrameSplit) -> list[str]:
    """Uris of all labelled frames of the test videos."""
    return [frame_uri(video, frame) for video in split.tested for frame in labelled_frames(split, video).tolist()]


def labelled_frames(split: FrameSplit, video: str) -> np.ndarray:
    """Frames that some task labels, int64, ascending."""
    return np.flatnonzero(~np.isnan(split.labels.targets(video)).all(1))


def frame_table(split: FrameSplit, scores: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]) -> pa.Table:
    """Predictions (jobs.parts.scores) of all labelled frames of the test videos, of whose frames `scores` [N, K] and
    `present` (bool [N], whether one has features of its own) tell."""
    import pyarrow as pa

    frames = {video: labelled_frames(split, video) for video in split.tested}
    uris = [frame_uri(video, frame) for video, one in frames.items() for frame in one.tolist()]
    shown = np.concatenate([present[video][one] for video, one in frames.items()])
    told = {True: [{"name": SHOWN, "value": "there"}], False: [{"name": SHOWN, "value": "missing"}]}

    def numbers(of: Mapping[str, np.ndarray]) -> pa.Array:
        value_NK = np.concatenate([of[video][one] for video, one in frames.items()]).astype(np.float32)
        offsets = pa.array(np.arange(len(value_NK) + 1) * value_NK.shape[1], pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array(value_NK.ravel()))

    return pa.table(
        {
            "sample_id": pa.array(np.arange(len(uris))),
            "uri": pa.array(uris, pa.string()),
            "subject": pa.array([subject_of(video) for video, one in frames.items() for _ in one], pa.string()),
            "part": pa.array([split.part] * len(uris), pa.string()),
            "target": numbers({video: split.labels.targets(video) for video in frames}),
            "attributes": pa.array([told[bool(one)] for one in shown], ATTRIBUTES_TYPE),
            "score": numbers(scores),
            "clips": pa.array(np.ones(len(uris), np.int32)),
        }
    )

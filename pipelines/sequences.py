"""Features of whole videos side by side, and the windows of them that a head learns from.

Shape letters as in models.tokens; N counts the frames of a video, D is all sets of features together.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.feature_store import FeatureStore, Missing, align
from pipelines.windows import windows

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.frame_labels import FrameLabels


@dataclass(frozen=True)
class WindowConfig:
    """How videos are cut; nothing of them is dropped."""

    length: int = 300
    """Frames of a window; shorter videos and ends are padded (CtyunAI 4.1.2: 300, NetEase 4.1: 100)."""
    stride: int = 200
    """Frames from one window to the next. What several windows say of a frame is averaged."""

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.length:
            raise ValueError(f"stride={self.stride} must lie in 1..length={self.length}, or frames would be left out")


class Frames(NamedTuple):
    """Of one video."""

    feature_ND: np.ndarray
    """float32."""
    present_N: np.ndarray
    """bool: every set had features of the frame itself; others are filled."""


def present_frames(stores: Sequence[FeatureStore], video: str, num_frames: int) -> np.ndarray:
    """Which frames of a video have features of their own in every store, bool [N]. Raises FeatureStoreError for a video
    that a store does not have."""
    present_N = np.ones(num_frames, bool)
    for store in stores:
        present_N &= np.isin(np.arange(num_frames), store.frames(video))
    return present_N


class FeatureSequences:
    """Several stores read as one, videos that were read last kept in memory."""

    def __init__(self, stores: Sequence[FeatureStore], missing: Missing, *, cache_bytes: int) -> None:
        self._stores, self._missing, self._room = tuple(stores), missing, cache_bytes
        self._kept: OrderedDict[tuple[str, int], Frames] = OrderedDict()

    @property
    def width(self) -> int:
        return sum(store.width for store in self._stores)

    def read(self, video: str, num_frames: int) -> Frames:
        """The features of every frame. Raises FeatureStoreError for a video that a store does not have."""
        if (video, num_frames) in self._kept:
            self._kept.move_to_end((video, num_frames))
            return self._kept[video, num_frames]
        parts = []
        for store in self._stores:
            found = store.read(video)
            parts.append(align(found.frame_M, found.feature_MD, num_frames, self._missing))
        frames = Frames(
            np.concatenate([feature_ND for feature_ND, _ in parts], axis=1),
            np.logical_and.reduce([present_N for _, present_N in parts]),
        )
        self._kept[video, num_frames] = frames
        self._shrink()
        return frames

    def _shrink(self) -> None:
        used = sum(kept.feature_ND.nbytes for kept in self._kept.values())
        while used > self._room and self._kept:
            _, oldest = self._kept.popitem(last=False)
            used -= oldest.feature_ND.nbytes


def put_window(batch: Mapping[str, np.ndarray], row: int, frames: Frames, start: int, length: int) -> None:
    """Lays frames of a video into a row of a batch (models.tokens.SequenceBatch); what is beyond them stays as it is,
    padding."""
    inside = slice(start, start + length)
    batch["feature_BTD"][row, :length] = frames.feature_ND[inside]
    batch["present_BT"][row, :length] = frames.present_N[inside]
    batch["valid_BT"][row, :length] = True


def labels_digest(labels: FrameLabels, videos: Sequence[str]) -> str:
    """64 hexadecimal digits: equal where the labels of the videos are. Those of frames without an image are in no
    catalog, and so not in its fingerprint."""
    sha = hashlib.sha256()
    for video in videos:
        target_NK = labels.targets(video)
        sha.update(f"{video}\n{labels.part(video)}\n{target_NK.shape}\n".encode())
        sha.update(np.where(np.isnan(target_NK), np.float32(np.nan), target_NK).astype("<f4").tobytes())
    return sha.hexdigest()


def window_rows(labels: FrameLabels, videos: Sequence[str], config: WindowConfig) -> pa.Table:
    """The windows that have a frame to learn from, in the order of the videos: sample_id, video, start, length,
    num_frames (of the video) and target, the K numbers of each frame one after the other (list<float32>, NaN where
    there is none). Raises ValueError where no frame is labelled."""
    import pyarrow as pa

    rows: dict[str, list] = {name: [] for name in ("video", "start", "length", "num_frames", "target")}
    for video in videos:
        target_NK = labels.targets(video)
        for start, length in windows(len(target_NK), config.length, config.stride).tolist():
            target_TK = target_NK[start : start + length]
            if np.isnan(target_TK).all():
                continue
            for name, value in (("video", video), ("start", start), ("length", length)):
                rows[name].append(value)
            rows["num_frames"].append(len(target_NK))
            rows["target"].append(pa.array(target_TK.ravel(), pa.float32()))
    if not rows["video"]:
        raise ValueError(
            f"no frame of the {len(videos)} videos is labelled under protocol {labels.protocol.name}; choose others"
        )
    lengths = np.cumsum([0, *map(len, rows["target"])])
    return pa.table(
        {
            "sample_id": pa.array(np.arange(len(rows["video"]))),
            "video": pa.array(rows["video"]),
            **{name: pa.array(rows[name], pa.int64()) for name in ("start", "length", "num_frames")},
            "target": pa.LargeListArray.from_arrays(pa.array(lengths, pa.int64()), pa.concat_arrays(rows["target"])),
        }
    )

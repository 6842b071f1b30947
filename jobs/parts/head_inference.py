"""A trained head on whole videos: scores of every frame, kept as a feature store of their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.preflight import cluster_capacity
from pipelines.feature_store import STORE, VIDEOS, FeatureStore, FeatureStoreError, Missing, frame_times
from pipelines.progress import progress
from pipelines.sequences import FeatureSequences, Frames, WindowConfig, put_window
from pipelines.storage import Storage
from pipelines.windows import merge, windows

if TYPE_CHECKING:
    from pipelines.frame_labels import FrameLabels

logger = logging.getLogger(__name__)

_WINDOWS_AT_ONCE = 16
_VIDEOS_PER_TASK = 16
_NOMINAL_FPS = 25.0  # of the times in a store of scores, which nobody aligns by


@dataclass(frozen=True)
class HeadInferenceConfig:
    """Which head reads which features."""

    checkpoint: str
    stores: tuple[str, ...]
    window: WindowConfig
    missing: Missing


def score_videos(config: HeadInferenceConfig, num_frames: Mapping[str, int], store: FeatureStore) -> None:
    """Writes the scores of every frame of the videos that `store` does not have yet. Ray must be up."""
    import ray

    left = [video for video in num_frames if not store.has(video)]
    if not left:
        return
    gpus = 1 if cluster_capacity().gpus else 0
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=2)(_score_in_task)
    chunks = [left[start : start + _VIDEOS_PER_TASK] for start in range(0, len(left), _VIDEOS_PER_TASK)]
    waiting = [task.remote(config, {video: num_frames[video] for video in chunk}, store) for chunk in chunks]
    with progress("scoring videos", len(left)) as advance:
        while waiting:
            (done,), waiting = ray.wait(waiting)
            advance(ray.get(done))


def _score_in_task(config: HeadInferenceConfig, num_frames: Mapping[str, int], store: FeatureStore) -> int:
    import torch

    from jobs.parts.head_config import HeadConfig
    from jobs.parts.trained import load_trained

    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    head = load_trained(config.checkpoint, (HeadConfig,)).model().eval().to(device)
    stores = [FeatureStore.open(address) for address in config.stores]
    features = FeatureSequences(stores, config.missing, cache_bytes=0)
    for video, frames in num_frames.items():
        score_NK = score_video(head, features, video, frames, config.window)
        store.write(video, np.arange(frames), frame_times(frames, _NOMINAL_FPS), score_NK.astype(np.float32))
    return len(num_frames)


def score_video(head: Any, features: FeatureSequences, video: str, num_frames: int, window: WindowConfig) -> np.ndarray:
    """Scores [N, K] of every frame of a video: the mean over the windows that hold it."""
    import torch

    device = next(head.parameters()).device
    frames = features.read(video, num_frames)
    window_M2, told = windows(num_frames, window.length, window.stride), []
    for start in range(0, len(window_M2), _WINDOWS_AT_ONCE):
        batch = window_batch(frames, window_M2[start : start + _WINDOWS_AT_ONCE], window.length)
        with torch.inference_mode():
            scores_BTK = head.predict({name: torch.from_numpy(value).to(device) for name, value in batch.items()})
        told.append(scores_BTK.cpu().numpy())
    return merge(np.concatenate(told), window_M2, num_frames)


def window_batch(frames: Frames, window_M2: np.ndarray, length: int) -> dict[str, np.ndarray]:
    """Features of windows of a video as a head reads them, padded to `length`."""
    batch = {
        "feature_BTD": np.zeros((len(window_M2), length, frames.feature_ND.shape[1]), np.float32),
        "present_BT": np.zeros((len(window_M2), length), bool),
        "valid_BT": np.zeros((len(window_M2), length), bool),
    }
    for row, (start, count) in enumerate(window_M2.tolist()):
        put_window(batch, row, frames, start, count)
    return batch


def open_scores(place: Storage, *, width: int, made_with: Mapping[str, Any]) -> FeatureStore:
    """The store of a head's scores; one of another checkpoint or of other features is replaced."""
    known = {"name": "scores", "kind": "scores", "width": width, "made_with": made_with}
    try:
        return FeatureStore.create(place, **known)
    except FeatureStoreError:
        logger.info("%s is of an earlier checkpoint or other features, and made again", place.uri)
        # The description last: tables whose removal was cut short must not be taken for those of the new store.
        place.remove_tree(VIDEOS)
        place.remove(STORE)
        return FeatureStore.create(place, **known)


def num_frames_of(labels: FrameLabels, videos: Sequence[str]) -> dict[str, int]:
    return {video: labels.num_frames(video) for video in videos}

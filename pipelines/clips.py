"""Which frames of a video make a clip: pure functions of (number of frames, fps, config, generator).

Source: the sampling of VideoMAE (arXiv 2203.12602) and MAE-DFER (arXiv 2307.02227): one random window of
frames x stride source frames, as in temporal segment networks with a single segment.
Deliberate differences:
- what happens to a short video is chosen (`short`) instead of implied;
- a clip can be sampled in seconds, so that corpora of other frame rates see the same span of time;
- fine-tuning samples as pre-training does, every stride-th frame; theirs spreads 16 frames over 64, 4.27 apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipelines.quarantine import Reason, SampleError

_TOLERANCE = 1e-6  # keeps a product such as 2.9999999 from falling to the frame before


class Span(NamedTuple):
    """Frames of a video."""

    start: int
    stop: int
    """The first one after it."""


@dataclass(frozen=True)
class ClipConfig:
    """Frames of a clip and the distance between them."""

    frames: int = 16
    stride: int = 4
    """Distance between two frames of the clip, in frames of the video (in frames at nominal_fps for seconds)."""
    sampling: Literal["frames", "seconds"] = "frames"
    """frames: every stride-th frame whatever the frame rate; seconds: one frame every stride / nominal_fps seconds."""
    short: Literal["pad_last", "loop", "drop"] = "pad_last"
    """A video that ends before the clip does. pad_last: start at 0 and repeat the last frame reached (VideoMAE);
    loop: start again at frame 0; drop: the video belongs to no epoch and is quarantined as too_short."""
    nominal_fps: float = 25.0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(f"frames={self.frames} and stride={self.stride} must be at least 1")
        if not self.nominal_fps > 0:
            raise ValueError(f"nominal_fps={self.nominal_fps} must be positive")
        if self.sampling == "frames" and self.nominal_fps != 25.0:
            raise ValueError(f"nominal_fps={self.nominal_fps} has no effect on sampling=frames; say sampling=seconds")


def frame_indices(
    num_frames: int, fps: float, config: ClipConfig, rng: np.random.Generator, *, span: Span | None = None
) -> np.ndarray:
    """A random training clip, int64 [T], ascending except where `loop` starts again.

    The start is uniform over the windows of frames x stride frames that fit, 0 where none does. With a `span` it is
    uniform over those of them that lie within it, or where it is shorter than a window, that hold as much of it as one
    can.

    Raises:
        SampleError: too_short (short=drop), timestamps (sampling=seconds and no frame rate).
    """
    step = _step(fps, config)
    window = config.frames * step
    last_start = max(0, int(np.floor(num_frames - window)))
    first, last = 0, last_start
    if span is not None:
        ends = span.start, int(np.floor(span.stop - window))
        first, last = (min(max(0, end), last_start) for end in sorted(ends))
    start = first + int(rng.integers(last - first + 1)) if last > first else first
    return _indices(num_frames, start, step, config)


def central_frame_indices(num_frames: int, fps: float, config: ClipConfig, *, span: Span | None = None) -> np.ndarray:
    """The clip in the middle of the video, or as near as can be to that of a span, int64 [T]: what evaluation reads.
    Raises as `frame_indices`."""
    step = _step(fps, config)
    extent, (start, stop) = _extent(step, config), span or (0, num_frames)
    return _indices(num_frames, max(0, min((start + stop - extent) // 2, num_frames - extent)), step, config)


def uniform_frame_indices(
    num_frames: int, fps: float, config: ClipConfig, clips: int, *, span: Span | None = None
) -> list[np.ndarray]:
    """Test clips, each int64 [T]: the distinct ones of `clips` windows spread evenly over every stride-th frame of the
    video, or of a span, the first at its start and the last at its end (the test of VideoMAE and MAE-DFER). A video
    that one window covers has one. A single clip is the central one.

    Raises:
        ValueError: clips is below 1.
        SampleError: as `frame_indices`.
    """
    if clips < 1:
        raise ValueError(f"clips={clips} must be at least 1")
    step = _step(fps, config)
    start, stop = span or (0, num_frames)
    room = int(np.ceil((stop - start) / step - _TOLERANCE)) - config.frames
    if clips == 1 or room < 0:
        return [central_frame_indices(num_frames, fps, config, span=span)]
    places = np.arange(clips) * room // (clips - 1)
    starts = start + np.floor(np.unique(places) * step + _TOLERANCE).astype(np.int64)
    return list(np.unique([_indices(num_frames, int(first), step, config) for first in starts], axis=0))


def too_short(frames_N: np.ndarray, fps_N: np.ndarray, config: ClipConfig) -> np.ndarray:
    """Which videos the policy drops, bool [N]: known before any of them is read."""
    if config.short != "drop":
        return np.zeros(len(frames_N), bool)
    step_N = config.stride * (fps_N / config.nominal_fps if config.sampling == "seconds" else np.ones(len(frames_N)))
    return np.floor((config.frames - 1) * step_N + _TOLERANCE) >= frames_N


def _step(fps: float, config: ClipConfig) -> float:
    if config.sampling == "frames":
        return float(config.stride)
    if not (np.isfinite(fps) and fps > 0):
        raise SampleError(Reason.timestamps, f"fps={fps}: sampling=seconds needs the frame rate of the video")
    return config.stride * fps / config.nominal_fps


def _offsets(step: float, config: ClipConfig) -> np.ndarray:
    return np.floor(np.arange(config.frames) * step + _TOLERANCE).astype(np.int64)


def _extent(step: float, config: ClipConfig) -> int:
    """Frames from the first to the last frame of a clip, both counted."""
    return int(_offsets(step, config)[-1]) + 1


def _indices(num_frames: int, start: int, step: float, config: ClipConfig) -> np.ndarray:
    if num_frames < 1:
        raise SampleError(Reason.empty, f"num_frames={num_frames}")
    indices = start + _offsets(step, config)
    if indices[-1] < num_frames:
        return indices
    if config.short == "drop":
        raise SampleError(Reason.too_short, f"{num_frames} frames, a clip spans {_extent(step, config)}")
    if config.short == "loop":
        return indices % num_frames
    return np.minimum(indices, indices[indices < num_frames][-1])

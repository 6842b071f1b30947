"""One sample: from the bytes of a video to the clip and the masks of one row of a batch.

Everything random about it is a pure function of (seed, epoch, sample_id, repeat): not of the process, the order or a
retry. The held-out variant has nothing random: central clip, whole crop area, mask drawn from the sample id alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from models.tokens import ClipGeometry
from pipelines.clips import ClipConfig, central_frame_indices, frame_indices
from pipelines.decoders import Decoder
from pipelines.masks import MaskConfig, draw, num_visible
from pipelines.order import PADDING
from pipelines.randomness import Draw, generator
from pipelines.transforms import CropConfig, apply_crop, central_crop, draw_crop
from pipelines.video import read_frames


class Video(NamedTuple):
    """What a reader needs to know of a catalog row."""

    sample_id: int
    uri: str
    size: int
    digest: str
    """Of the bytes; empty where the catalog has none."""
    frames: int
    """Decoded frames."""
    fps: float


@dataclass(frozen=True)
class SampleConfig:
    """Everything that decides what one sample looks like."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    geometry: ClipGeometry = field(default_factory=ClipGeometry)
    clips_per_video: int = 1
    """Masks drawn for each decoded clip (R): decoding is paid once, the model sees the clip R times."""
    seed: int = 0
    decoder: Decoder = "pyav"

    def __post_init__(self) -> None:
        if self.clip.frames != self.geometry.frames:
            raise ValueError(f"clip.frames={self.clip.frames} differs from geometry.frames={self.geometry.frames}")
        if not self.crop.size == self.geometry.height == self.geometry.width:
            shape = f"{self.geometry.height}x{self.geometry.width}"
            raise ValueError(f"crop.size={self.crop.size} differs from the geometry's {shape}")
        if self.clips_per_video < 1:
            raise ValueError(f"clips_per_video={self.clips_per_video} must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must lie in [0, 2**32)")
        num_visible(self.geometry.grid, self.mask)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        return self.geometry.frames, self.geometry.height, self.geometry.width, 3

    @property
    def visible_shape(self) -> tuple[int, int]:
        return self.clips_per_video, num_visible(self.geometry.grid, self.mask)


def read_sample(
    video: Video, data: bytes, config: SampleConfig, *, epoch: int, out_THWC: np.ndarray, out_RV: np.ndarray
) -> None:
    """Write the training clip (uint8) and its masks (int32) into preallocated rows of a batch.

    The masks are written first and are valid even where the clip is not.

    Raises:
        SampleError: the video cannot be used; `out_THWC` then holds no picture worth keeping.
    """
    draw_masks(video.sample_id, config, epoch=epoch, out_RV=out_RV)
    choice = {"seed": config.seed, "epoch": epoch, "sample_id": video.sample_id}
    indices = frame_indices(video.frames, video.fps, config.clip, generator(Draw.CLIP, **choice))
    frames_THWC = read_frames(data, indices, expect_frames=video.frames, decoder=config.decoder)
    height, width = frames_THWC.shape[1:3]
    apply_crop(frames_THWC, draw_crop(height, width, config.crop, generator(Draw.CROP, **choice)), out_THWC)


def read_held_out_sample(
    video: Video, data: bytes, config: SampleConfig, *, out_THWC: np.ndarray, out_RV: np.ndarray
) -> None:
    """As `read_sample`, with nothing random: the same row for every epoch and seed."""
    for repeat, out_V in enumerate(out_RV):
        rng = generator(Draw.HELD_OUT_MASK, seed=0, sample_id=video.sample_id, repeat=repeat)
        out_V[:] = draw(config.geometry.grid, config.mask, rng)
    indices = central_frame_indices(video.frames, video.fps, config.clip)
    frames_THWC = read_frames(data, indices, expect_frames=video.frames, decoder=config.decoder)
    apply_crop(frames_THWC, central_crop(*frames_THWC.shape[1:3], config.crop), out_THWC)


def draw_masks(sample_id: int, config: SampleConfig, *, epoch: int, out_RV: np.ndarray) -> None:
    """Write the training masks of a sample, one per repeat; a padding row gets valid ones that are always the same."""
    for repeat, out_V in enumerate(out_RV):
        if sample_id == PADDING:
            rng = generator(Draw.PADDING_MASK, seed=0, repeat=repeat)
        else:
            rng = generator(Draw.MASK, seed=config.seed, epoch=epoch, sample_id=sample_id, repeat=repeat)
        out_V[:] = draw(config.geometry.grid, config.mask, rng)

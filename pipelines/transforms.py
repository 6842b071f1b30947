"""Spatial crops of a clip: the box is chosen first, then each frame's box is resized once, uint8 to uint8.

Sources: MAE-DFER (arXiv 2307.02227, 4.1) for the face window of VoxCeleb2, rows 0-159 and columns 32-191 of its
224x224 frames; the multi-scale corner crop of temporal segment networks (arXiv 1608.00859, 3.3) as VideoMAE uses it,
with 13 fixed offsets.
Deliberate differences: no float image is ever made; a box larger than the output is averaged down (INTER_AREA)
instead of sampled; flipping is off, as in the papers, and can be turned on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from pipelines.landmarks import flip_landmarks
from pipelines.quarantine import Reason, SampleError

VOXCELEB_FRAME = (224, 224)
VOXCELEB_WINDOW = (0, 32, 160, 160)

# Fixed offsets in quarters of the free space (top, left): corners and centre, edge middles, inner quarters.
_OFFSETS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((2, 0), (2, 4), (4, 2), (0, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


class Box(NamedTuple):
    top: int
    left: int
    height: int
    width: int


class Crop(NamedTuple):
    box: Box
    flip: bool


@dataclass(frozen=True)
class CropConfig:
    """Where crops are taken from and how large they come out."""

    window: tuple[int, int, int, int] | None = VOXCELEB_WINDOW
    """(top, left, height, width) of the area crops are taken from, for frames of exactly frame_size; None: the largest
    centred square of frames of any size."""
    frame_size: tuple[int, int] = VOXCELEB_FRAME
    """(height, width) the window was made for; other videos are quarantined. Only a window needs it."""
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Sides of a training crop relative to the shorter side of the area; height and width at most one step apart."""
    size: int = 160
    """Height and width of the output."""
    flip: bool = False
    """Mirror half of the training clips."""

    def __post_init__(self) -> None:
        if not self.scales or any(not 0.0 < scale <= 1.0 for scale in self.scales):
            raise ValueError(f"scales={self.scales} must be one or more numbers in (0, 1]")
        if self.size < 1:
            raise ValueError(f"size={self.size} must be positive")
        if self.window is None:
            if self.frame_size != VOXCELEB_FRAME:
                raise ValueError(f"frame_size={self.frame_size} has no effect without a window; give one")
            return
        top, left, height, width = self.window
        inside = top + height <= self.frame_size[0] and left + width <= self.frame_size[1]
        if min(top, left) < 0 or min(height, width) < 1 or not inside:
            raise ValueError(f"window={self.window} does not lie within frame_size={self.frame_size}")


def crop_area(height: int, width: int, config: CropConfig) -> Box:
    """The area of a frame of `height` x `width` pixels that crops are taken from.

    Raises:
        SampleError: format, when the window was made for frames of another size.
    """
    if config.window is None:
        side = min(height, width)
        return Box((height - side) // 2, (width - side) // 2, side, side)
    if (height, width) != config.frame_size:
        expected = f"{config.frame_size[1]}x{config.frame_size[0]}"
        raise SampleError(Reason.format, f"frames of {width}x{height}, the crop window is made for {expected}")
    return Box(*config.window)


def draw_crop(height: int, width: int, config: CropConfig, rng: np.random.Generator) -> Crop:
    """A random training crop of a frame of `height` x `width` pixels. Raises as `crop_area`."""
    area = crop_area(height, width, config)
    sides = [_side(min(area.height, area.width), scale, config.size) for scale in config.scales]
    steps = len(sides)
    pairs = [(i, j) for i in range(steps) for j in range(steps) if abs(i - j) <= 1]
    tall, wide = pairs[int(rng.integers(len(pairs)))]
    down, right = _OFFSETS[int(rng.integers(len(_OFFSETS)))]
    top = area.top + down * ((area.height - sides[tall]) // 4)
    left = area.left + right * ((area.width - sides[wide]) // 4)
    flip = bool(config.flip and rng.integers(2))
    return Crop(Box(top, left, sides[tall], sides[wide]), flip)


def central_crop(height: int, width: int, config: CropConfig) -> Crop:
    """The crop evaluation sees: the whole area, never mirrored. Raises as `crop_area`."""
    return Crop(crop_area(height, width, config), False)


def apply_crop(frames_THWC: np.ndarray, crop: Crop, out_THWC: np.ndarray) -> None:
    """Resize the crop of every frame (uint8 RGB) into the preallocated `out_THWC` (uint8, contiguous)."""
    top, left, height, width = crop.box
    boxes_THWC = frames_THWC[:, top : top + height, left : left + width]
    if boxes_THWC.shape == out_THWC.shape:
        out_THWC[:] = boxes_THWC[:, :, ::-1] if crop.flip else boxes_THWC
        return
    cv2 = opencv()
    out_size = (out_THWC.shape[2], out_THWC.shape[1])
    interpolation = cv2.INTER_AREA if height > out_size[1] and width > out_size[0] else cv2.INTER_LINEAR
    for box_HWC, out_HWC in zip(boxes_THWC, out_THWC, strict=True):
        cv2.resize(box_HWC, out_size, dst=out_HWC, interpolation=interpolation)
        if crop.flip:
            cv2.flip(out_HWC, 1, dst=out_HWC)


def crop_landmarks(landmarks_T682: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """Landmarks in the pixels of the `size` x `size` picture that `apply_crop` makes, float32 [T, 68, 2].

    Pixel j covers j to j+1, before and after. A flip also exchanges left and right points.
    """
    top, left, height, width = crop.box
    scale_2 = np.array([size / width, size / height])
    mapped_T682 = ((landmarks_T682 - (left, top)) * scale_2).astype(np.float32)
    return flip_landmarks(mapped_T682, size) if crop.flip else mapped_T682


def _side(base: int, scale: float, size: int) -> int:
    """Side of a crop in pixels; one within 2 pixels of the output size becomes it and needs no resizing."""
    side = max(1, int(base * scale))
    return min(size, base) if abs(side - size) < 3 else side


@cache
def opencv() -> Any:
    """OpenCV on one thread."""
    import cv2

    # One decode actor is one core: OpenCV's own threads would only fight for it.
    cv2.setNumThreads(0)
    return cv2

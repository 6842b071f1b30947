"""Random resized crops: a random area at a random aspect, resized to a square, maybe mirrored.

Sources: torchvision's RandomResizedCrop, as MAE (arXiv 2111.06377, A.1) pre-trains with it: areas of .2 to 1, a flip.
Deliberate differences: a crop larger than the output is averaged down (INTER_AREA) and a smaller one interpolated
linearly; MAE's is bicubic. uint8 in, uint8 out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.transforms import Box, Crop

_TRIES = 10  # to find a crop that fits, as in torchvision


@dataclass(frozen=True)
class ResizedCropConfig:
    """Crops of pictures that show a face and little else."""

    size: int = 224
    """Height and width of the output."""
    area: tuple[float, float] = (0.2, 1.0)
    """Least and greatest share of the picture that a training crop shows; evaluation sees the largest centred square.
    """
    aspect: tuple[float, float] = (0.75, 1.3333)
    """Narrowest and widest crop, width over height."""
    flip: bool = True
    """Mirror half of the training pictures."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size={self.size} must be positive")
        check_ranges(self.area, self.aspect)


def check_ranges(area: tuple[float, float], aspect: tuple[float, float]) -> None:
    """Raises ValueError for what are no ranges of areas and aspects."""
    if not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"area={area} must be two shares in (0, 1], the smaller first")
    if not 0 < aspect[0] <= aspect[1]:
        raise ValueError(f"aspect={aspect} must be two positive ratios, the smaller first")


def draw_box(
    height: int, width: int, area: tuple[float, float], aspect: tuple[float, float], rng: np.random.Generator
) -> Box:
    """A random box of pictures of `height` x `width`: area uniform, the logarithm of the aspect too. Where none fits,
    after ten tries, the largest central one whose aspect is allowed."""
    for _ in range(_TRIES):
        pixels = height * width * rng.uniform(*area)
        ratio = np.exp(rng.uniform(*np.log(aspect)))
        high, wide = round(np.sqrt(pixels / ratio)), round(np.sqrt(pixels * ratio))
        if 0 < high <= height and 0 < wide <= width:
            top, left = rng.integers((height - high + 1, width - wide + 1)).tolist()
            return Box(top, left, high, wide)
    low, most = aspect
    high, wide = max(1, min(height, round(width / low))), max(1, min(width, round(height * most)))
    return Box((height - high) // 2, (width - wide) // 2, high, wide)


def draw_resized_crop(height: int, width: int, config: ResizedCropConfig, rng: np.random.Generator) -> Crop:
    """A random training crop of a frame of `height` x `width` pixels."""
    box = draw_box(height, width, config.area, config.aspect, rng)
    return Crop(box, bool(config.flip and rng.integers(2)))


def central_square(height: int, width: int) -> Crop:
    """What evaluation sees, never mirrored."""
    side = min(height, width)
    return Crop(Box((height - side) // 2, (width - side) // 2, side, side), False)

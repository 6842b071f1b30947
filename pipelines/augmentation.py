"""Augmentation of labelled clips: RandAugment, a random resized crop and a flip, uint8 to uint8.

Sources: the fine-tuning of VideoMAE (arXiv 2203.12602, appendix) and MAE-DFER (arXiv 2307.02227, 4.1), in their order:
RandAugment (arXiv 1909.13719, as in timm) on whole pictures, its operations filling with grey and interpolating
bicubically; then the crop, resized bilinearly, and the flip.
Deliberate differences:
- no float image is made between the two: pixels are rounded once more;
- a crop larger than the output is averaged down (INTER_AREA) instead of sampled;
- random numbers come from the generator alone, never from the global ones that timm draws from;
- posterizing leaves at least one bit: the strongest of timm's leaves none, which Pillow 13 refuses.

Cropping before RandAugment would be no cheaper, for pictures are as small as the output by then, and it would be
something else: rotations turn about the centre of the picture, and equalising looks at its whole histogram.
"""

from __future__ import annotations

import importlib.util
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.resized_crop import check_ranges, draw_box
from pipelines.transforms import Crop, apply_crop

if TYPE_CHECKING:
    from types import ModuleType

    from PIL.Image import Image

_RAND_AUGMENT = re.compile(
    r"(?!.*-([a-z]+)\d.*-\1\d)"  # nothing is said twice
    r"rand(-(m\d+|n[1-9]\d*|p(0\.\d+|1)|mstd\d+(\.\d+)?|mmax\d+|inc[01]))*"
)
_GREY = (128, 128, 128)

Operation = Callable[["Image"], "Image"]


@dataclass(frozen=True)
class AugmentationConfig:
    """How a clip is changed, each time differently, all of its frames alike."""

    rand_augment: str | None = "rand-m7-n4-mstd0.5-inc1"
    """timm's words: rand, then any of -m magnitude, -n operations, -p probability of each, -mstd deviation of the
    magnitude, -mmax its bound, -inc1 stronger with the magnitude; None: off."""
    area: tuple[float, float] = (0.08, 1.0)
    """Least and greatest share of the picture that a crop shows."""
    aspect: tuple[float, float] = (0.75, 1.3333)
    """Least and greatest width of a crop over its height."""
    flip: float = 0.5
    """Share of clips that are mirrored."""

    def __post_init__(self) -> None:
        if self.rand_augment is not None and not _RAND_AUGMENT.fullmatch(self.rand_augment):
            raise ValueError(
                f"rand_augment={self.rand_augment!r} must read like rand-m7-n4-mstd0.5-inc1 (m and n whole numbers, "
                "each word once), or be None to turn it off"
            )
        check_ranges(self.area, self.aspect)
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip={self.flip} must lie in [0, 1]")


def augment(
    picture_THWC: np.ndarray, config: AugmentationConfig, rng: np.random.Generator, *, out_THWC: np.ndarray
) -> None:
    """Writes an augmentation of a clip (uint8 RGB) into the preallocated `out_THWC` (uint8, contiguous), all frames
    alike. What is drawn depends on the generator and on the size of the picture, not on its pixels."""
    if config.rand_augment is not None:
        operations = draw_operations(config.rand_augment, rng)
        picture_THWC = apply_operations(picture_THWC, operations)
    apply_crop(picture_THWC, draw_crop(*picture_THWC.shape[1:3], config, rng), out_THWC)


def draw_operations(rand_augment: str, rng: np.random.Generator) -> list[Operation]:
    """The operations of one RandAugment on PIL images, with their magnitudes; none where each was left out."""
    timm, transform = _rand_augment(rand_augment)
    timm.random.seed(int(rng.integers(2**63)))
    drawn: list[Operation] = []
    for index in rng.integers(len(transform.ops), size=transform.num_layers):
        transform.ops[index](drawn)
    return drawn


def apply_operations(picture_THWC: np.ndarray, operations: list[Operation]) -> np.ndarray:
    """Every frame after the operations, uint8 [T, H, W, 3]."""
    from PIL import Image

    if not operations:
        return picture_THWC
    changed_THWC = np.empty_like(picture_THWC)
    for picture_HWC, changed_HWC in zip(picture_THWC, changed_THWC, strict=True):
        image = Image.fromarray(np.ascontiguousarray(picture_HWC))
        for operation in operations:
            image = operation(image)
        changed_HWC[:] = image
    return changed_THWC


def draw_crop(height: int, width: int, config: AugmentationConfig, rng: np.random.Generator) -> Crop:
    """A random resized crop of pictures of `height` x `width`, or its mirror image."""
    return Crop(draw_box(height, width, config.area, config.aspect, rng), bool(rng.random() < config.flip))


@cache
def _rand_augment(rand_augment: str) -> tuple[ModuleType, Any]:
    """timm's module, and its RandAugment whose operations take a list and add to it what they would have done."""
    from PIL.Image import Resampling

    timm = _timm_auto_augment()
    transform = timm.rand_augment_transform(rand_augment, {"img_mean": _GREY, "interpolation": Resampling.BICUBIC})
    for operation in transform.ops:
        operation.aug_fn = partial(_note, operation.aug_fn)
    return timm, transform


def _note(function: Callable[..., Image], drawn: list[Operation], *level: Any, **options: Any) -> list[Operation]:
    drawn.append(lambda image: function(image, *level, **options))
    return drawn


def _timm_auto_augment() -> ModuleType:
    """A copy of timm.data.auto_augment of our own, which draws from a random.Random of its own.

    `import timm` would bring torch into every decode process, some 700 MB and 4 s; this module needs none of it. And
    other threads draw from the global numbers, between the moment they are seeded and the moment they are used.
    """
    package = importlib.util.find_spec("timm")
    path = Path(package.submodule_search_locations[0], "data", "auto_augment.py")
    spec = importlib.util.spec_from_file_location(f"{__name__}.timm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.random = random.Random()
    for name in module.NAME_TO_OP:
        if module.NAME_TO_OP[name] is module.posterize:
            module.NAME_TO_OP[name] = partial(_posterize, module.posterize)
    return module


def _posterize(function: Callable[..., Image], image: Image, bits: int, **options: Any) -> Image:
    return function(image, max(1, bits), **options)

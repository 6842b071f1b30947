"""What a masked autoencoder predicts: normalised cubes, frame differences, pixels, and the way back to pixels.

VideoMAE (arXiv 2203.12602): every cube is normalised by its own mean and standard deviation, per colour channel, on
pixels in [0, 1]; unbiased variance, 1e-6 added to the standard deviation. MAE-DFER (arXiv 2307.02227, Eq. 2): of a
cube's two frames the first stays (appearance) and the second becomes its difference to the first (motion).

MAE (arXiv 2111.06377) has other statistics: of pixels that ImageNet's mean and deviation have normalised already, over
all values of a patch and its three colours together; unbiased variance, 1e-6 added to the variance. Without its
norm_pix_loss, as by the plain L2 of NetEase and CtyunAI, the target is those pixels.

Differences from the papers: none. Note that motion is the difference of the *normalised* frames, as in MAE-DFER's
code; it is not normalised again, so its variance is far below 1 in real video. The paper counts frames from one, so
its odd frames are index 0 here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.config import Target
from models.cubes import normalize_pixels, restore_pixels, unit_pixels

EPSILON = 1e-6
HALVES: tuple[Target, ...] = ("appearance", "motion")
"""Targets of half as many values as a cube, in the order of the cube."""


class CubeStatistics(NamedTuple):
    """Per cube and colour channel, shaped [..., 1, 3], or per cube, shaped [..., 1]."""

    mean: Tensor
    std: Tensor


def target_values(target: Target, cube_values: int) -> int:
    """Values predicted for each masked cube: all of its K, or one half of them."""
    return cube_values // 2 if target in HALVES else cube_values


def cube_statistics(cubes_K: Tensor) -> CubeStatistics:
    """Per channel of cubes [..., K], uint8 or floating in [0, 1]; epsilon is part of the standard deviation."""
    pixels = unit_pixels(cubes_K).unflatten(-1, (-1, 3))
    variance, mean = torch.var_mean(pixels, dim=-2, correction=1, keepdim=True)
    return CubeStatistics(mean, variance.sqrt() + EPSILON)


def patch_statistics(normalized_K: Tensor) -> CubeStatistics:
    """MAE's, of pixels [..., K] that are normalised as for an encoder; epsilon is part of the standard deviation."""
    variance, mean = torch.var_mean(normalized_K, dim=-1, correction=1, keepdim=True)
    return CubeStatistics(mean, (variance + EPSILON).sqrt())


def normalize_cubes(cubes_K: Tensor) -> Tensor:
    """Cubes [..., K], uint8 or floating in [0, 1], less their mean, over their standard deviation."""
    pixels_K = unit_pixels(cubes_K)
    mean, std = cube_statistics(pixels_K)
    return ((pixels_K.unflatten(-1, (-1, 3)) - mean) / std).flatten(-2)


def make_target(target: Target, cubes_K: Tensor) -> Tensor:
    """Target [..., K or K / 2] of cubes [..., K], uint8 or floating in [0, 1]; float32 unless they are float64.

    joint is appearance then motion; video_mae is both frames as they are, normalised; image_mae and pixels are MAE's.
    """
    if target in ("image_mae", "pixels"):
        pixels_K = normalize_pixels(cubes_K)
        if target == "pixels":
            return pixels_K
        mean, std = patch_statistics(pixels_K)
        return (pixels_K - mean) / std
    normalized_K = normalize_cubes(cubes_K)
    if target == "video_mae":
        return normalized_K
    appearance, second_frame = normalized_K.chunk(2, dim=-1)
    motion = second_frame - appearance
    return {"appearance": appearance, "motion": motion, "joint": torch.cat([appearance, motion], dim=-1)}[target]


def target_to_pixels(target: Target, values: Tensor, cubes_K: Tensor) -> Tensor:
    """Pixels of targets or predictions [..., K or K / 2], un-normalised with the statistics of the true cubes [..., K],
    of which pixels needs none.

    joint gives both frames (the difference added to the recovered first frame), video_mae, image_mae and pixels whole
    cubes, appearance the first frame; motion gives the difference of the two frames in the same units, around 0 instead
    of in [0, 1].
    """
    if target == "pixels":
        return restore_pixels(values)
    if target == "image_mae":
        mean, std = patch_statistics(normalize_pixels(cubes_K))
        return restore_pixels(values * std + mean)
    mean, std = cube_statistics(cubes_K)
    if target == "joint":
        appearance, motion = values.chunk(2, dim=-1)
        values = torch.cat([appearance, appearance + motion], dim=-1)
    pixels = values.unflatten(-1, (-1, 3)) * std
    return (pixels if target == "motion" else pixels + mean).flatten(-2)

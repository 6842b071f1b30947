"""Clips as cubes: cutting, choosing, putting back, and the embedding of cubes as tokens.

Shape letters as in models.tokens. The K values of a cube are ordered (frame, row, column, channel), channels last, as
in the whole VideoMAE family. Cubes for an encoder are chosen while they are still uint8: what a mask hides from it is
never converted, normalised or embedded.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import linear

from models.tokens import ClipGeometry

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_cubes(clip_BTHWC: Tensor, geometry: ClipGeometry) -> Tensor:
    """Cubes [B, N, K] of clips of any dtype. Raises ValueError unless the clips have the geometry's size."""
    expected = (geometry.frames, geometry.height, geometry.width, 3)
    if clip_BTHWC.ndim != 5 or tuple(clip_BTHWC.shape[1:]) != expected:
        raise ValueError(f"clips are {tuple(clip_BTHWC.shape)}, the geometry asks for (batch, *{expected})")
    t, p = geometry.tubelet, geometry.patch
    return rearrange(clip_BTHWC, "b (n t) (h p) (w q) c -> b (n h w) (t p q c)", t=t, p=p, q=p)


def from_cubes(cubes_BNK: Tensor, geometry: ClipGeometry) -> Tensor:
    """Inverse of `to_cubes`: clips [B, T, H, W, C]."""
    n, h, w = geometry.grid
    t, p = geometry.tubelet, geometry.patch
    pattern = "b (n h w) (t p q c) -> b (n t) (h p) (w q) c"
    return rearrange(cubes_BNK, pattern, n=n, h=h, w=w, t=t, p=p, q=p)


def take(x_BND: Tensor, index_BM: Tensor) -> Tensor:
    """Tokens [B, M, D] at positions index_BM (int64) of each row."""
    return x_BND.gather(1, index_BM[..., None].expand(-1, -1, x_BND.shape[-1]))


def put(x_BND: Tensor, index_BM: Tensor, values_BMD: Tensor) -> Tensor:
    """A copy of x_BND in which the tokens at positions index_BM (int64) are replaced by values of the same dtype."""
    return x_BND.scatter(1, index_BM[..., None].expand_as(values_BMD), values_BMD)


def unit_pixels(cubes_K: Tensor) -> Tensor:
    """Pixels in [0, 1]: uint8 becomes float32, floating pixels are taken to be in [0, 1] and keep their dtype."""
    return cubes_K.float() / 255 if cubes_K.dtype == torch.uint8 else cubes_K


def byte_pixels(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] as uint8, rounded; predictions outside are clipped."""
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def normalize_pixels(pixels_C: Tensor) -> Tensor:
    """What encoders eat: float32 (float64 for float64) pixels minus ImageNet's mean, over its standard deviation.

    The last axis is colour, or a cube's K values; other axes are free. Constants are made here, not kept as buffers:
    casting a module to bf16 would round them. They are filled in where the pixels are: copied there from the host, as
    by new_tensor, they would make it wait for a GPU.
    """
    pixels_C = unit_pixels(pixels_C)
    mean, std = _imagenet_statistics(pixels_C)
    return ((pixels_C.unflatten(-1, (-1, 3)) - mean) / std).flatten(-2)


def restore_pixels(normalized_C: Tensor) -> Tensor:
    """Inverse of `normalize_pixels`: pixels in [0, 1], or outside where the values are no image's."""
    mean, std = _imagenet_statistics(normalized_C)
    return (normalized_C.unflatten(-1, (-1, 3)) * std + mean).flatten(-2)


def _imagenet_statistics(like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (torch.stack([like.new_full((), x) for x in xs]) for xs in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


def sinusoid_table(num_positions: int, width: int) -> Tensor:
    """Fixed positions, float32 [num_positions, width]: sines at even, cosines at odd places, base 10000.

    One dimension over the flattened token index, as in VideoMAE, not one per axis of the grid.
    """
    frequency = np.power(10000.0, -2 * (np.arange(width) // 2) / width)
    angle = np.arange(num_positions)[:, None] * frequency
    table = np.where(np.arange(width) % 2 == 0, np.sin(angle), np.cos(angle))
    return torch.as_tensor(table.astype(np.float32))


class CubeEmbedding(nn.Module):
    """Linear map of cubes to tokens: a 3-D convolution whose stride is its kernel, applied to chosen cubes only.

    `weight` has the shape [D, C, tubelet, patch, patch] of that convolution.
    """

    def __init__(self, geometry: ClipGeometry, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 3, geometry.tubelet, geometry.patch, geometry.patch))
        self.bias = nn.Parameter(torch.empty(width))

    def init_weights(self) -> None:
        """torch's default for convolutions, which the VideoMAE family leaves as it is."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, cubes_BVK: Tensor) -> Tensor:
        """Tokens [B, V, D] of normalised cubes, which are cast to the dtype of the weights."""
        weight_DK = rearrange(self.weight, "d c t p q -> d (t p q c)")
        return linear(cubes_BVK.to(weight_DK.dtype), weight_DK, self.bias)

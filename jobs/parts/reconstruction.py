"""How well masked pixels are drawn, in numbers: a model's reconstruction beside three that have learned nothing.

Predictions are normalised cubes; pixels are made of them with each cube's *true* mean and deviation, as in the figures
of MAE-DFER (arXiv 2307.02227, Figures 4, 8 to 11). Those statistics alone draw a face: an untrained network, or one
that predicts zeros, reaches about 19 dB at 90 % masking. So a PSNR or a picture says something only beside
- zero: every cube is its mean (normalised prediction 0; for the joint target appearance 0 and difference 0),
- nearest: the normalised content of the nearest visible cube, with the masked cube's true statistics,
- nearest_raw: the pixels of the nearest visible cube as they are, the only one without true statistics.
Of the target pixels nothing is normalised by a cube: nobody has true statistics, zero is ImageNet's mean colour, and
nearest is nearest_raw.

Letters besides those of models.tokens: M masked tokens, P predicted ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.cubes import byte_pixels, from_cubes, put, to_cubes, unit_pixels
from models.masked_autoencoder import masked_ids
from models.targets import HALVES, Target, make_target, target_to_pixels
from models.tokens import ClipGeometry

GREY = 128
PSNR_CEILING = 100.0
"""Decibels said of identical pixels, whose PSNR is infinite: JSON and means over clips need a number."""


@dataclass(frozen=True)
class Reconstruction:
    """One clip drawn again under one mask. Videos are uint8 [T, H, W, 3]; their visible pixels are the clip's own."""

    clip: np.ndarray
    masked: np.ndarray
    """bool [T, H, W]: pixels of masked tokens."""
    predicted: np.ndarray
    """What the model says by itself: a video, grey where it predicts nothing."""
    drawn: dict[str, np.ndarray]
    """Video by predictor: model, zero, nearest, nearest_raw."""
    target: Target
    tubelet: int
    """Frames of a cube."""
    psnr: dict[str, float]
    """Decibels by predictor, over the masked pixels of those frames that the target speaks of: the first of each cube
    for appearance, the second for motion, all for the others."""
    mse: dict[str, float]
    """Mean squared error over masked tokens in the target's normalised units, by "predictor/part": parts appearance and
    motion, or pixels for targets of whole cubes; nearest_raw has none."""


def reconstruct(
    clip_THWC: Tensor,
    visible_V: Tensor,
    predicted_PK: Tensor,
    id_P: Tensor,
    *,
    geometry: ClipGeometry,
    target: Target,
) -> Reconstruction:
    """Draws and measures what `predicted_PK`, of the tokens `id_P` (`MaskedAutoencoder.reconstruct`), says of a clip.

    A motion target's difference is added to the true first frame. The appearance target never draws the second frame
    of a cube: its masked pixels stay grey.

    Raises:
        ValueError: a prediction that is not finite or of another shape than the mask and the target ask for.
    """
    cubes_NK = to_cubes(clip_THWC[None], geometry)[0]
    masked_M = masked_ids(visible_V.long()[None], geometry.num_tokens)[0]
    target_NK = make_target(target, cubes_NK)
    wanted_PK = target_NK[id_P]
    if predicted_PK.shape != wanted_PK.shape:
        raise ValueError(f"predictions are {tuple(predicted_PK.shape)}, target={target} has {tuple(wanted_PK.shape)}")
    if not predicted_PK.isfinite().all():
        raise ValueError("predictions hold NaN or infinity: the weights are damaged or training diverged")
    predicted_MK = predicted_PK[torch.isin(id_P, masked_M)]
    wanted_MK, true_MK = target_NK[masked_M], cubes_NK[masked_M]
    nearest_M = nearest_visible(geometry, visible_V, masked_M)
    predictions = {"model": predicted_MK, "zero": torch.zeros_like(wanted_MK), "nearest": target_NK[nearest_M]}
    pixels = {name: cube_pixels(target, values, true_MK) for name, values in predictions.items()}
    pixels["nearest_raw"] = unit_pixels(cubes_NK[nearest_M])
    predicted_pixels = cube_pixels(target, predicted_PK, cubes_NK[id_P])
    masked_NK = torch.zeros_like(cubes_NK, dtype=torch.bool)
    masked_NK[masked_M] = True
    return Reconstruction(
        clip=clip_THWC.numpy(),
        masked=from_cubes(masked_NK[None], geometry)[0, ..., 0].numpy(),
        predicted=_into_clip(torch.full_like(cubes_NK, GREY), id_P, predicted_pixels, geometry),
        drawn={name: _into_clip(cubes_NK, masked_M, values, geometry) for name, values in pixels.items()},
        target=target,
        tubelet=geometry.tubelet,
        psnr={name: psnr(_compared(target, values), _compared(target, true_MK)) for name, values in pixels.items()},
        mse={
            f"{name}/{part}": float((values - wanted).square().mean())
            for name, prediction in predictions.items()
            for part, values, wanted in _parts(target, prediction, wanted_MK)
        },
    )


def nearest_visible(geometry: ClipGeometry, visible_V: Tensor, masked_M: Tensor) -> Tensor:
    """The visible token nearest to each masked one, int64 [M]: least Euclidean distance between the centres of the
    cubes, in frames along time and in pixels along rows and columns; of equally near ones the lowest id."""
    visible_V = visible_V.long().sort().values
    visible_V3, masked_M3 = (_corners(geometry, ids) for ids in (visible_V, masked_M))
    squared_MV = (masked_M3[:, None] - visible_V3[None]).square().sum(-1)  # integers: ties are exact
    return visible_V[torch.as_tensor(squared_MV.numpy().argmin(axis=1))]  # NumPy's argmin takes the first of equals


def cube_pixels(target: Target, values_MK: Tensor, cubes_MK: Tensor) -> Tensor:
    """Both frames of cubes, float32 [M, K] in [0, 1], from values of the target [M, K or K / 2] and the true cubes."""
    pixels = target_to_pixels(target, values_MK, cubes_MK)
    if target == "appearance":
        pixels = torch.cat([pixels, torch.full_like(pixels, GREY / 255)], dim=-1)
    if target == "motion":
        first = unit_pixels(cubes_MK).chunk(2, dim=-1)[0]
        pixels = torch.cat([first, first + pixels], dim=-1)
    return pixels.clamp(0, 1)


def psnr(pixels: Tensor, true: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels, at most PSNR_CEILING; peak 1 for pixels in [0, 1], 255 for uint8."""
    error = float((unit_pixels(pixels).double() - unit_pixels(true).double()).square().mean())
    return min(PSNR_CEILING, -10 * float(np.log10(error))) if error > 0 else PSNR_CEILING


def _corners(geometry: ClipGeometry, ids: Tensor) -> Tensor:
    grid = np.stack(np.unravel_index(ids.numpy(), geometry.grid), axis=-1)
    return torch.as_tensor(grid * (geometry.tubelet, geometry.patch, geometry.patch))


def _compared(target: Target, cubes_MK: Tensor) -> Tensor:
    return cubes_MK.chunk(2, dim=-1)[HALVES.index(target)] if target in HALVES else cubes_MK


def _parts(target: Target, values: Tensor, wanted: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    if target == "joint":
        return list(zip(("appearance", "motion"), values.chunk(2, dim=-1), wanted.chunk(2, dim=-1), strict=True))
    return [(target if target in HALVES else "pixels", values, wanted)]


def _into_clip(cubes_NK: Tensor, id_M: Tensor, pixels_MK: Tensor, geometry: ClipGeometry) -> np.ndarray:
    return from_cubes(put(cubes_NK[None], id_M[None], byte_pixels(pixels_MK)[None]), geometry)[0].numpy()

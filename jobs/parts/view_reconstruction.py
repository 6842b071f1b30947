"""How well another view is drawn, in numbers: a model's reconstruction beside the predictor of zeros.

As in jobs.parts.reconstruction, pixels are made of predictions with each cube's *true* mean and deviation, here those
of the target view, which alone draw a face: a picture says something only beside the zero predictor's. Raw pixels
(target=pixels) are drawn as they are predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs.parts.reconstruction import cube_pixels, psnr
from models.cubes import byte_pixels, from_cubes, put, to_cubes
from models.targets import Target
from models.tokens import ClipGeometry

GREY = 128


@dataclass(frozen=True)
class ViewReconstruction:
    """One take drawn from another view. Videos are uint8 [T, H, W, 3]."""

    clip: np.ndarray
    """The input view."""
    hidden: np.ndarray
    """bool [T, H, W]: pixels that the encoder did not see."""
    target: np.ndarray
    """The target view as it is."""
    drawn: dict[str, np.ndarray]
    """Video by predictor: model, zero. What is not predicted is the clip's own where it is the target, else grey."""
    psnr: dict[str, float]
    """Decibels by predictor, over the predicted pixels."""


def reconstruct_view(
    clip_THWC: Tensor,
    target_THWC: Tensor,
    visible_V: Tensor,
    predicted_PK: Tensor,
    id_P: Tensor,
    *,
    geometry: ClipGeometry,
    target: Target,
    is_same_view: bool,
) -> ViewReconstruction:
    """Draws and measures predictions (`MultiViewAutoencoder.reconstruct`) of the tokens `id_P`.

    Raises:
        ValueError: a prediction that is not finite.
    """
    if not predicted_PK.isfinite().all():
        raise ValueError("predictions hold NaN or infinity: the weights are damaged or training diverged")
    target_NK = to_cubes(target_THWC[None], geometry)[0]
    under_NK = target_NK if is_same_view else torch.full_like(target_NK, GREY)
    true_PK = target_NK[id_P]
    predictions = {"model": predicted_PK, "zero": torch.zeros_like(predicted_PK)}
    pixels = {name: cube_pixels(target, values, true_PK) for name, values in predictions.items()}
    hidden_N = torch.ones(geometry.num_tokens, dtype=torch.bool)
    hidden_N[visible_V.long()] = False
    hidden_NK = hidden_N[:, None].expand_as(target_NK)
    return ViewReconstruction(
        clip=clip_THWC.numpy(),
        hidden=from_cubes(hidden_NK[None], geometry)[0, ..., 0].numpy(),
        target=target_THWC.numpy(),
        drawn={
            name: from_cubes(put(under_NK[None], id_P[None], byte_pixels(values)[None]), geometry)[0].numpy()
            for name, values in pixels.items()
        },
        psnr={name: psnr(values, true_PK) for name, values in pixels.items()},
    )

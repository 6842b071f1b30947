"""Brushes: smooth noise, blending, curves through points."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], blur: float) -> np.ndarray:
    """Smooth noise of unit variance."""
    shrink = max(1, int(blur))
    coarse = rng.normal(0, 1, (shape[0] // shrink + 3, shape[1] // shrink + 3)).astype(np.float32)
    soft = cv2.GaussianBlur(coarse, (0, 0), max(blur / shrink, 0.6))
    noise = cv2.resize(soft, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return noise / noise.std()


def blend(image: np.ndarray, mask: np.ndarray, colour: tuple[float, ...] | np.ndarray) -> None:
    """Moves an image [h,w,3] towards a colour, in place, by a mask [h,w] of 0..1."""
    image += mask[..., None] * (np.asarray(colour, np.float32) - image)


def curve(points_M2: np.ndarray, count: int) -> np.ndarray:
    """Smooth curve [count,2] through points without overshoot."""
    return PchipInterpolator(np.linspace(0, 1, len(points_M2)), points_M2)(np.linspace(0, 1, count))

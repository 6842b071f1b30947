"""Light and background, drawn without knowledge of who is on screen or how they feel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Scene:
    """One shot's surroundings."""

    light_yaw: float
    """Degrees; positive: the key light comes from the image right."""
    light_pitch: float
    """Degrees above the horizon."""
    key: tuple[float, float, float]
    """Linear RGB strength of the key light."""
    ambient: tuple[float, float, float]
    bounce: float
    """Light from below as a share of the ambient light."""
    exposure: float
    background_seed: int
    pan: tuple[float, float]
    """Drift of the background in picture widths per second."""
    zoom: float
    """Growth of the background per second."""


def draw_scene(rng: np.random.Generator) -> Scene:
    warmth = rng.uniform(-0.18, 0.18)
    cool = rng.uniform(-0.10, 0.10)
    contrast = rng.uniform(0.35, 0.68)
    return Scene(
        light_yaw=float(rng.uniform(-65, 65)),
        light_pitch=float(rng.uniform(5, 60)),
        key=tuple(float(contrast * c) for c in (1 + warmth, 1.0, 1 - warmth)),
        ambient=tuple(float((1 - contrast) * c) for c in (1 - cool, 1.0, 1 + cool)),
        bounce=float(rng.uniform(0.35, 0.75)),
        exposure=float(rng.uniform(0.90, 1.20)),
        background_seed=int(rng.integers(2**31)),
        pan=(float(rng.normal(0, 0.02)), float(rng.normal(0, 0.006))),
        zoom=float(rng.normal(0, 0.01)),
    )


def light_direction(scene: Scene) -> np.ndarray:
    """Unit vector [3] towards the key light, in the coordinates of a frontal camera."""
    yaw, pitch = np.radians((scene.light_yaw, scene.light_pitch))
    return np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), -np.cos(yaw) * np.cos(pitch)])


def paint_background(scene: Scene, size: int) -> np.ndarray:
    """A blurred room, street or studio, uint8 [2*size, 2*size, 3]; frames show its moving middle."""
    rng = np.random.default_rng(scene.background_seed)
    side = 256
    base, other = _muted(rng, 25, 190), _muted(rng, 15, 170)
    t = np.linspace(0, 1, side)[:, None, None] if rng.random() < 0.6 else np.linspace(0, 1, side)[None, :, None]
    image = np.broadcast_to(base * (1 - t) + other * t, (side, side, 3)).astype(np.float32).copy()
    for _ in range(rng.integers(3, 14)):
        colour = _muted(rng, 10, 225)
        x, y = rng.uniform(0, side, 2)
        w, h = rng.uniform(10, 90), rng.uniform(10, 140)
        if rng.random() < 0.7:
            cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), colour.tolist(), -1)
        else:
            cv2.circle(image, (int(x), int(y)), int(w / 2), colour.tolist(), -1)
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(1.5, 9.0)))
    for _ in range(rng.integers(0, 10)):
        x, y, radius = *rng.uniform(0, side, 2), rng.uniform(3, 9)
        glow = np.zeros_like(image)
        centre, colour = (int(x * 16), int(y * 16)), rng.uniform(60, 160, 3).tolist()
        cv2.circle(glow, centre, int(radius * 16), colour, -1, cv2.LINE_AA, 4)
        image += cv2.GaussianBlur(glow, (0, 0), 1.0)
    image = image * scene.exposure * rng.uniform(0.55, 1.0) + rng.normal(0, 2.5, image.shape)
    return cv2.resize(np.clip(image, 0, 255).astype(np.uint8), (2 * size, 2 * size), interpolation=cv2.INTER_CUBIC)


def _muted(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """A colour of an interior: mostly grey."""
    return rng.uniform(low, high) * (1 + rng.normal(0, 0.14, 3)).clip(0.6, 1.4)


def background_frame(painted: np.ndarray, scene: Scene, seconds: float, size: int) -> np.ndarray:
    """What the camera sees of the background at a time, uint8 [size,size,3]."""
    scale = 1 / (1.15 * (1 + scene.zoom * seconds))
    centre = size + np.array(scene.pan) * seconds * size
    offset = centre - scale * size / 2
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(painted, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)

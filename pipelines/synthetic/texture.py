"""One texture atlas per person: the colours of all parts side by side."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.synthetic.identity import Identity
from pipelines.synthetic.paint import blend, smooth_noise
from pipelines.synthetic.skin import paint_skin

ATLAS_HEIGHT, ATLAS_WIDTH = 640, 1024
REGIONS = {
    "skin": (0, 0, 625, 577),
    "hair": (0, 584, 256, 436),
    "cloth": (260, 584, 128, 200),
    "eye": (260, 790, 128, 128),
    "ear": (392, 584, 100, 130),
    "teeth_upper": (392, 720, 40, 140),
    "teeth_lower": (436, 720, 40, 140),
    "tongue": (480, 720, 40, 60),
    "cavity": (480, 784, 40, 60),
    "rim_upper": (500, 584, 12, 60),
    "rim_lower": (500, 650, 12, 60),
    "lash_upper": (516, 584, 12, 60),
    "lash_lower": (516, 650, 12, 60),
    "glasses": (532, 584, 12, 12),
}
"""Top, left, height and width of each part's texture."""


def region_uv(region: str, rows: int, columns: int) -> np.ndarray:
    """Texture coordinates [rows*columns, 2] in 0..1 of a patch that fills a region."""
    top, left, height, width = REGIONS[region]
    v, u = np.meshgrid(np.linspace(0, height - 1, rows), np.linspace(0, width - 1, columns), indexing="ij")
    return np.stack([(left + u + 0.5) / ATLAS_WIDTH, (top + v + 0.5) / ATLAS_HEIGHT], -1).reshape(-1, 2)


def _paint_eye(identity: Identity, rng: np.random.Generator) -> np.ndarray:
    size = REGIONS["eye"][2]
    axis = (np.arange(size) - size / 2 + 0.5) / (size / 2)
    x, y = np.meshgrid(axis, axis)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    image = np.empty((size, size, 3), np.float32)
    image[:] = (214, 206, 202)
    image -= (np.clip(radius - 0.35, 0, 1) * 90)[..., None] * np.array((0.6, 1, 1), np.float32)
    iris_radius, pupil_radius = 0.405, 0.165
    fibre = 1 + 0.16 * np.sin(angle * 37 + 3 * np.sin(angle * 5)) + 0.10 * smooth_noise(rng, (size, size), 2)
    iris = np.array(identity.iris, np.float32) * (fibre * (1.25 - 0.5 * radius / iris_radius))[..., None]
    iris *= (1 - 0.6 * np.clip((radius - 0.33) / 0.07, 0, 1))[..., None]
    blend(image, np.clip((iris_radius - radius) / 0.025 + 0.5, 0, 1), iris)
    blend(image, np.clip((pupil_radius - radius) / 0.03 + 0.5, 0, 1), (10, 8, 8))
    return image


def _paint_teeth(name: str) -> np.ndarray:
    _, _, height, width = REGIONS[name]
    image = np.empty((height, width, 3), np.float32)
    image[:] = (224, 214, 194)
    u = (np.arange(width) - width / 2 + 0.5) / (width / 2)
    edges = np.array((0.0, 0.16, 0.29, 0.42, 0.54, 0.65, 0.76)) * (0.85 if name == "teeth_lower" else 1.0)
    gap = sum(np.exp(-(((np.abs(u) - edge) / 0.012) ** 2)) for edge in edges)
    image *= (1 - 0.35 * np.clip(gap, 0, 1))[None, :, None]
    image *= (1 - 0.75 * np.clip(np.abs(u) - 0.25, 0, 1))[None, :, None]
    v = np.linspace(0, 1, height)
    gum = np.clip((0.30 - v) / 0.08, 0, 1) if name == "teeth_upper" else np.clip((v - 0.70) / 0.08, 0, 1)
    blend(image, gum[:, None], (150, 76, 76))
    return image


def _gradient(region: str, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    _, _, height, width = REGIONS[region]
    t = np.linspace(0, 1, height)[:, None, None]
    return np.broadcast_to((1 - t) * start + t * end, (height, width, 3)).astype(np.float32)


def _paint_hair(identity: Identity, rng: np.random.Generator) -> np.ndarray:
    _, _, height, width = REGIONS["hair"]
    coarse = [rng.normal(0, 1, shape).astype(np.float32) for shape in ((height // 16 + 2, width), (5, width // 7))]
    strands, clumps = (cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) for noise in coarse)
    tone = 1 + 0.11 * strands + 0.10 * clumps
    root = 0.8 + 0.2 * np.clip(np.linspace(0, 4, height), 0, 1)
    return np.array(identity.hair_colour, np.float32) * (tone * root[:, None])[..., None].clip(0.3, 2)


def _paint_cloth(identity: Identity, rng: np.random.Generator) -> np.ndarray:
    _, _, height, width = REGIONS["cloth"]
    image = np.empty((height, width, 3), np.float32)
    image[:] = identity.cloth
    kind = rng.integers(4)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    if kind == 1:
        image *= np.where((v // 9) % 2, 1.0, 0.72)[..., None]
    elif kind == 2:
        image *= np.where((u // 6) % 2, 1.0, 0.85)[..., None] * np.where((v // 8) % 2, 1.0, 0.85)[..., None]
    collar = np.clip((0.30 - np.linspace(0, 1, height)) / 0.02, 0, 1)
    image *= (1 - 0.30 * np.exp(-(((np.linspace(0, 1, height) - 0.29) / 0.02) ** 2)))[:, None, None]
    image *= 1 + 0.05 * collar[:, None, None]
    return (
        image
        * (1 + 0.06 * smooth_noise(rng, (height, width), 6) + 0.03 * smooth_noise(rng, (height, width), 1))[..., None]
    )


def _paint_ear(identity: Identity, rng: np.random.Generator) -> np.ndarray:
    _, _, height, width = REGIONS["ear"]
    image = np.empty((height, width, 3), np.float32)
    image[:] = np.array(identity.skin) * (1.0, 0.90, 0.88)
    radius = np.linspace(0, 1, height)
    hollow = 0.55 * np.exp(-((radius / 0.35) ** 2)) + 0.28 * np.exp(-(((radius - 0.76) / 0.07) ** 2))
    return image * (1 - hollow[:, None, None]) * (1 + 0.03 * smooth_noise(rng, (height, width), 4))[..., None]


def paint_atlas(identity: Identity) -> np.ndarray:
    """Texture of one person, uint8 [640,1024,3] sRGB."""
    rng = np.random.default_rng(identity.texture_seed)
    skin = np.array(identity.skin)
    lash, flesh = 0.4 * np.array(identity.hair_colour), skin * (0.80, 0.52, 0.50)
    frame = np.array(((24, 22, 24), (70, 46, 30), (90, 92, 98))[rng.integers(3)])
    painted = {
        "skin": paint_skin(identity, rng),
        "hair": _paint_hair(identity, rng),
        "cloth": _paint_cloth(identity, rng),
        "eye": _paint_eye(identity, rng),
        "ear": _paint_ear(identity, rng),
        "teeth_upper": _paint_teeth("teeth_upper"),
        "teeth_lower": _paint_teeth("teeth_lower"),
        "tongue": _gradient("tongue", np.array((120, 50, 50)), np.array((186, 92, 92))),
        "cavity": _gradient("cavity", flesh, np.array((14, 6, 8))),
        "rim_upper": _gradient("rim_upper", lash, 0.5 * flesh),
        "rim_lower": _gradient("rim_lower", flesh, 0.8 * flesh),
        "lash_upper": _gradient("lash_upper", lash, lash),
        "lash_lower": _gradient("lash_lower", 0.35 * skin, 0.75 * skin),
        "glasses": _gradient("glasses", frame, frame),
    }
    atlas = np.zeros((ATLAS_HEIGHT, ATLAS_WIDTH, 3), np.uint8)
    for region, (top, left, height, width) in REGIONS.items():
        if painted[region].shape != (height, width, 3):
            raise ValueError(f"texture {region} is {painted[region].shape}, its region is {height} x {width}")
        atlas[top : top + height, left : left + width] = np.clip(painted[region], 0, 255).astype(np.uint8)
    return atlas

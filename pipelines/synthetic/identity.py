"""Who is on screen: proportions, skin, hair, eyes. Drawn from a seed that knows nothing of emotions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.head import head_mesh
from pipelines.synthetic.template import EYE_SLIT_Y, MOUTH_SLIT_Y

SHAPE_MODES = (
    "face_width", "jaw_width", "chin_length", "chin_forward", "nose_length", "nose_width", "nose_forward",
    "nose_bridge", "eye_size", "eye_spacing", "eye_tilt", "brow_height", "brow_ridge", "mouth_width",
    "upper_lip", "lower_lip", "mouth_height", "cheek_fullness", "forehead_height", "neck_width",
)  # fmt: skip

SKIN_TONES = (
    (246, 214, 194), (236, 196, 170), (224, 180, 150), (208, 160, 126),
    (186, 136, 102), (156, 108, 78), (124, 82, 58), (96, 62, 46),
)  # fmt: skip
"""Albedo in sRGB from light to dark, after the Fitzpatrick scale."""
HAIR_COLOURS = (
    (28, 22, 20), (40, 28, 22), (62, 42, 30), (92, 64, 42), (128, 92, 58), (172, 134, 84), (120, 58, 34),
    (148, 144, 140),
)  # fmt: skip
IRIS_COLOURS = ((74, 48, 30), (58, 36, 24), (96, 70, 40), (92, 104, 72), (84, 116, 140), (112, 134, 150))
CLOTH_COLOURS = (
    (38, 42, 54), (70, 74, 82), (96, 40, 44), (44, 66, 96), (58, 84, 66), (160, 156, 148), (120, 96, 70),
    (28, 28, 30), (96, 84, 128), (186, 180, 170),
)  # fmt: skip
HAIR_STYLES = ("bald", "buzz", "short", "swept", "bob", "long")


@dataclass(frozen=True)
class Identity:
    """Everything constant about one person. Shape values are standard deviations from the average face."""

    shape: tuple[float, ...]
    asymmetry_seed: int
    skin: tuple[float, float, float]
    redness: float
    freckles: float
    stubble: float
    age: float
    """0 young .. 1 old: resting folds, blotches, grey hair."""
    lip: float
    """Saturation of the lips, 0 natural .. 1 made up."""
    hair_style: str
    hair_colour: tuple[float, float, float]
    hair_volume: float
    hairline: float
    fringe: float
    brow_thickness: float
    brow_darkness: float
    iris: tuple[float, float, float]
    cloth: tuple[float, float, float]
    glasses: bool
    texture_seed: int

    def shape_value(self, mode: str) -> float:
        return self.shape[SHAPE_MODES.index(mode)]


def _jitter_colour(rng: np.random.Generator, colour: tuple[int, int, int], spread: float) -> tuple[float, float, float]:
    base = np.array(colour, float) * rng.uniform(1 - spread, 1 + spread) * (1 + rng.normal(0, 0.02, 3))
    return tuple(float(c) for c in np.clip(base, 4, 250))


def draw_identity(rng: np.random.Generator) -> Identity:
    tone = int(rng.integers(len(SKIN_TONES)))
    age = float(rng.beta(1.6, 2.4))
    hair_colours = HAIR_COLOURS[: 3 if tone >= 4 else len(HAIR_COLOURS)]
    hair = HAIR_COLOURS[-1] if rng.random() < max(0.0, age - 0.45) else hair_colours[rng.integers(len(hair_colours))]
    irises = IRIS_COLOURS[:3] if tone >= 3 else IRIS_COLOURS
    return Identity(
        shape=tuple(float(v) for v in np.clip(rng.normal(0, 0.8, len(SHAPE_MODES)), -1.8, 1.8)),
        asymmetry_seed=int(rng.integers(2**31)),
        skin=_jitter_colour(rng, SKIN_TONES[tone], 0.05),
        redness=float(rng.uniform(0.2, 1.0)),
        freckles=float(max(0.0, rng.uniform(-0.8, 0.8)) if tone < 3 else 0.0),
        stubble=float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.5), rng.uniform(0.5, 1.0)])),
        age=age,
        lip=float(rng.beta(1.2, 2.5)),
        hair_style=str(rng.choice(HAIR_STYLES, p=(0.06, 0.12, 0.26, 0.22, 0.16, 0.18))),
        hair_colour=_jitter_colour(rng, hair, 0.15),
        hair_volume=float(rng.uniform(0.6, 1.4)),
        hairline=float(rng.normal(0, 0.05)),
        fringe=float(max(0.0, rng.uniform(-1.2, 1.0))),
        brow_thickness=float(rng.uniform(0.7, 1.35)),
        brow_darkness=float(rng.uniform(0.65, 1.0)),
        iris=_jitter_colour(rng, irises[rng.integers(len(irises))], 0.15),
        cloth=_jitter_colour(rng, CLOTH_COLOURS[rng.integers(len(CLOTH_COLOURS))], 0.2),
        glasses=bool(rng.random() < 0.18),
        texture_seed=int(rng.integers(2**31)),
    )


def _ramp(x: np.ndarray, start: float, end: float) -> np.ndarray:
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _near(position_K3: np.ndarray, centre: tuple[float, float], size: tuple[float, float]) -> np.ndarray:
    """Bell of height 1 around a frontal position, on both halves, for points on the front of the head."""
    x, y, z = position_K3.T
    bell = np.exp(-0.5 * (((np.abs(x) - centre[0]) / size[0]) ** 2 + ((y - centre[1]) / size[1]) ** 2))
    return bell * _ramp(-z, -0.6, -0.3)


def control_positions(identity: Identity) -> np.ndarray:
    """Where the control points of the identity's neutral face lie, float [K,3] in D."""
    head = head_mesh()
    value = dict(zip(SHAPE_MODES, identity.shape, strict=True))
    p = head.rest_K3.copy()
    rest = head.rest_K3
    x, y, _ = rest.T
    sign, face = np.sign(x), _ramp(-rest[:, 2], -1.2, -0.2)
    eye = _near(rest, (0.345, EYE_SLIT_Y), (0.16, 0.09))
    nose = _near(rest, (0.0, 0.36), (0.16, 0.17))
    mouth = _near(rest, (0.0, MOUTH_SLIT_Y), (0.30, 0.10))
    jaw = _ramp(y, 0.45, 1.0) * _ramp(-y, -1.5, -1.3)
    p[:, 0] += x * (0.045 * value["face_width"] + 0.055 * value["jaw_width"] * jaw)
    p[:, 1] += 0.055 * value["chin_length"] * _ramp(y, 0.80, 1.15) * _ramp(-y, -2.0, -1.3)
    p[:, 2] -= 0.035 * value["chin_forward"] * _near(rest, (0.0, 1.08), (0.35, 0.16))
    p[:, 1] += 0.030 * value["nose_length"] * nose
    p[:, 0] += x * 0.12 * value["nose_width"] * _near(rest, (0.12, 0.42), (0.12, 0.10))
    p[:, 2] -= 0.035 * value["nose_forward"] * _near(rest, (0.0, 0.36), (0.09, 0.12))
    p[:, 2] -= 0.025 * value["nose_bridge"] * _near(rest, (0.0, 0.13), (0.07, 0.13))
    p[:, 1] += 0.13 * value["eye_size"] * (y + 0.017) * eye
    p[:, 0] += sign * (0.020 * value["eye_spacing"] + 0.04 * value["eye_size"] * (np.abs(x) - 0.345)) * eye
    p[:, 1] -= 0.055 * value["eye_tilt"] * (np.abs(x) - 0.345) * eye
    p[:, 1] -= 0.022 * value["brow_height"] * _near(rest, (0.36, -0.22), (0.25, 0.06))
    p[:, 2] -= 0.022 * value["brow_ridge"] * _near(rest, (0.28, -0.20), (0.28, 0.08))
    p[:, 0] += x * 0.085 * value["mouth_width"] * mouth
    for mode, direction in (("upper_lip", -1), ("lower_lip", 1)):
        distance = np.clip(direction * (y - MOUTH_SLIT_Y), 0, 0.14)
        p[:, 1] += direction * 0.18 * value[mode] * distance * mouth
        p[:, 2] -= 0.25 * value[mode] * np.clip(distance, 0, 0.05) * mouth
    p[:, 1] += 0.022 * value["mouth_height"] * _near(rest, (0.0, MOUTH_SLIT_Y + 0.02), (0.4, 0.16))
    p[:, 0] += sign * 0.030 * value["cheek_fullness"] * _near(rest, (0.5, 0.55), (0.2, 0.22))
    p[:, 2] -= 0.030 * value["cheek_fullness"] * _near(rest, (0.42, 0.45), (0.2, 0.2))
    p[:, 1] -= 0.06 * value["forehead_height"] * _ramp(-y, 0.3, 0.9)
    p[:, 0] += x * 0.07 * value["neck_width"] * _ramp(y, 1.2, 1.5)
    uneven = np.random.default_rng(identity.asymmetry_seed).normal(0, 0.004, p.shape)
    pairs = face * (np.abs(x) > 0.25) * (eye + mouth < 0.2)
    return p + uneven * pairs[:, None]

"""The colour of skin, lips and brows, painted on the chart of the head so that it moves with the mesh."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from pipelines.synthetic.expressions import au_index
from pipelines.synthetic.hair import hairline
from pipelines.synthetic.head import HeadMesh, head_mesh
from pipelines.synthetic.identity import Identity
from pipelines.synthetic.muscles import crease_fields
from pipelines.synthetic.paint import blend, curve, smooth_noise
from pipelines.synthetic.template import azimuth

TEXELS_PER_CELL = 6
UPPER_LIP = ("p48", "p49", "p50", "p51", "p52", "p53", "p54")
LOWER_LIP = ("p48", "p59", "p58", "p57", "p56", "p55", "p54")
BROWS = ((("p21", "p20", "p19", "p18", "p17"), -1), (("p22", "p23", "p24", "p25", "p26"), 1))
"""Landmarks from the nose outwards, and the direction along u that leads outwards."""
RESTING_FOLDS = {12: 0.30, 10: 0.25, 4: 0.30, 1: 0.40, 2: 0.25, 6: 0.45, 7: 0.5, 15: 0.35, 17: 0.25}
"""Share of an action unit's fold that a very old face keeps at rest."""


@lru_cache(maxsize=1)
def _maps() -> tuple[np.ndarray, np.ndarray]:
    """Position [3,h,w] on the average face and folds [18,h,w] of every texel."""
    head = head_mesh()
    rows, columns = head.grid.rows, head.grid.columns
    along, down = (
        np.arange((n - 1) * TEXELS_PER_CELL + 1, dtype=np.float32) / TEXELS_PER_CELL for n in (columns, rows)
    )
    column, row = np.meshgrid(along, down)

    def spread(values_N: np.ndarray) -> np.ndarray:
        return cv2.remap(values_N.reshape(rows, columns).astype(np.float32), column, row, cv2.INTER_LINEAR)

    return np.stack([spread(v) for v in head.template_3N]), np.stack([spread(v) for v in crease_fields()])


def _bell(centre: tuple[float, float], size: tuple[float, float]) -> np.ndarray:
    """Soft spots of height 1 on both halves of the average face."""
    x, y, z = _maps()[0]
    bell = np.exp(-0.5 * (((np.abs(x) - centre[0]) / size[0]) ** 2 + ((y - centre[1]) / size[1]) ** 2))
    return bell * (z < 0.8)


def _texels(head: HeadMesh, names: tuple[str, ...]) -> np.ndarray:
    """Texel (u, v) of control points, [M,2]."""
    vertex_M = head.control_vertex_K[[head.controls.index(name) for name in names]]
    return np.stack([vertex_M % head.grid.columns, vertex_M // head.grid.columns], -1) * float(TEXELS_PER_CELL)


def paint_skin(identity: Identity, rng: np.random.Generator) -> np.ndarray:
    """Skin of one person, float32 [h,w,3] sRGB 0..255, TEXELS_PER_CELL texels per cell of the head's grid."""
    head = head_mesh()
    image = np.empty((*_maps()[0].shape[1:], 3), np.float32)
    image[:] = identity.skin
    _paint_blood(identity, image, rng)
    _paint_texture(identity, image, rng)
    _paint_hair_growth(identity, image, rng)
    _paint_lips(identity, image, head)
    _paint_nostrils(identity, image)
    _paint_lids(image, head)
    brow = 0.75 * np.array(identity.hair_colour) + 0.02 * np.array(identity.skin)
    blend(image, 0.92 * identity.brow_darkness * _brow_mask(identity, head, image.shape[:2], rng), brow)
    return image


def _paint_blood(identity: Identity, image: np.ndarray, rng: np.random.Generator) -> None:
    """Red cheeks and nose, tired eyes."""
    blood = _bell((0.40, 0.32), (0.17, 0.17)) + 0.7 * _bell((0.0, 0.38), (0.13, 0.10))
    blood += 0.4 * _bell((0.0, 1.05), (0.2, 0.1)) + 0.35 * smooth_noise(rng, image.shape[:2], 28)
    image *= 1 + identity.redness * blood.clip(-0.5, 1.2)[..., None] * np.array((0.015, -0.085, -0.085), np.float32)
    tired = _bell((0.33, 0.075), (0.13, 0.035)) + 0.8 * _bell((0.17, 0.0), (0.05, 0.07))
    image *= 1 - (0.08 + 0.10 * identity.age) * tired[..., None] * np.array((0.8, 1.0, 0.8), np.float32)
    image *= 1 - 0.10 * _bell((0.34, -0.075), (0.13, 0.035))[..., None]


def _paint_texture(identity: Identity, image: np.ndarray, rng: np.random.Generator) -> None:
    """Blotches, pores, freckles and the folds that stay."""
    shape = image.shape[:2]
    mottle = sum(weight * smooth_noise(rng, shape, blur) for weight, blur in ((0.016, 9), (0.014, 3), (0.016, 1)))
    image *= 1 + (0.7 + 0.6 * identity.age) * mottle[..., None]
    spots = (smooth_noise(rng, shape, 2) > 2.2) * _bell((0.25, 0.2), (0.35, 0.25)).astype(np.float32)
    spots = cv2.GaussianBlur(spots, (0, 0), 0.8)[..., None]
    image *= 1 - 0.35 * identity.freckles * spots * np.array((0.6, 1, 1), np.float32)
    folds = _maps()[1]
    rest = sum(share * identity.age * folds[au_index(unit)] for unit, share in RESTING_FOLDS.items())
    image *= 1 - 0.5 * np.clip(rest, 0, 1)[..., None] * np.array((0.85, 1, 1), np.float32)


def _paint_hair_growth(identity: Identity, image: np.ndarray, rng: np.random.Generator) -> None:
    """Stubble, and the roots that soften the hairline."""
    x, y, z = _maps()[0]
    angle = azimuth(x, z)
    hair = np.array(identity.hair_colour, np.float32)
    jaw = np.clip((y - 0.50) / 0.14, 0, 1) * np.clip((1.30 - y) / 0.1, 0, 1) * np.clip(1.45 - np.abs(angle), 0, 1)
    bare = _bell((0.0, 0.73), (0.20, 0.075)) + 0.6 * _bell((0.40, 0.55), (0.13, 0.13))
    grain = 0.6 + 0.4 * smooth_noise(rng, x.shape, 1).clip(-1, 1)
    beard = identity.stubble * np.clip(jaw * (1 - bare), 0, 1) * grain
    blend(image, 0.45 * beard, 0.6 * hair + 0.2 * np.array(identity.skin, np.float32))
    roots = np.clip((hairline(identity, angle) - y) / 0.05 + 0.4 + 0.25 * smooth_noise(rng, x.shape, 2), 0, 1)
    blend(image, np.where(np.abs(angle) < 1.25, 0.85, 0.95) * roots, 0.7 * hair)


def _paint_lips(identity: Identity, image: np.ndarray, head: HeadMesh) -> None:
    mask = np.zeros(image.shape[:2], np.float32)
    seam_row = head.mouth_row * TEXELS_PER_CELL
    for names, row in ((UPPER_LIP, seam_row + 1), (LOWER_LIP, seam_row + TEXELS_PER_CELL - 1)):
        border = curve(_texels(head, names), 60)
        seam = np.stack([border[::-1, 0], np.full(60, row)], -1)
        polygon = np.round(np.concatenate([border, seam]) * 16).astype(np.int32)
        cv2.fillPoly(mask, [polygon], 1.0, cv2.LINE_AA, 4)
    mask[seam_row : seam_row + TEXELS_PER_CELL + 1] = mask[seam_row - 1]
    mask = cv2.GaussianBlur(mask, (0, 0), 2.2)
    natural = np.array(identity.skin) * (0.84, 0.64, 0.62) + (8, 4, 6)
    made_up = 0.8 * max(0.0, identity.lip - 0.35) / 0.65
    blend(image, 0.9 * mask, natural * (1 - made_up) + np.array((158, 46, 58)) * made_up)
    distance = np.abs(np.arange(len(image)) - seam_row - TEXELS_PER_CELL / 2)[:, None]
    image *= 1 - (0.45 * np.exp(-((np.clip(distance - 3, 0, None) / 4.0) ** 2)) * mask)[..., None]


def _paint_nostrils(identity: Identity, image: np.ndarray) -> None:
    blend(image, np.clip(1.3 * _bell((0.092, 0.462), (0.038, 0.016)), 0, 0.92), 0.16 * np.array(identity.skin))
    image *= 1 - 0.30 * _bell((0.222, 0.425), (0.013, 0.045))[..., None]


def _paint_lids(image: np.ndarray, head: HeadMesh) -> None:
    """The dark roots of the lashes and the crease of the upper lid."""
    above = ((head.eye_row + 0.5) * TEXELS_PER_CELL - np.arange(image.shape[0]))[:, None]
    for columns in head.eye_columns:
        u = ((np.arange(image.shape[1]) / TEXELS_PER_CELL - columns[0]) / (columns[-1] - columns[0]))[None]
        across = np.clip(np.minimum(u, 1 - u) * 6 + 0.6, 0, 1) * (u > -0.08) * (u < 1.08)
        upper = np.exp(-((np.clip(above - 3, 0, None) / 3.5) ** 2)) * (above > 0)
        crease = np.exp(-(((above - 17 - 4 * np.sin(np.pi * np.clip(u, 0, 1))) / 2.6) ** 2))
        lower = np.exp(-((np.clip(-above - 3, 0, None) / 2.5) ** 2)) * (above < 0)
        for mark, darkness in ((upper, 0.55), (crease, 0.30), (lower, 0.22)):
            image *= 1 - darkness * (across * mark)[..., None]


def _brow_mask(identity: Identity, head: HeadMesh, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Hairs below the brow landmarks, which mark the upper edge."""
    mask = np.zeros(shape, np.float32)
    for names, outward in BROWS:
        spine = curve(_texels(head, names), 200)
        for t in rng.uniform(-0.04, 1.0, int(560 * identity.brow_thickness)):
            u, v = spine[int(np.clip(t, 0, 1) * 199)]
            thinning = (1 - 0.7 * max(t - 0.4, 0) / 0.6) * (0.7 + 0.3 * min(abs(t) / 0.15, 1))
            half = 9.5 * identity.brow_thickness * thinning
            u, v = u + rng.uniform(-4, 4), v + half - 1 + rng.uniform(-0.9, 0.9) * half
            lean = np.radians(rng.normal(62 * (1 - t) ** 2 + 4, 8))
            length = rng.uniform(6, 12)
            tip = (u + outward * length * np.cos(lean), v - 0.7 * length * np.sin(lean))
            start, end = (int(u * 16), int(v * 16)), (int(tip[0] * 16), int(tip[1] * 16))
            cv2.line(mask, start, end, float(rng.uniform(0.4, 0.9)), 1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), 2.5)
    return np.clip(0.45 * mask + 0.95 * soft, 0, 1)

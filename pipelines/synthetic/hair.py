"""Hair as one shell over the scalp: a grid of locks that run from the crown to the hairline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.head import HeadMesh
from pipelines.synthetic.identity import Identity
from pipelines.synthetic.mesh import plain_grid
from pipelines.synthetic.parts import Part, two_sided
from pipelines.synthetic.template import AXIS_DEPTH

ROWS, COLUMNS = 18, 133
HANG_BELOW = 0.45
"""Height from which long locks leave the head and hang straight down."""


@dataclass(frozen=True)
class Style:
    """Where locks end, as (azimuth in degrees, height), and how far they stand off the scalp."""

    ends: tuple[tuple[float, float], ...]
    thickness: float
    edge: float
    """Thickness at the end of the locks."""
    rise: float
    """Share of a lock, from its end, over which it reaches its full thickness."""
    ragged: float
    """Unevenness of the ends in D."""


FRONT = ((0, -0.80), (20, -0.79), (36, -0.70), (46, -0.58), (54, -0.40), (62, -0.24))
STYLES = {
    "bald": None,
    "buzz": Style(
        ends=(*FRONT, (72, -0.05), (80, 0.05), (90, -0.02), (105, 0.25), (140, 0.62), (180, 0.72)),
        thickness=0.03, edge=0.006, rise=0.3, ragged=0.01,
    ),
    "short": Style(
        ends=(*FRONT, (72, -0.02), (80, 0.10), (90, 0.0), (105, 0.30), (140, 0.70), (180, 0.82)),
        thickness=0.11, edge=0.012, rise=0.45, ragged=0.03,
    ),
    "swept": Style(
        ends=(*FRONT, (72, 0.05), (80, 0.20), (90, 0.10), (105, 0.45), (140, 0.85), (180, 0.95)),
        thickness=0.19, edge=0.02, rise=0.50, ragged=0.03,
    ),
    "bob": Style(
        ends=(*FRONT, (70, 0.35), (76, 0.85), (90, 0.98), (120, 1.0), (150, 1.0), (180, 1.0)),
        thickness=0.17, edge=0.10, rise=0.25, ragged=0.035,
    ),
    "long": Style(
        ends=(*FRONT, (70, 0.5), (76, 1.55), (84, 2.0), (110, 2.1), (150, 2.1), (180, 2.1)),
        thickness=0.17, edge=0.11, rise=0.25, ragged=0.035,
    ),
}  # fmt: skip


def hairline(identity: Identity, azimuth: np.ndarray) -> np.ndarray:
    """Height at which the locks end, per azimuth in radians; far above the head for bald people."""
    style = STYLES[identity.hair_style]
    if style is None:
        return np.full(np.shape(azimuth), -3.0)
    degrees, heights = np.array(style.ends).T
    line = np.interp(np.abs(np.degrees(azimuth)), degrees, heights)
    front = np.clip(1.6 - np.abs(np.degrees(azimuth)) / 40, 0, 1)
    sweep = np.clip(np.degrees(azimuth) * np.sign(identity.hairline) / 45, -1, 1)
    fringe = 0.0 if identity.hair_style == "buzz" else identity.fringe * (0.30 + 0.12 * sweep)
    lifted = 0.06 * identity.shape_value("forehead_height")
    return line + front * (identity.hairline - lifted + fringe)


def build_hair(identity: Identity, head: HeadMesh, head_3N: np.ndarray) -> list[Part]:
    style = STYLES[identity.hair_style]
    if style is None:
        return []
    rng = np.random.default_rng(identity.texture_seed)
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS)
    meridians = _meridians(head, head_3N, azimuth)
    clump = np.repeat(rng.normal(0, 1, COLUMNS // 3 + 1), 3)[:COLUMNS]
    ends = hairline(identity, azimuth) + style.ragged * (0.6 * clump + 0.6 * rng.normal(0, 1, COLUMNS))
    share = np.linspace(0, 1, ROWS)
    top = meridians[1, 0].mean()
    scalp = np.stack([_along(meridians[:, :, c], top + (ends[c] - top) * share**0.85) for c in range(COLUMNS)], axis=2)
    side = np.clip(np.degrees(azimuth) * np.sign(identity.hairline) / 30, -1, 1)
    uneven = 0.12 * clump + 0.20 * side * np.cos(azimuth).clip(0)
    flatter = 0.65 + 0.35 * np.abs(np.cos(azimuth))
    volume = style.thickness * identity.hair_volume * flatter * (1 + uneven * np.clip(4 * share, 0, 1)[:, None])
    shell = scalp + _away(scalp) * _standing(style, volume, share[:, None])
    shell[:, :, -1] = shell[:, :, 0]
    grid = plain_grid(ROWS, COLUMNS, wrap=True)
    hangs = style.edge > 0.05  # and is seen from inside as well
    return [Part("hair", two_sided(grid) if hangs else grid, rigid_3N=shell.reshape(3, -1), specular=0.10, gloss=9.0)]


def _away(scalp: np.ndarray) -> np.ndarray:
    """Unit directions off the scalp: outwards on the sides, upwards on the crown."""
    away = scalp - np.array([0, 0, AXIS_DEPTH])[:, None, None]
    away[1] = np.clip(away[1] + 0.3, None, 0)
    return away / np.maximum(np.linalg.norm(away, axis=0), 1e-6)


def _standing(style: Style, volume: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Distance from the scalp along locks, from the full volume to the thin ends."""
    taper = np.clip((1 - share) / style.rise, 0, 1)
    return style.edge + np.clip(volume - style.edge, 0, None) * taper * (2 - taper)


def _meridians(head: HeadMesh, head_3N: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Vertical lines [3,rows,len(azimuth)] over the head at other azimuths than its columns."""
    shape = (3, head.grid.rows, head.grid.columns)
    x, _, z = head.chart_3N.reshape(shape)[:, head.eye_row]
    known = np.arctan2(x, AXIS_DEPTH - z)
    known[0], known[-1] = -np.pi, np.pi
    column = np.interp(azimuth, known, np.arange(len(known)))
    before = np.minimum(column.astype(int), len(known) - 2)
    share = column - before
    lines = head_3N.reshape(shape)
    return lines[:, :, before] * (1 - share) + lines[:, :, before + 1] * share


def _along(meridian_3R: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Points [3,len(heights)] of a lock on one meridian of the head."""
    order = np.arange(meridian_3R.shape[1])
    rising = np.maximum.accumulate(meridian_3R[1]) + order * 1e-6
    row = np.interp(np.minimum(heights, HANG_BELOW), rising, order)
    points = np.stack([np.interp(row, order, axis) for axis in meridian_3R])
    points[1] += np.maximum(heights - HANG_BELOW, 0)
    return points

"""Eyeballs, the wet edges of the lids, and lashes."""

from __future__ import annotations

import numpy as np

from pipelines.synthetic.head import HeadMesh
from pipelines.synthetic.mesh import plain_grid
from pipelines.synthetic.parts import Part, flipped, two_sided

EYE_RADIUS = 0.168
EYE_REACH = 0.93
"""Radians from the optical axis to the rim of the textured half of the eyeball."""
CELLS = 17
LID_THICKNESS = 0.05


def eyeball_centre(head: HeadMesh, head_3N: np.ndarray, half: int) -> np.ndarray:
    """Centre [3] of an eyeball that fills its lids; half 0 is the image-left eye."""
    columns = head.eye_columns[half]
    upper_3C, lower_3C = (head_3N[:, head.vertices(head.eye_row + k, columns)] for k in (0, 1))
    middle = (upper_3C[:, len(columns) // 2] + lower_3C[:, len(columns) // 2]) / 2
    return np.array([(upper_3C[0].min() + upper_3C[0].max()) / 2, middle[1], middle[2] + EYE_RADIUS + 0.006])


def build_eyes(head: HeadMesh, head_3N: np.ndarray) -> list[Part]:
    """The two eyeballs come first, image-left before image-right."""
    t = np.linspace(-1, 1, CELLS)
    x, y = np.meshgrid(t, t)
    angle, turn = np.hypot(x, y) * EYE_REACH, np.arctan2(y, x)
    ball = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), -np.cos(angle)]).reshape(3, -1)
    parts = [
        Part(
            "eye",
            plain_grid(CELLS, CELLS),
            rigid_3N=EYE_RADIUS * ball + eyeball_centre(head, head_3N, half)[:, None],
            specular=0.9,
            gloss=90.0,
            inside=True,
        )
        for half in (0, 1)
    ]
    for half in (0, 1):
        parts += [*_lid(head, half, upper=True), *_lid(head, half, upper=False)]
    return parts


def _lid(head: HeadMesh, half: int, *, upper: bool) -> list[Part]:
    """Rim and lashes of one lid."""
    columns = head.eye_columns[half]
    row, beyond = (head.eye_row, -2) if upper else (head.eye_row + 1, 2)
    edge, skin = head.vertices(row, columns), head.vertices(row + beyond, columns)
    taper = np.sin(np.linspace(0.15, np.pi - 0.1, len(columns))) ** 0.6
    sideways = np.linspace(-0.010, 0.016, len(columns))
    sideways = sideways if half else -sideways[::-1]
    rise, forward = (-0.017, 0.022) if upper else (0.008, 0.010)
    reach_3C = np.stack([sideways, np.full(len(columns), rise), np.full(len(columns), -forward)]) * taper

    def rim(head_3N: np.ndarray) -> np.ndarray:
        outer = head_3N[:, edge]
        return np.concatenate([outer, outer + np.array([[0.0], [0.0], [LID_THICKNESS]])], axis=1)

    def lashes(head_3N: np.ndarray) -> np.ndarray:
        root = head_3N[:, edge]
        # The skin beyond the edge leads the lashes down when the lid falls.
        tip = root + 0.25 * taper * (head_3N[:, skin] - root) + reach_3C
        return np.concatenate([root - np.array([[0.0], [0.0], [0.004]]), tip], axis=1)

    name, grid = "upper" if upper else "lower", plain_grid(2, len(columns))
    return [
        Part(f"rim_{name}", grid if upper else flipped(grid), follow=rim, specular=0.5, gloss=40.0, inside=True),
        Part(f"lash_{name}", two_sided(grid), follow=lashes, specular=0.0, inside=True),
    ]

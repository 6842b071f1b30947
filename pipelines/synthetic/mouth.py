"""The inside of the mouth: cavity, teeth, tongue."""

from __future__ import annotations

import numpy as np

from pipelines.synthetic.head import HeadMesh
from pipelines.synthetic.mesh import plain_grid
from pipelines.synthetic.parts import Part

CAVITY_RINGS = ((0.0, 1.0, 0.0), (0.05, 0.96, 0.0), (0.16, 1.0, 0.02), (0.42, 0.9, 0.04), (0.62, 0.0, 0.04))
"""From the lips inwards: depth in D, share of the opening's size, drop in D."""
UPPER_TEETH = (-0.130, -0.075, -0.030, 0.018)
LOWER_TEETH = (0.032, 0.070, 0.110, 0.170)
"""Heights of the rows of vertices below the line of the lips, D."""
COLUMNS = 29


def build_mouth(head: HeadMesh, head_3N: np.ndarray) -> list[Part]:
    seam_3C = head_3N[:, head.vertices(head.mouth_row, head.mouth_columns)]
    line, lip_depth = float(seam_3C[1].mean()), float(seam_3C[2, seam_3C.shape[1] // 2])
    return [
        _cavity(head),
        _teeth("teeth_upper", line + np.array(UPPER_TEETH), lip_depth + 0.050, jaw=0.0),
        _teeth("teeth_lower", line + np.array(LOWER_TEETH), lip_depth + 0.068, jaw=1.0),
        _tongue(line, lip_depth),
    ]


def _cavity(head: HeadMesh) -> Part:
    columns = head.mouth_columns
    upper, lower = head.vertices(head.mouth_row, columns), head.vertices(head.mouth_row + 1, columns)
    ring = np.concatenate([upper, lower[::-1], upper[:1]])

    def follow(head_3N: np.ndarray) -> np.ndarray:
        lips = head_3N[:, ring]
        middle = lips.mean(1, keepdims=True)
        offsets = [np.array([[0.0], [drop], [depth]]) for depth, _, drop in CAVITY_RINGS]
        rings = [middle + (lips - middle) * ring[1] + d for ring, d in zip(CAVITY_RINGS, offsets, strict=True)]
        return np.concatenate(rings, axis=1)

    grid = plain_grid(len(CAVITY_RINGS), len(ring))
    return Part("cavity", grid, follow=follow, specular=0.25, gloss=20.0, inside=True)


def _teeth(texture: str, heights_R: np.ndarray, depth: float, *, jaw: float) -> Part:
    x = np.linspace(-0.27, 0.27, COLUMNS)
    bulge = np.array((0.010, 0.0, 0.0, 0.006))[:, None]
    z = depth + bulge + 2.4 * x**2 + 8.0 * x**4
    arch = np.stack([np.broadcast_to(x, z.shape), np.broadcast_to(heights_R[:, None], z.shape), z])
    grid = plain_grid(len(heights_R), COLUMNS)
    return Part(texture, grid, rigid_3N=arch.reshape(3, -1), jaw=jaw, specular=0.45, gloss=30.0, inside=True)


def _tongue(line: float, lip_depth: float) -> Part:
    u, v = np.meshgrid(np.linspace(-1, 1, 11), np.linspace(0, 1, 7))
    tongue = np.stack([0.17 * u, line + 0.075 + 0.05 * u * u + 0.06 * v * v, lip_depth + 0.32 - 0.22 * v])
    return Part(
        "tongue", plain_grid(7, 11), rigid_3N=tongue.reshape(3, -1), jaw=0.85, specular=0.35, gloss=16.0, inside=True
    )

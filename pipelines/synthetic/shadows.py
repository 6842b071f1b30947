"""Which light reaches which part of a figure: visibility of some directions, computed once per person."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.synthetic.mesh import combine

MAP_SIZE = 160
EXTENT = 2.4
"""Half the width of the region a depth map covers, in D; what lies outside is unshadowed."""
CENTRE = np.array([0.0, 0.5, 0.6])
SHARPNESS = 14.0


def _directions() -> np.ndarray:
    """Unit vectors [L,3] towards the front and above, a Fibonacci lattice."""
    index = np.arange(64) + 0.5
    forward, turn = 1 - 2 * index / 64, np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - forward**2)
    lattice = np.stack([ring * np.cos(turn), ring * np.sin(turn), -forward], 1)
    return lattice[(lattice[:, 2] < 0.25) & (lattice[:, 1] < 0.6)].astype(np.float32)


LIGHT_DIRECTIONS = _directions()


def key_weights(direction: np.ndarray) -> np.ndarray:
    """Weights [L] that blend the visibilities around one direction into a soft shadow."""
    closeness = LIGHT_DIRECTIONS @ direction.astype(np.float32)
    weights = np.exp(SHARPNESS * (closeness - closeness.max()))
    return weights / weights.sum()


def sky_weights() -> np.ndarray:
    """Weights [L] of a sky that is brighter above."""
    weights = np.clip(0.6 - LIGHT_DIRECTIONS[:, 1], 0.1, None) * np.clip(0.6 - LIGHT_DIRECTIONS[:, 2], 0.1, None)
    return weights / weights.sum()


def visibility(vertices_3N: np.ndarray, faces_F3: np.ndarray, normals_3N: np.ndarray) -> np.ndarray:
    """Share [L,N] of each direction's light that reaches each vertex, by a depth map per direction."""
    distance = 20.0
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_WHITE).setCullingMode(cv2.RASTERIZE_CULLING_CCW)
    field_of_view = 2 * float(np.arctan(EXTENT / distance))
    share = np.empty((len(LIGHT_DIRECTIONS), vertices_3N.shape[1]), np.float32)
    lifted = vertices_3N + 0.012 * normals_3N - CENTRE[:, None].astype(np.float32)
    for row, direction in enumerate(LIGHT_DIRECTIONS):
        side = np.cross((0.0, 1.0, 0.0), -direction)
        side /= np.linalg.norm(side)
        rotation = np.stack([side, np.cross(-direction, side), -direction]).astype(np.float32)
        x, y, z = combine(rotation, lifted)
        z = z + distance
        depth = np.full((MAP_SIZE, MAP_SIZE), 2 * distance, np.float32)
        points = np.stack([x, -y, -z], 1)
        depth = cv2.triangleRasterizeDepth(
            points, faces_F3, depth, np.eye(4, dtype=np.float32), field_of_view, 1.0, 2 * distance, settings
        )
        scale = MAP_SIZE / 2 / EXTENT * distance / z
        column, line = x * scale + MAP_SIZE / 2 - 0.5, y * scale + MAP_SIZE / 2 - 0.5
        seen = np.zeros(len(z), np.float32)
        for du, dv in ((-0.8, -0.8), (0.8, -0.8), (-0.8, 0.8), (0.8, 0.8)):
            nearest = cv2.remap(
                depth, (column + du)[None], (line + dv)[None], cv2.INTER_NEAREST, borderValue=2 * distance
            )[0]
            seen += np.clip(1 - (z - nearest - 0.035) / 0.04, 0, 1) / 4
        share[row] = seen
    return share

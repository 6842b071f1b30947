"""A head in three dimensions that moves and makes faces, without a picture."""

from __future__ import annotations

import numpy as np

from pipelines.landmarks import MIRROR, TEMPLATE

Offsets = dict[int, tuple[float, float]]

ACTIONS: dict[int, Offsets] = {
    1: {20: (0, -0.05), 21: (0, -0.05)},
    2: {17: (0, -0.05), 18: (0, -0.05)},
    4: {19: (0.02, 0.05), 20: (0.02, 0.05), 21: (0.02, 0.05)},
    5: {37: (0, -0.03), 38: (0, -0.03)},
    6: {40: (0, -0.02), 41: (0, -0.02), 48: (-0.05, -0.05)},
    7: {40: (0, -0.02), 41: (0, -0.02)},
    9: {31: (0, -0.05)},
    10: {50: (0, -0.05), 51: (0, -0.05), 61: (0, -0.05), 62: (0, -0.05)},
    12: {48: (-0.05, -0.05)},
    14: {48: (-0.04, 0)},
    15: {48: (0, 0.06)},
    17: {56: (0, -0.06), 57: (0, -0.06)},
    20: {48: (-0.06, 0.01)},
    23: {50: (0, 0.02), 51: (0, 0.02), 56: (0, -0.03), 57: (0, -0.03)},
    25: {56: (0, 0.06), 57: (0, 0.06), 65: (0, 0.06), 66: (0, 0.06)},
    26: {6: (0, 0.12), 7: (0, 0.12), 8: (0, 0.12), 56: (0, 0.1), 57: (0, 0.1), 65: (0, 0.1), 66: (0, 0.1)},
    28: {50: (0, 0.045), 51: (0, 0.045), 56: (0, -0.07), 57: (0, -0.07)},
    45: {37: (0, 0.07), 38: (0, 0.07)},
}
"""How each action unit moves the landmarks of one half of the face, in D; the other half mirrors it."""


def head() -> np.ndarray:
    """A face at rest, [68, 3] in D: the template on a rounded head, its nose in front and its mouth closed."""
    depth = 0.9 * TEMPLATE[:, 0] ** 2 + 0.1 * TEMPLATE[:, 1] ** 2
    depth[28:36] -= np.array((0.08, 0.16, 0.25, 0.08, 0.12, 0.14, 0.12, 0.08))
    points = np.concatenate([TEMPLATE, depth[:, None]], 1).astype(np.float64)
    points[65:68, 1] -= 0.05
    return points


def acted(unit: int, strength_T: np.ndarray) -> np.ndarray:
    """A face that shows one unit more or less, [T, 68, 3] in D."""
    offset_683 = np.zeros((68, 3))
    for point, (x, y) in ACTIONS[unit].items():
        offset_683[point, :2] = x, y
        offset_683[MIRROR[point], :2] = (0.0 if MIRROR[point] == point else -x), y
    return head() + strength_T[:, None, None] * offset_683


def turned(landmarks_T683: np.ndarray, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Landmarks turned by degrees: to the image right, nodded down, tilted clockwise."""
    from scipy.spatial.transform import Rotation

    return landmarks_T683 @ Rotation.from_euler("zxy", (roll, pitch, -yaw), degrees=True).as_matrix().T


def pulse(frames: int, start: int, stop: int) -> np.ndarray:
    """0, with 1 from frame `start` to before `stop`."""
    strength_T = np.zeros(frames)
    strength_T[start:stop] = 1
    return strength_T

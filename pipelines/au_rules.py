"""Where each of the 18 action units shows: points on and around the 68 iBUG landmarks.

Source: the rules of EAC-Net (arXiv 1702.02925), JAA-Net (arXiv 1803.05588) and FG-Net (arXiv 2308.12380), joined into
one table. MAURA (section 3.3) takes its table from another paper and prints one row of it, AU26 = 51, 53, 57, 59.
Deliberate differences:
- AU26 is read as counted from 1, as in iBUG's figure: only then is it the same on both halves of the face;
- offsets follow the roll of the head: they run along the perpendicular of the line between the inner eye corners,
  where the sources go straight down the picture. For an upright head that is the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

INNER_CORNERS = (39, 42)
"""Landmarks at the inner corners of the eyes, image left and image right. Their distance is the unit of offsets."""


class Point(NamedTuple):
    landmark: int
    """iBUG number from 0."""
    down: float = 0.0
    """Offset towards the chin, in distances of the inner eye corners."""


class Rule(NamedTuple):
    name: str
    """The name that FACS gives the unit (Ekman, Friesen & Hager 2002)."""
    points: tuple[Point, ...]


def _at(*landmarks: int) -> tuple[Point, ...]:
    return tuple(Point(landmark) for landmark in landmarks)


_LIDS = _at(37, 38, 40, 41, 43, 44, 46, 47)
_LIP_CORNERS = _at(48, 54)
_INNER_LIPS = _at(61, 62, 63, 65, 66, 67)

RULES: dict[int, Rule] = {
    1: Rule("Inner brow raiser", _at(20, 21, 22, 23)),
    2: Rule("Outer brow raiser", _at(17, 18, 19, 24, 25, 26)),
    4: Rule("Brow lowerer", _at(20, 21, 22, 23, 27)),
    5: Rule("Upper lid raiser", _at(37, 38, 43, 44)),
    6: Rule("Cheek raiser", (*_at(40, 41, 46, 47), Point(41, 1.0), Point(46, 1.0))),
    7: Rule("Lid tightener", _LIDS),
    9: Rule("Nose wrinkler", (*_at(28, 29, 31, 35), Point(32, -0.5), Point(34, -0.5))),
    10: Rule("Upper lip raiser", _at(50, 51, 52, 31, 35)),
    12: Rule("Lip corner puller", _LIP_CORNERS),
    14: Rule("Dimpler", _LIP_CORNERS),
    15: Rule("Lip corner depressor", _LIP_CORNERS),
    17: Rule("Chin raiser", (*_at(57, 8), Point(56, 0.5), Point(58, 0.5))),
    20: Rule("Lip stretcher", _at(48, 54, 55, 59)),
    23: Rule("Lip tightener", _at(50, 51, 52, 56, 57, 58)),
    25: Rule("Lips part", _INNER_LIPS),
    26: Rule("Jaw drop", _at(50, 52, 56, 58)),
    28: Rule("Lip suck", (*_INNER_LIPS, *_at(51, 57))),
    45: Rule("Blink", _LIDS),
}
"""In the order of pipelines.action_units.ACTION_UNITS."""


def rule_points(landmarks_T682: np.ndarray, unit: int) -> np.ndarray:
    """The points of a unit's rule in every frame, [T, P, 2], in the coordinates of the landmarks."""
    landmark_P, down_P1 = _arrays(unit)
    points_TP2 = landmarks_T682[:, landmark_P]
    if not down_P1.any():
        return points_TP2
    left, right = INNER_CORNERS
    across_T2 = landmarks_T682[:, right] - landmarks_T682[:, left]
    down_T2 = np.stack([-across_T2[:, 1], across_T2[:, 0]], axis=1)
    return points_TP2 + down_P1 * down_T2[:, None]


@lru_cache(maxsize=len(RULES))
def _arrays(unit: int) -> tuple[np.ndarray, np.ndarray]:
    """Landmark numbers [P] and offsets [P, 1] of a rule."""
    points = RULES[unit].points
    landmark_P = np.array([point.landmark for point in points])
    return landmark_P, np.array([[point.down] for point in points], np.float32)

"""Faces that are small in their frame: the frame is searched as a whole and in overlapping squares.

The detector of the mesh sees a frame at 128 pixels and misses faces below about a sixth of its longer side; squares of
half that side find faces half as large.

Measured at 1280x720 with eight faces at most, decoding included, in frames per CPU second: 130 become 36 where there is
no face, 70 become 25 with one large face, and with four that only the squares find it is 13. A face costs as often as
it is found.
"""

from __future__ import annotations

import numpy as np

from pipelines.face_mesh import FaceMesh

SEARCH_VERSION = 1
"""Raised whenever other faces would be found in the same frame."""
MIN_SIDE = 512
"""Pixels of the longer side from which a frame is cut: smaller faces than its squares find have no useful landmarks."""
_SAME = 0.5
"""Share of the smaller box that two detections of one face have in common."""


def squares(height: int, width: int) -> list[tuple[int, int, int]]:
    """(top, left, side) of squares of half the longer side, each overlapping the next by half; [] for small frames."""
    longer = max(height, width)
    if longer < MIN_SIDE:
        return []
    side = min(longer // 2, height, width)
    return [(top, left, side) for top in _starts(height, side) for left in _starts(width, side)]


def detect_small(mesh: FaceMesh, frame_HWC: np.ndarray) -> np.ndarray:
    """As `FaceMesh.detect`, with small faces, largest first. One face is returned once."""
    whole_F4783 = mesh.detect(frame_HWC)
    faces, room = list(whole_F4783), [np.inf] * len(whole_F4783)
    for top, left, side in squares(*frame_HWC.shape[:2]):
        for face_4783 in mesh.detect(frame_HWC[top : top + side, left : left + side]):
            room.append(_room(face_4783, side))
            faces.append(face_4783 + np.array((left, top, 0), np.float32))
    kept: list[np.ndarray] = []
    for i in sorted(range(len(faces)), key=lambda i: -room[i]):
        if all(_overlap(faces[i], other) < _SAME for other in kept):
            kept.append(faces[i])
    kept.sort(key=lambda face: -np.prod(np.ptp(face[:, :2], axis=0)))
    return np.stack(kept[: mesh.num_faces]) if kept else whole_F4783


def _starts(length: int, side: int) -> list[int]:
    count = max(1, -(-2 * (length - side) // side) + 1)
    return [int(start) for start in np.linspace(0, length - side, count)]


def _room(face_4783: np.ndarray, side: int) -> float:
    """Pixels between a face and the nearest edge of its square; negative where it is cut."""
    return float(min(face_4783[:, :2].min(), side - face_4783[:, :2].max()))


def _overlap(a_4783: np.ndarray, b_4783: np.ndarray) -> float:
    low = np.maximum(a_4783[:, :2].min(0), b_4783[:, :2].min(0))
    high = np.minimum(a_4783[:, :2].max(0), b_4783[:, :2].max(0))
    smaller = min(np.prod(np.ptp(face[:, :2], axis=0)) for face in (a_4783, b_4783))
    return float(np.prod(np.maximum(high - low, 0)) / smaller)

"""The 68 facial landmarks of iBUG: their names, their mirror, an average face, and how they come out of a face mesh.

Points are numbered from 0, x runs right, y down. "Right" is the right of the person, which is the left of the picture:
17-21 brow, 36-41 eye and 48 mouth corner are image left. D, the unit of length, is the distance of the outer eye
corners.

Sources: Sagonas et al. 2013 (300 Faces in-the-Wild) for the 68 points; PeizhiYan/Mediapipe_2_Dlib_Landmarks for the
points of MediaPipe's mesh, with 70 and 300 for the ends of the brows and 98 and 327 for the wings of the nose. The
average face is the symmetrised mean of two faces measured by us.
"""

from __future__ import annotations

import numpy as np

NUM_LANDMARKS = 68
MESH_POINTS = 478
"""Points of MediaPipe's mesh with attention: 468 of the face, 10 of the irises."""

_MESH_MEMBERS = (
    *((127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,)),
    *((400,), (379,), (365,), (397, 288), (361,), (323,), (454,), (356,)),
    *((70,), (63,), (105,), (66,), (107,), (336,), (296,), (334,), (293,), (300,)),
    *((168, 6), (197, 195), (5,), (4,), (98,), (97,), (2,), (326,), (327,)),
    *((33,), (160,), (158,), (133,), (153,), (144,), (362,), (385,), (387,), (263,), (373,), (380,)),
    *((61,), (39,), (37,), (0,), (267,), (269,), (291,), (321,), (314,), (17,), (84,), (91,)),
    *((78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,)),
)
_MESH_PAIRS = np.array([(members[0], members[-1]) for members in _MESH_MEMBERS])


def _mirror() -> np.ndarray:
    swapped = (
        *((i, 16 - i) for i in range(8)),
        *((17 + i, 26 - i) for i in range(5)),
        *((31, 35), (32, 34)),
        *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
        *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),
        *((60, 64), (61, 63), (65, 67)),
    )
    order = np.arange(NUM_LANDMARKS)
    for a, b in swapped:
        order[[a, b]] = b, a
    return order


MIRROR = _mirror()
"""int64 [68]: the point that takes each point's place when the picture is mirrored."""

_TEMPLATE_HALF = {
    **{0: (-0.779, 0.016), 1: (-0.772, 0.162), 2: (-0.761, 0.313), 3: (-0.726, 0.521), 4: (-0.662, 0.723)},
    **{5: (-0.555, 0.906), 6: (-0.455, 1.008), 7: (-0.269, 1.150), 8: (0.0, 1.213)},
    **{17: (-0.636, -0.153), 18: (-0.566, -0.207), 19: (-0.459, -0.236), 20: (-0.320, -0.227), 21: (-0.163, -0.207)},
    **{27: (0.0, 0.0), 28: (0.0, 0.161), 29: (0.0, 0.281), 30: (0.0, 0.379)},
    **{31: (-0.215, 0.450), 32: (-0.099, 0.485), 33: (0.0, 0.496)},
    **{36: (-0.500, -0.015), 37: (-0.433, -0.058), 38: (-0.317, -0.064)},
    **{39: (-0.193, 0.011), 40: (-0.298, 0.023), 41: (-0.410, 0.023)},
    **{48: (-0.323, 0.667), 49: (-0.190, 0.632), 50: (-0.098, 0.624), 51: (0.0, 0.641)},
    **{57: (0.0, 0.843), 58: (-0.096, 0.834), 59: (-0.244, 0.759)},
    **{60: (-0.297, 0.671), 61: (-0.084, 0.684), 62: (0.0, 0.692), 66: (0.0, 0.750), 67: (-0.081, 0.743)},
}
_CROP_D = 0.366
"""D of the template in a crop 1.6 times the box of the face, relative to its size."""
_CROP_ORIGIN = (0.5, 0.378)
"""Where point 27 of the template lies in that crop."""


def _template() -> np.ndarray:
    points = np.zeros((NUM_LANDMARKS, 2), np.float32)
    for i, (x, y) in _TEMPLATE_HALF.items():
        points[i] = x, y
        points[MIRROR[i]] = -x, y
    points.setflags(write=False)
    return points


TEMPLATE = _template()
"""float32 [68, 2]: an average frontal face at rest, in D, its origin at point 27."""


def frontal_template(size: int) -> np.ndarray:
    """The average face in the middle of a square crop, float32 [68, 2], in pixels of a crop `size` wide and high."""
    return np.float32(size) * (TEMPLATE * np.float32(_CROP_D) + np.array(_CROP_ORIGIN, np.float32))


def mesh_to_68(mesh_F478C: np.ndarray) -> np.ndarray:
    """The 68 points of F meshes [F, 478, C] of any coordinates C, as [F, 68, C] of the same type.

    Raises ValueError for a mesh of another size, such as the 468 points of MediaPipe without attention.
    """
    if mesh_F478C.ndim != 3 or mesh_F478C.shape[1] != MESH_POINTS:
        raise ValueError(f"a mesh of shape {mesh_F478C.shape}, not [faces, {MESH_POINTS}, C]; turn attention on")
    return mesh_F478C[:, _MESH_PAIRS].mean(2, dtype=mesh_F478C.dtype)


def eye_distance(landmarks_T68C: np.ndarray) -> np.ndarray:
    """D of each frame, [T]: the distance of the outer eye corners, in the unit of the landmarks."""
    return np.linalg.norm(landmarks_T68C[:, 45] - landmarks_T68C[:, 36], axis=-1)


def flip_landmarks(landmarks_T68C: np.ndarray, width: float) -> np.ndarray:
    """Landmarks of the mirrored picture, [T, 68, C]: x becomes width - x, left and right points change places.

    `width` is that of the picture, in the unit of the landmarks.
    """
    flipped_T68C = landmarks_T68C[:, MIRROR].copy()
    flipped_T68C[..., 0] = width - flipped_T68C[..., 0]
    return flipped_T68C

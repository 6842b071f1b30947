"""A face without the movements of the head: rigid points aligned over a video, and the angles of the head.

Source: least-squares similarity of Umeyama 1991 within a generalised Procrustes analysis (Gower 1975) whose mean shape
is a median, so that frames in which the face moves do not bend it.
Deliberate difference: only points on bone count (eye corners, ridge of the nose, temples). Temples and the lower ridge
turn with the head, so they count in three dimensions alone.
"""

from __future__ import annotations

import numpy as np

RIGID_POINTS = {2: (36, 39, 42, 45, 27, 28), 3: (36, 39, 42, 45, 27, 28, 29, 0, 1, 15, 16)}
"""Points that only the head moves, by the number of coordinates."""
_ROUNDS = 2
MAX_YAW, MAX_PITCH = 30.0, 20.0
"""Degrees beyond which the points of the far half of the face are no measurement."""
_REST_PITCH = 9.0
"""Degrees by which the line from the bridge of the nose to the chin leans when the face looks straight ahead;
measured on the mesh of rendered faces."""


def align(landmarks_T68C: np.ndarray) -> np.ndarray:
    """All frames of one face in one position, float64 [T, 68, C], C = 2 or 3.

    The origin is point 27 and the unit D, both of the median shape; x runs along the eye corners, y down to the chin.
    Frames with a coordinate that is not finite come out as NaN. Invariant to translation, rotation (within the picture
    for C = 2) and scale of every frame.
    """
    aligned_T68C = np.full(landmarks_T68C.shape, np.nan)
    found_T = found(landmarks_T68C)
    if not found_T.any():
        return aligned_T68C
    points_T68C = landmarks_T68C[found_T].astype(np.float64)
    shape_68C = points_T68C[0]
    for _ in range(_ROUNDS):
        points_T68C = _fit(points_T68C, shape_68C)
        shape_68C = np.median(points_T68C, 0)
    unit = np.linalg.norm(shape_68C[45] - shape_68C[36])
    aligned_T68C[found_T] = (points_T68C - shape_68C[27]) @ face_axes(shape_68C[None])[0].T / unit
    return aligned_T68C


def found(landmarks_T68C: np.ndarray) -> np.ndarray:
    """Frames whose landmarks are all finite, bool [T]."""
    return np.isfinite(landmarks_T68C).all((1, 2))


def face_axes(landmarks_T68C: np.ndarray) -> np.ndarray:
    """Unit vectors of the face in the coordinates of the picture, [T, C, C]: image right, down, away (for C = 3)."""
    right_TC = _unit(landmarks_T68C[:, [45, 42]].mean(1) - landmarks_T68C[:, [36, 39]].mean(1))
    down_TC = landmarks_T68C[:, 8] - landmarks_T68C[:, 27]
    down_TC = _unit(down_TC - (down_TC * right_TC).sum(1, keepdims=True) * right_TC)
    axes = [right_TC, down_TC]
    if landmarks_T68C.shape[2] == 3:
        axes.append(np.cross(right_TC, down_TC))
    return np.stack(axes, 1)


def head_angles(landmarks_T683: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch in degrees, float32 [T] each; 0 where landmarks are not finite.

    Positive: turned to the image right, nodded down.
    """
    yaw_T, pitch_T = (np.zeros(len(landmarks_T683), np.float32) for _ in range(2))
    found_T = found(landmarks_T683)
    away_T3 = face_axes(landmarks_T683[found_T].astype(np.float64))[:, 2]
    yaw_T[found_T] = np.degrees(np.arctan2(-away_T3[:, 0], away_T3[:, 2]))
    pitch_T[found_T] = np.degrees(np.arcsin(np.clip(-away_T3[:, 1], -1, 1))) - _REST_PITCH
    return yaw_T, pitch_T


def turned_away(yaw_T: np.ndarray, pitch_T: np.ndarray) -> np.ndarray:
    """Frames in which the shape of the face is unreliable, bool [T]."""
    return (np.abs(yaw_T) > MAX_YAW) | (np.abs(pitch_T) > MAX_PITCH)


def _unit(vectors_TC: np.ndarray) -> np.ndarray:
    return vectors_TC / np.linalg.norm(vectors_TC, axis=1, keepdims=True)


def _fit(points_T68C: np.ndarray, shape_68C: np.ndarray) -> np.ndarray:
    """Each frame moved, turned and scaled so that its rigid points lie on those of the shape."""
    rigid = list(RIGID_POINTS[points_T68C.shape[2]])
    centre_T1C = points_T68C[:, rigid].mean(1, keepdims=True)
    target_KC = shape_68C[rigid]
    centred_TKC = points_T68C[:, rigid] - centre_T1C
    u_TCC, s_TC, vt_TCC = np.linalg.svd(np.swapaxes(centred_TKC, 1, 2) @ (target_KC - target_KC.mean(0)))
    # A reflection would fit a flat set of points as well as a rotation does.
    sign_T = np.sign(np.linalg.det(u_TCC) * np.linalg.det(vt_TCC))
    u_TCC[:, :, -1] *= sign_T[:, None]
    s_TC[:, -1] *= sign_T
    scale_T = s_TC.sum(1) / (centred_TKC**2).sum((1, 2))
    return scale_T[:, None, None] * ((points_T68C - centre_T1C) @ (u_TCC @ vt_TCC)) + target_KC.mean(0)

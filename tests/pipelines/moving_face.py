"""A tilted face that crosses a wide frame: bright dots at some of its landmarks, and the track that follows them."""

from __future__ import annotations

import io
from functools import cache

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.face_tracks import FaceTrack, smooth_boxes
from pipelines.landmarks import frontal_template
from pipelines.video import encode_h264

FRAMES, HEIGHT, WIDTH = 24, 270, 480
FACE, TILT = 150, 25
"""Side of the square that the face stands in, pixels, and its turn within it, degrees."""
RED, GREEN = 37, 44
"""Landmarks with a dot of that colour: the lid of one eye and its mirror image."""
_RADIUS = 4.0


@cache
def face_track(*, unit: int = 45) -> FaceTrack:
    """The true face, whose only active unit is `unit`. It moves by more than its own width."""
    angle, points_682 = np.radians(TILT), (frontal_template(1) - 0.5) * FACE
    turned_682 = points_682 @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre_T2 = np.linspace((100, 100), (WIDTH - 110, HEIGHT - 100), FRAMES)
    landmarks_T682 = (turned_682 + centre_T2[:, None]).astype(np.float32)
    score_T18 = np.zeros((FRAMES, len(ACTION_UNITS)), np.float32)
    score_T18[:, ACTION_UNITS.index(unit)] = 3.0
    still_T = np.zeros(FRAMES, np.float32)
    valid_T, box_T4 = np.ones(FRAMES, bool), smooth_boxes(landmarks_T682)
    return FaceTrack(landmarks_T682, valid_T, box_T4, score_T18, still_T, still_T, "openface", "test")


@cache
def face_video() -> bytes:
    """H.264 in MP4, grey but for the dots."""
    y_HW, x_HW = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    frames_THWC = np.full((FRAMES, HEIGHT, WIDTH, 3), 40.0)
    for t, points_682 in enumerate(face_track().landmarks_T682):
        for landmark, colour_3 in ((RED, (200, 0, 0)), (GREEN, (0, 200, 0))):
            x, y = points_682[landmark]
            dot_HW = np.exp(-((x_HW - x) ** 2 + (y_HW - y) ** 2) / (2 * _RADIUS**2))
            frames_THWC[t] += dot_HW[..., None] * colour_3
    file = io.BytesIO()
    encode_h264(frames_THWC.clip(0, 255).astype(np.uint8), file, fps=25.0)
    return file.getvalue()


def dots(clip_THWC: np.ndarray) -> np.ndarray:
    """Where the red and the green dot are seen in each frame, (x, y), float64 [T, 2, 2]."""
    red_THW, green_THW, _ = np.moveaxis(clip_THWC.astype(np.float64), -1, 0)
    y_HW, x_HW = np.mgrid[: clip_THWC.shape[1], : clip_THWC.shape[2]] + 0.5
    found = []
    for weight_THW in (red_THW - green_THW, green_THW - red_THW):
        weight_THW = np.where(weight_THW > 60, weight_THW, 0)
        places = [(weight_THW * place_HW).sum((1, 2)) / weight_THW.sum((1, 2)) for place_HW in (x_HW, y_HW)]
        found.append(np.stack(places, axis=1))
    return np.stack(found, axis=1)

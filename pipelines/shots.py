"""Where a video cuts from one shot to the next, from thumbnails of its frames.

A cut is a change far beyond those around it (a hard cut in the sense of Boreczky & Rowe 1996); moving cameras and faces
change many frames in a row. Fades are no cuts.
"""

from __future__ import annotations

import numpy as np

_SIDE = 16
MIN_CHANGE = 12.0
"""Mean change of a thumbnail, in grey levels of 255, that can be a cut."""
_STANDS_OUT = 4.0
"""How many times the median change of the frames around it a cut has."""
_AROUND = 6
"""Frames on either side that a change is compared with."""


def thumbnail(frame_HWC: np.ndarray) -> np.ndarray:
    """What is kept of a frame, float32 [16 x 16 x 3]. Takes a uint8 frame."""
    import cv2

    return cv2.resize(frame_HWC, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


def shot_starts(thumbnails_TD: np.ndarray) -> np.ndarray:
    """Frames that begin a new shot, bool [T]; the first frame of the video does not count."""
    starts_T = np.zeros(len(thumbnails_TD), bool)
    if len(thumbnails_TD) < 2:
        return starts_T
    change_T = np.r_[0.0, np.abs(np.diff(thumbnails_TD, axis=0)).mean(1)]
    for t in np.flatnonzero(change_T > MIN_CHANGE):
        around = np.r_[change_T[max(1, t - _AROUND) : t], change_T[t + 1 : t + 1 + _AROUND]]
        starts_T[t] = not around.size or change_T[t] > _STANDS_OUT * np.median(around)
    return starts_T

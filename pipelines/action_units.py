"""The 18 action units, and their intensities from the geometry of a face.

Each unit is a rule over distances between landmarks, relative to the same face at rest, in D (Tian, Kanade & Cohn 2001;
Pantic & Patras 2006; Soukupova & Cech 2016 for the eye ratio). No labelled data was used: thresholds lie three to four
deviations above what shaking heads, noise and compression do to a still face. AU6, 7, 9, 14, 17, 23 and 28 are furrows
and bulges more than shape: expect little of them.
Deliberate differences: AU15 and AU17 have higher thresholds, .020 and .025, since speech passes the usual ones; a peak
counts as high as it stands for three frames, so that a clip may take any of the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.face_geometry import align

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
"""In the order of every array of 18. OpenFace 2 reports these, and MAURA draws from them."""
ESTIMATOR_VERSION = 1
"""Raised whenever the same landmarks would give other scores."""
MAX_SCORE = 5.0
ACTIVE = 1.0
"""Score from which a unit is active."""
FEATURES = (
    *("brow_inner", "brow_outer", "brow_middle", "brow_gap"),  # heights above the eye corners, distance of the brows
    *("eye_ratio", "lid_upper", "lid_lower"),  # height over width, heights above and below the eye corners
    *("nose_wing", "lip_upper", "mouth_width", "mouth_corner", "corner_to_lips"),  # heights seen from eyes or nose
    *("mouth_gap", "jaw", "thick_upper", "thick_lower", "lip_lower"),
)
"""What is measured of a face, in D (eye_ratio is a ratio); heights point up."""
_MEDIAN_FRAMES = {"eye_ratio": 1, "lid_upper": 3, "lid_lower": 3}
"""Width of the median filter in frames; 5 for the others. A blink is over within five frames."""
_LASTING_FRAMES = 3
_TURNED_FACTOR = 1.5
"""By how much the thresholds grow where the head is turned away."""
_MIN_THICKNESS = 0.01
"""D; keeps lips that are hidden at rest from dividing by zero."""
_MIN_SHARE, _MIN_FRAMES = 0.1, 2


@dataclass(frozen=True)
class Baseline:
    """A face at rest."""

    values: np.ndarray
    """The FEATURES in order, [17]."""

    def __post_init__(self) -> None:
        if np.shape(self.values) != (len(FEATURES),) or not np.isfinite(self.values).all():
            raise ValueError(f"values={self.values} must be {len(FEATURES)} finite numbers; use baseline_of")


def features(landmarks_T68C: np.ndarray) -> np.ndarray:
    """The FEATURES of one face over a video, float32 [T, 17], filtered over time; NaN where landmarks are not finite.

    Args:
        landmarks_T68C: all frames of the video in any unit; C = 3 where depth is known, which keeps a nodding head from
            looking like a moving mouth.
    """
    points_T68C = align(landmarks_T68C)
    x_T68, y_T68 = points_T68C[..., 0], points_T68C[..., 1]

    def height(*points: int) -> np.ndarray:
        return -y_T68[:, list(points)].mean(1)

    def distance(*pairs: tuple[int, int]) -> np.ndarray:
        a, b = np.transpose(pairs)
        return np.linalg.norm(points_T68C[:, a] - points_T68C[:, b], axis=2).mean(1)

    eyes, nose = height(36, 39, 42, 45), height(33)
    right_eye = distance((37, 41), (38, 40)) / distance((36, 39))
    left_eye = distance((43, 47), (44, 46)) / distance((42, 45))
    measured = {
        "brow_inner": height(21, 22) - height(39, 42),
        "brow_outer": height(17, 18, 25, 26) - height(36, 45),
        "brow_middle": height(19, 20, 23, 24) - eyes,
        "brow_gap": x_T68[:, 22] - x_T68[:, 21],
        "eye_ratio": (right_eye + left_eye) / 2,
        "lid_upper": height(37, 38, 43, 44) - eyes,
        "lid_lower": eyes - height(40, 41, 46, 47),
        "nose_wing": height(31, 35) - height(39, 42),
        "lip_upper": height(50, 51, 52) - nose,
        "mouth_width": x_T68[:, 54] - x_T68[:, 48],
        "mouth_corner": height(48, 54) - nose,
        "corner_to_lips": height(48, 54) - height(51, 57),
        "mouth_gap": distance((61, 67), (62, 66), (63, 65)),
        "jaw": nose - height(8),
        "thick_upper": height(50, 51, 52) - height(61, 62, 63),
        "thick_lower": height(65, 66, 67) - height(56, 57, 58),
        "lip_lower": height(56, 57, 58) - nose,
    }
    return _filtered(np.stack([measured[name] for name in FEATURES], 1)).astype(np.float32)


def baseline_of(features_of_videos: Sequence[np.ndarray], valid: Sequence[np.ndarray] | None = None) -> Baseline:
    """The median of every feature over the usable frames of videos of one face.

    The median of a single short clip is the expression it holds; give all clips of a subject from the same view.

    Args:
        features_of_videos: float [T, 17] each; frames that are not finite do not count.
        valid: bool [T] each; nor do frames that are not valid. None: all are.

    Raises ValueError where no frame counts.
    """
    if valid is None:
        valid = [np.ones(len(features_TF), bool) for features_TF in features_of_videos]
    usable = [f_TF[v_T & np.isfinite(f_TF).all(1)] for f_TF, v_T in zip(features_of_videos, valid, strict=True)]
    if not sum(map(len, usable)):
        raise ValueError("no frame to take a baseline from; leave out videos in which the face is never found")
    return Baseline(np.median(np.concatenate(usable), 0).astype(np.float32))


def score(features_TF: np.ndarray, baseline: Baseline, turned_T: np.ndarray | None = None) -> np.ndarray:
    """Intensities of the ACTION_UNITS, float32 [T, 18] in 0..5; 0 where features are not finite.

    A peak counts as high as it stands for three frames.

    Args:
        turned_T: bool; frames in which the head is turned away, where it takes 1.5 times the movement. None: nowhere.
    """
    score_T18 = np.zeros((len(features_TF), len(ACTION_UNITS)))
    finite_T = np.isfinite(features_TF).all(1)
    now = dict(zip(FEATURES, features_TF[finite_T].T.astype(np.float64), strict=True))
    rest = dict(zip(FEATURES, map(float, baseline.values), strict=True))
    moved = {name: now[name] - rest[name] for name in FEATURES}
    units = _upper_face(now, rest, moved) | _mouth(now, moved) | _lips(now, rest, moved)
    units[6] = np.minimum(units[12], units[7])
    units[7] = units[7] * (now["eye_ratio"] >= 0.6 * rest["eye_ratio"])
    score_T18[finite_T] = np.stack([units[unit] for unit in ACTION_UNITS], 1)
    if turned_T is not None:
        score_T18[turned_T] /= _TURNED_FACTOR
    return _lasting(np.clip(score_T18, 0, MAX_SCORE)).astype(np.float32)


def active_units(score_T18: np.ndarray, valid_T: np.ndarray) -> np.ndarray:
    """Which of the ACTION_UNITS are active in a clip, bool [18]: in a tenth of its T frames and in two at least."""
    active_T18 = (score_T18 >= ACTIVE) & valid_T[:, None]
    return active_T18.sum(0) >= max(_MIN_FRAMES, _MIN_SHARE * len(valid_T))


Values = dict[str, np.ndarray]


def _upper_face(now: Values, rest: dict[str, float], moved: Values) -> dict[int, np.ndarray]:
    lowered, drawn_together = -moved["brow_middle"] / 0.015, np.maximum(0, -moved["brow_gap"] / 0.020)
    closed = (1 - now["eye_ratio"] / rest["eye_ratio"]) / 0.35
    return {
        1: moved["brow_inner"] / 0.015,
        2: moved["brow_outer"] / 0.015,
        4: np.where(lowered > 0, lowered + 0.5 * drawn_together, 0),
        5: moved["lid_upper"] / 0.008,
        7: -moved["lid_lower"] / 0.006,
        9: moved["nose_wing"] / 0.015,
        45: np.maximum(closed, now["eye_ratio"] < 0.16),
    }


def _mouth(now: Values, moved: Values) -> dict[int, np.ndarray]:
    gap, width, corner = moved["mouth_gap"], moved["mouth_width"], moved["mouth_corner"]
    smile = np.minimum(corner / 0.014, 1.5 * width / 0.025)
    return {
        10: moved["lip_upper"] / 0.018 - 0.5 * np.maximum(smile, 0),
        12: smile,
        14: width / 0.0175 * ((np.abs(corner) < 0.014) & (gap < 0.015)),
        15: -moved["corner_to_lips"] / 0.020 * (gap < 0.03),
        17: moved["lip_lower"] / 0.025 * (gap < 0.015),
        20: width / 0.025 * (corner < 0.004),
        25: np.maximum(gap / 0.015, now["mouth_gap"] > 0.05),
        26: np.maximum(moved["jaw"] / 0.030, now["mouth_gap"] > 0.20),
    }


def _lips(now: Values, rest: dict[str, float], moved: Values) -> dict[int, np.ndarray]:
    thickness = [now[name] / max(rest[name], _MIN_THICKNESS) for name in ("thick_upper", "thick_lower")]
    thinner = 1 - (thickness[0] + thickness[1]) / 2
    return {
        23: thinner / 0.20 * ((moved["mouth_gap"] < 0.015) & (moved["mouth_width"] < 0.025)),
        28: thinner / 0.45 * (now["mouth_gap"] < 0.03),
    }


def _filtered(features_TF: np.ndarray) -> np.ndarray:
    """Median over time within every run of frames with a face."""
    from scipy.ndimage import median_filter

    filtered_TF = features_TF.copy()
    edges = np.flatnonzero(np.diff(np.isfinite(features_TF[:, 0]), prepend=False, append=False))
    for start, stop in edges.reshape(-1, 2):
        for column, name in enumerate(FEATURES):
            frames = _MEDIAN_FRAMES.get(name, 5)
            filtered_TF[start:stop, column] = median_filter(features_TF[start:stop, column], frames, mode="nearest")
    return filtered_TF


def _lasting(score_T18: np.ndarray) -> np.ndarray:
    from scipy.ndimage import grey_opening

    return grey_opening(score_T18, (_LASTING_FRAMES, 1), mode="nearest")

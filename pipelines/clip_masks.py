"""The masks of a clip, from the face in it: which action units are active in its span, where their landmarks lie in the
picture, and R masks that each keep one of them.

The landmarks are those of the picture after crop and flip; how they got there is known to the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.tokens import ClipGeometry, Grid
from pipelines.action_units import ACTION_UNITS, active_units
from pipelines.au_masks import AUMaskConfig, MaskRecord, draw_au_mask
from pipelines.landmarks import NUM_LANDMARKS
from pipelines.randomness import Draw, generator

if TYPE_CHECKING:
    from pipelines.face_tracks import FaceTrack


class ClipFace(NamedTuple):
    """The face in a clip."""

    landmarks_T682: np.ndarray
    """float32, pixels of the clip as the model sees it; anything where not valid."""
    valid_T: np.ndarray
    """bool: the face was found in this frame."""
    active_18: np.ndarray
    """bool, ACTION_UNITS in order: active in the clip."""
    strongest: int | None
    """The unit of the highest score; None where there is no score at all."""


def clip_face(
    track: FaceTrack, landmarks_T682: np.ndarray, indices_T: np.ndarray, *, activity: FaceTrack | None = None
) -> ClipFace:
    """The face of a track in the frames `indices_T` of its video, whose landmarks in the picture are `landmarks_T682`.

    `activity` is the track whose scores count, of the same instants; None: the face's own.
    """
    active_18, strongest = active_in_span(activity or track, indices_T)
    return ClipFace(landmarks_T682, track.valid_T[indices_T], active_18, strongest)


def no_face(frames: int) -> ClipFace:
    """What a clip without a face has: its masks are plain ones, of the same count."""
    landmarks_T682 = np.zeros((frames, NUM_LANDMARKS, 2), np.float32)
    return ClipFace(landmarks_T682, np.zeros(frames, bool), np.zeros(len(ACTION_UNITS), bool), None)


def active_in_span(track: FaceTrack, indices_T: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Units active from the first to the last of the frames, those between included, bool [18], and the strongest."""
    span = slice(int(indices_T.min()), int(indices_T.max()) + 1)
    score_T18, valid_T = track.score_T18[span], track.valid_T[span]
    if not score_T18[valid_T].any():
        return np.zeros(len(ACTION_UNITS), bool), None
    return active_units(score_T18, valid_T), ACTION_UNITS[int(score_T18[valid_T].mean(0).argmax())]


def draw_clip_masks(
    face: ClipFace,
    geometry: ClipGeometry,
    config: AUMaskConfig,
    region: Grid | None,
    *,
    repeats: int,
    draw: Draw,
    **key: int,
) -> tuple[np.ndarray, list[MaskRecord]]:
    """Visible tokens, int32 [R, V], and what each mask shows: a pure function of its arguments.

    `key` are the arguments of pipelines.randomness.generator. Raises as pipelines.au_masks.draw_au_mask.
    """
    drawn = []
    for repeat in range(repeats):
        rng = generator(draw, repeat=repeat, **key)
        drawn.append(draw_au_mask(geometry, *face[:3], config, rng, strongest=face.strongest, region=region))
    return np.stack([visible_V for visible_V, _ in drawn]), [record for _, record in drawn]

"""Annotated faces as sequences of numbers: action units and landmarks of the main face over a whole video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.batch_reader import VIDEO_COLUMNS, main_face, video_at
from pipelines.face_geometry import align
from pipelines.landmarks import NUM_LANDMARKS

if TYPE_CHECKING:
    import pyarrow as pa

    from models.au_sequence import Sequences
    from pipelines.annotations import Annotations
    from pipelines.face_tracks import FaceTrack

STEPS = 32
"""Of a sequence, spread evenly over the video whatever its length."""
NUMBERS = len(ACTION_UNITS) + 2 * NUM_LANDMARKS


def unit_sequences(videos: pa.Table, annotations: Annotations) -> Sequences:
    """Scores of the 18 action units and 68 landmarks of labelled videos, in their order; 0 in frames without a face.

    Landmarks are those of the face without the movements of the head, centred, in eye distances
    (pipelines.face_geometry.align).
    """
    from models.au_sequence import Sequences

    table = videos.select(VIDEO_COLUMNS)
    x_NSF = np.zeros((len(videos), STEPS, NUMBERS), np.float32)
    valid_NS = np.zeros((len(videos), STEPS), bool)
    for row in range(len(videos)):
        track = main_face(video_at(table, row), annotations)
        if track is not None:
            x_NSF[row], valid_NS[row] = sequence_of(track)
    return Sequences(x_NSF, valid_NS)


def sequence_of(track: FaceTrack) -> tuple[np.ndarray, np.ndarray]:
    """One face, float32 [S, F], and the steps that show it, bool [S]."""
    frame_S = np.linspace(0, len(track) - 1, STEPS).round().astype(int)
    points_T136 = align(track.landmarks_T682).reshape(len(track), -1)
    x_SF = np.concatenate([track.score_T18, points_T136], axis=1)[frame_S].astype(np.float32)
    valid_S = track.valid_T[frame_S] & np.isfinite(x_SF).all(1)
    return np.where(valid_S[:, None], x_SF, 0), valid_S

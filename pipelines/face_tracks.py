"""One face through one video: landmarks, box, angles and action units in every frame, or that it is not there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pipelines.action_units import ACTION_UNITS, ESTIMATOR_VERSION, Baseline, baseline_of, features, score
from pipelines.face_geometry import found, head_angles, turned_away
from pipelines.face_linking import LinkConfig, link_faces
from pipelines.face_mesh import MESH_VERSION
from pipelines.landmarks import mesh_to_68
from pipelines.shots import shot_starts, thumbnail

BOX_SIGMA = 2.0
"""Frames; deviation of the Gaussian that steadies a box over time."""


@dataclass(frozen=True)
class FaceTrack:
    """One face through one video: arrays over all T frames of the video."""

    landmarks_T682: np.ndarray
    """float32, pixels of the original frame; NaN where not valid."""
    valid_T: np.ndarray
    """bool: the face was found in this frame."""
    box_T4: np.ndarray
    """float32 (left, top, width, height) in pixels, tight around the landmarks, smoothed over time and interpolated
    where the face is lost for some frames; NaN before its first and after its last frame."""
    score_T18: np.ndarray
    """float32 0..5, ACTION_UNITS in order; 1 and above is active; 0 where not valid."""
    yaw_T: np.ndarray
    """float32 degrees, positive turned to the image right; 0 where unknown."""
    pitch_T: np.ndarray
    """float32 degrees, positive nodded down; 0 where unknown."""
    source: str
    """openface or mediapipe."""
    version: str
    """Of the source, and of what was made of it."""
    face_id: int = 0
    """0 is the longest, largest face of the video."""
    features_TF: np.ndarray | None = None
    """float32 [T, 17] of action_units.features, NaN where not valid; None where the scores come from the source."""

    def __len__(self) -> int:
        return len(self.valid_T)

    @property
    def turned_T(self) -> np.ndarray:
        """bool: the head is turned too far for the shape of the face to be measured well."""
        return turned_away(self.yaw_T, self.pitch_T)

    @property
    def facing_T(self) -> np.ndarray:
        """bool: frames to take a baseline from. Those in which the face looks ahead; every valid frame where it never
        does, as in the views from the side."""
        facing_T = self.valid_T & ~self.turned_T
        return facing_T if facing_T.any() else self.valid_T


def build_tracks(frames: Iterable[tuple[np.ndarray, np.ndarray]], config: LinkConfig | None = None) -> list[FaceTrack]:
    """The faces of one video, longest and largest first; [] where there is none. Frames are taken one at a time.

    Scores are relative to the median of each track itself; where more is known of the person at rest, use `rescored`.

    Args:
        frames: each frame, uint8 [H, W, 3], with the meshes found in it, float32 [F, 478, 3] in pixels.
    """
    faces, thumbnails = [], []
    for frame_HWC, meshes_F4783 in frames:
        faces.append(mesh_to_68(meshes_F4783))
        thumbnails.append(thumbnail(frame_HWC))
    if not faces:
        return []
    linked = link_faces(faces, shot_starts(np.stack(thumbnails)), config or LinkConfig())
    return [_track(landmarks_T683, face_id) for face_id, landmarks_T683 in enumerate(linked)]


def rescored(track: FaceTrack, baseline: Baseline) -> FaceTrack:
    """A track whose scores are relative to a baseline. Raises ValueError for one whose scores came with its source."""
    if track.features_TF is None:
        raise ValueError(f"a track from {track.source} has the scores of its source and no features to score")
    return replace(track, score_T18=score(track.features_TF, baseline, track.turned_T))


def smooth_boxes(landmarks_T682: np.ndarray) -> np.ndarray:
    """The `box_T4` of landmarks [T, 68, 2] that are NaN where the face is not found; all NaN where it never is."""
    from scipy.ndimage import gaussian_filter1d

    box_T4 = np.full((len(landmarks_T682), 4), np.nan, np.float32)
    frames = np.flatnonzero(found(landmarks_T682))
    if not frames.size:
        return box_T4
    low_N2, high_N2 = landmarks_T682[frames].min(1), landmarks_T682[frames].max(1)
    middle_and_size_N4 = np.concatenate([(low_N2 + high_N2) / 2, high_N2 - low_N2], 1)
    every = np.arange(frames[0], frames[-1] + 1)
    steady_M4 = np.stack([np.interp(every, frames, column) for column in middle_and_size_N4.T], 1)
    steady_M4 = gaussian_filter1d(steady_M4, BOX_SIGMA, axis=0, mode="nearest")
    box_T4[every] = np.concatenate([steady_M4[:, :2] - steady_M4[:, 2:] / 2, steady_M4[:, 2:]], 1)
    return box_T4


def _track(landmarks_T683: np.ndarray, face_id: int) -> FaceTrack:
    yaw_T, pitch_T = head_angles(landmarks_T683)
    features_TF = features(landmarks_T683)
    track = FaceTrack(
        landmarks_T682=np.ascontiguousarray(landmarks_T683[..., :2]),
        valid_T=found(landmarks_T683),
        box_T4=smooth_boxes(landmarks_T683[..., :2]),
        score_T18=np.zeros((len(features_TF), len(ACTION_UNITS)), np.float32),
        yaw_T=yaw_T,
        pitch_T=pitch_T,
        source="mediapipe",
        version=f"{MESH_VERSION}+geometry-{ESTIMATOR_VERSION}",
        face_id=face_id,
        features_TF=features_TF,
    )
    return rescored(track, baseline_of([features_TF], [track.facing_T]))

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pipelines.action_units import ACTION_UNITS, baseline_of, features
from pipelines.face_linking import LinkConfig
from pipelines.face_tracks import FaceTrack, build_tracks, rescored, smooth_boxes
from pipelines.landmarks import MESH_POINTS, mesh_to_68
from pipelines.openface import read_csv
from pipelines.synthetic.openface import write_csv
from tests.pipelines.head_samples import acted, head, pulse, turned

FRAMES = 40
GREY = np.full((240, 320, 3), 128, np.uint8)
WHITE = np.full((240, 320, 3), 255, np.uint8)
TO_MESH = np.linalg.pinv(mesh_to_68(np.eye(MESH_POINTS)[None])[0])
"""From 68 points to a mesh that has them."""


def placed(landmarks_T683: np.ndarray, x: float = 160.0, size: float = 80.0) -> np.ndarray:
    return landmarks_T683 * size + (x, 90.0, 0.0)


def video(*faces_T683: np.ndarray, missing: slice = np.s_[:0], cut: int | None = None) -> Iterator:
    """Frames with their meshes; no face is found in the frames `missing`."""
    for t in range(len(faces_T683[0])):
        found = faces_T683 if t not in range(*missing.indices(FRAMES)) else ()
        meshes = np.array([TO_MESH @ face[t] for face in found], np.float32).reshape(-1, MESH_POINTS, 3)
        yield (WHITE if cut is not None and t >= cut else GREY), meshes


def still(frames: int = FRAMES) -> np.ndarray:
    return np.repeat(head()[None], frames, 0)


def test_a_face_is_followed_with_all_that_is_known_of_it() -> None:
    smiling = placed(acted(12, pulse(FRAMES, 10, 25)))
    (track,) = build_tracks(video(smiling))
    assert track.valid_T.all() and track.face_id == 0
    assert track.source == "mediapipe" and track.version.startswith("mediapipe-0.10.21+geometry-")
    np.testing.assert_allclose(track.landmarks_T682, smiling[..., :2], atol=0.01)
    assert (track.score_T18[12:23, ACTION_UNITS.index(12)] >= 1).all()
    assert track.score_T18[:8].max() == 0
    shapes = {"box_T4": (4,), "score_T18": (18,), "yaw_T": (), "pitch_T": (), "features_TF": (17,)}
    for name, shape in shapes.items():
        array = getattr(track, name)
        assert array.shape == (FRAMES, *shape) and array.dtype == np.float32, name


def test_frames_without_a_face_are_marked() -> None:
    (track,) = build_tracks(video(placed(still()), missing=np.s_[10:15]))
    np.testing.assert_array_equal(np.flatnonzero(~track.valid_T), np.arange(10, 15))
    assert np.isnan(track.landmarks_T682[10:15]).all() and (track.score_T18[10:15] == 0).all()
    assert np.isfinite(track.box_T4).all(), "over a short gap the box goes on"


def test_a_video_without_faces_has_no_tracks() -> None:
    assert build_tracks(video(still(), missing=np.s_[:])) == []
    assert build_tracks(iter(())) == []


def test_faces_are_numbered_from_the_largest() -> None:
    tracks = build_tracks(video(placed(still(), 60, 30), placed(still(), 220, 60), placed(still(), 130, 40)))
    assert [track.face_id for track in tracks] == [0, 1, 2]
    assert [round(float(track.landmarks_T682[0, 27, 0])) for track in tracks] == [220, 130, 60]


def test_a_shot_change_ends_a_track() -> None:
    tracks = build_tracks(video(placed(still()), cut=15))
    assert [np.flatnonzero(track.valid_T)[[0, -1]].tolist() for track in tracks] == [[15, 39], [0, 14]]
    assert np.isnan(tracks[0].box_T4[:15]).all()


def test_what_counts_as_one_face_can_be_chosen() -> None:
    config = LinkConfig(max_gap=2)
    assert len(build_tracks(video(placed(still()), missing=np.s_[10:15]), config)) == 2


def test_boxes_are_tight_and_steady() -> None:
    rng = np.random.default_rng(0)
    shaking = placed(still(200))[..., :2] + rng.normal(0, 2, (200, 1, 2))
    box = smooth_boxes(shaking)
    true_left = placed(head()[None])[0, :, 0].min()
    assert box[:, 0].std() < 1.0 < shaking[:, 0, 0].std()
    assert box[:, 0].mean() == pytest.approx(true_left, abs=0.5)
    np.testing.assert_allclose(box[:, 2], np.ptp(placed(head()[None])[0, :, 0]), atol=1e-3)


def test_boxes_follow_a_face_through_a_gap_and_end_with_it() -> None:
    sliding = placed(still(60))[..., :2] + 2.0 * np.arange(60)[:, None, None] * (1, 0)
    sliding[20:30] = sliding[:5] = sliding[55:] = np.nan
    box = smooth_boxes(sliding)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(box[:, 0])), [*range(5), *range(55, 60)])
    np.testing.assert_allclose(np.diff(box[12:48, 0]), 2.0, atol=0.05)


def test_a_baseline_from_elsewhere_changes_the_scores_alone() -> None:
    (track,) = build_tracks(video(placed(acted(12, np.ones(FRAMES)))))
    smile = ACTION_UNITS.index(12)
    assert track.score_T18[:, smile].max() == 0, "held throughout, an expression is the median of its clip"
    again = rescored(track, baseline_of([features(placed(still()))]))
    assert again.score_T18[:, smile].min() >= 1
    np.testing.assert_array_equal(again.landmarks_T682, track.landmarks_T682)


def test_scores_of_openface_are_not_scored_again() -> None:
    landmarks = placed(still())[..., :2]
    track = read_csv(write_csv(landmarks, np.zeros((FRAMES, 18)), np.zeros((FRAMES, 6)), fps=25), FRAMES)
    with pytest.raises(ValueError, match="openface"):
        rescored(track, baseline_of([features(landmarks)]))


def test_baselines_come_from_frames_that_face_the_camera() -> None:
    landmarks = np.concatenate([placed(still(30)), placed(turned(still(10), yaw=45))])
    (track,) = build_tracks(video(landmarks))
    np.testing.assert_array_equal(track.turned_T, np.arange(FRAMES) >= 30)
    np.testing.assert_array_equal(track.facing_T, np.arange(FRAMES) < 30)
    (side,) = build_tracks(video(placed(turned(still(), yaw=60))))
    assert side.facing_T.all(), "a view from the side has nothing better"


def test_a_track_is_as_long_as_its_video() -> None:
    track: FaceTrack = build_tracks(video(placed(still(7))))[0]
    assert len(track) == 7

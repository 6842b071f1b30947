"""Alignment: crops that follow the face, and landmarks that follow the crops."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.alignment import (
    TEMPLATE_MARGIN,
    AlignConfig,
    central_crop,
    central_path,
    crop_path,
    draw_crop,
    face_path,
    map_landmarks,
    warp,
)
from pipelines.face_tracks import FaceTrack
from pipelines.landmarks import MIRROR, eye_distance, flip_landmarks, frontal_template
from pipelines.quarantine import Reason, SampleError
from pipelines.transforms import Box, Crop


def track_of(landmarks_T682: np.ndarray, valid_T: np.ndarray | None = None) -> FaceTrack:
    frames = len(landmarks_T682)
    valid_T = np.ones(frames, bool) if valid_T is None else valid_T
    landmarks_T682 = np.where(valid_T[:, None, None], landmarks_T682, np.nan).astype(np.float32)
    low_T2, high_T2 = landmarks_T682.min(1), landmarks_T682.max(1)
    return FaceTrack(
        landmarks_T682=landmarks_T682,
        valid_T=valid_T,
        box_T4=np.concatenate([low_T2, high_T2 - low_T2], axis=1),
        score_T18=np.zeros((frames, 18), np.float32),
        yaw_T=np.zeros(frames, np.float32),
        pitch_T=np.zeros(frames, np.float32),
        source="openface",
        version="test",
        face_id=0,
    )


def placed(frames: int = 4, *, size: float = 200, left: float = 30, top: float = 20, tilt: float = 0) -> np.ndarray:
    """The average face in a square of `size` pixels at (left, top), turned about its middle by `tilt` degrees."""
    points = frontal_template(1) - 0.5
    angle = np.radians(tilt)
    rotation_22 = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.repeat((points @ rotation_22.T * size + size / 2 + (left, top))[None], frames, axis=0)


def eyes(landmarks_T682: np.ndarray) -> np.ndarray:
    return np.stack([landmarks_T682[:, 36:42].mean(1), landmarks_T682[:, 42:48].mean(1)], axis=1)


def dots(points_T2: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Black frames with a bright, smooth dot at one point of each."""
    y, x = np.mgrid[:height, :width] + 0.5
    frames = [np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 6.0**2)) for u, v in points_T2]
    return np.repeat((250 * np.stack(frames))[..., None], 3, axis=-1).round().astype(np.uint8)


def centroid(picture_HWC: np.ndarray) -> np.ndarray:
    weight_HW = picture_HWC[..., 0].astype(np.float64)
    y, x = np.mgrid[: weight_HW.shape[0], : weight_HW.shape[1]] + 0.5
    return np.array([(x * weight_HW).sum(), (y * weight_HW).sum()]) / weight_HW.sum()


@pytest.mark.parametrize("mode", ["box", "similarity"])
def test_an_average_face_comes_out_where_the_template_stands(mode):
    landmarks_T682 = placed(size=333, left=57, top=41)
    path_T23 = face_path(track_of(landmarks_T682), AlignConfig(mode))
    assert np.abs(map_landmarks(landmarks_T682, path_T23) - frontal_template(240)).max() < 1.5


@pytest.mark.parametrize("mode", ["box", "similarity"])
def test_a_wider_margin_makes_the_face_smaller_around_the_same_middle(mode):
    landmarks_T682 = placed()
    near, far = (
        map_landmarks(landmarks_T682, face_path(track_of(landmarks_T682), AlignConfig(mode, margin)))
        for margin in (1.5, 3.0)
    )
    np.testing.assert_allclose(near - 120, 2 * (far - 120), atol=0.01)


def test_similarity_holds_the_eyes_still_while_the_head_moves_grows_and_tilts():
    frames = 60
    steps = np.linspace(0, 1, frames)
    faces = [placed(1, size=160 + 60 * t, left=20 + 80 * t, top=30 * t, tilt=25 * t)[0] for t in steps]
    landmarks_T682 = np.stack(faces)
    aligned_T682 = map_landmarks(landmarks_T682, face_path(track_of(landmarks_T682), AlignConfig("similarity")))
    expected = eyes(frontal_template(240)[None])
    assert np.abs(eyes(aligned_T682) - expected)[5:-5].max() < 1.5
    assert np.abs(eyes(landmarks_T682) - eyes(landmarks_T682)[0]).max() > 50


def test_similarity_does_not_follow_the_trembling_of_landmarks():
    rng = np.random.default_rng(0)
    landmarks_T682 = placed(200) + rng.normal(0, 2.0, (200, 1, 2))
    path_T23 = face_path(track_of(landmarks_T682), AlignConfig("similarity"))
    corner_T2 = path_T23[:, :, 2]
    assert corner_T2.std(0).max() < 0.5 * 2.0 * 240 / 200


def test_a_face_seen_from_the_side_is_not_blown_up():
    frontal = placed(10)
    turned = (frontal - frontal.mean((0, 1))) * (0.5, 1.0) + frontal.mean((0, 1))
    aligned = [
        map_landmarks(points, face_path(track_of(points), AlignConfig("similarity"))) for points in (frontal, turned)
    ]
    heights = [points[0, 8, 1] - points[0, 27, 1] for points in aligned]
    assert abs(heights[1] / heights[0] - 1) < 0.1
    assert eye_distance(aligned[1])[0] < 0.6 * eye_distance(aligned[0])[0]


@pytest.mark.parametrize("mode", ["box", "similarity"])
def test_frames_without_a_face_take_a_path_between_their_neighbours(mode):
    landmarks_T682 = np.concatenate([placed(1, left=10 * t) for t in range(40)])
    whole = face_path(track_of(landmarks_T682), AlignConfig(mode))
    valid_T = np.ones(40, bool)
    valid_T[[0, 1, 20, 21, 22, 39]] = False
    gaps = face_path(track_of(landmarks_T682, valid_T), AlignConfig(mode))
    assert np.isfinite(gaps).all()
    np.testing.assert_allclose(gaps[18:25], whole[18:25], atol=1e-3)
    assert abs(gaps[0, 0, 2] - gaps[2, 0, 2]) < 12, "before the first face the crop waits for it"


def test_a_video_without_any_face_is_refused_with_a_reason():
    with pytest.raises(SampleError) as caught:
        face_path(track_of(placed(), np.zeros(4, bool)), AlignConfig())
    assert caught.value.reason is Reason.no_face and "4 frames" in caught.value.detail


def test_a_video_without_a_face_can_be_cut_to_its_largest_centred_square():
    path_T23 = central_path(3, 360, 640, AlignConfig())
    corners = np.repeat([[[140.0, 0.0], [500.0, 360.0]]], 3, axis=0)
    mapped = corners @ path_T23[:, :, :2].transpose(0, 2, 1) + path_T23[:, None, :, 2]
    np.testing.assert_allclose(mapped, np.repeat([[[0.0, 0.0], [240.0, 240.0]]], 3, axis=0), atol=1e-9)


def test_a_crop_at_whole_pixels_copies_them_and_a_mirrored_one_mirrors_them():
    frames_THWC = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    path_T23 = np.repeat(np.array([[[1.0, 0, -7], [0, 1, -3]]]), 3, axis=0)
    for flip in (False, True):
        out_THWC = np.zeros((3, 24, 24, 3), np.uint8)
        warp(frames_THWC, crop_path(path_T23, Crop(Box(2, 5, 24, 24), flip)), out_THWC)
        expected = frames_THWC[:, 5:29, 12:36]
        assert np.array_equal(out_THWC, expected[:, :, ::-1] if flip else expected)


@pytest.mark.parametrize("mode", ["box", "similarity"])
@pytest.mark.parametrize("size", [100, 250, 330, 900])
@pytest.mark.parametrize("flip", [False, True])
def test_pixels_and_landmarks_move_together(mode, size, flip):
    landmarks_T682 = placed(3, size=size, left=60, top=10, tilt=12)
    shape = {"height": round(size * 1.2) + 60, "width": round(size * 1.2) + 90}
    path_T23 = face_path(track_of(landmarks_T682), AlignConfig(mode, size=120))
    path_T23 = crop_path(path_T23, Crop(Box(3, 6, 112, 112), flip))
    mapped_T682 = map_landmarks(landmarks_T682, path_T23)
    out_THWC = np.zeros((3, 112, 112, 3), np.uint8)
    for landmark in (30, 48):
        warp(dots(landmarks_T682[:, landmark], **shape), path_T23, out_THWC)
        seen = MIRROR[landmark] if flip else landmark
        for picture_HWC, points_682 in zip(out_THWC, mapped_T682, strict=True):
            assert np.abs(centroid(picture_HWC) - points_682[seen]).max() < 0.1


def test_a_mirrored_crop_gives_the_mirrored_landmarks():
    landmarks_T682 = placed()
    path_T23 = face_path(track_of(landmarks_T682), AlignConfig())
    plain, mirrored = (
        map_landmarks(landmarks_T682, crop_path(path_T23, Crop(Box(8, 4, 224, 224), flip))) for flip in (False, True)
    )
    np.testing.assert_allclose(mirrored, flip_landmarks(plain, 224), atol=1e-3)
    assert np.all(mirrored[:, 36, 0] < mirrored[:, 45, 0])


def test_fine_patterns_of_a_large_frame_are_averaged_and_not_sampled():
    checks_HW = np.indices((720, 720)).sum(0) % 2 * 255
    frames_THWC = np.repeat(checks_HW[None, ..., None], 3, axis=-1).astype(np.uint8)
    out_THWC = np.zeros((1, 120, 120, 3), np.uint8)
    for scale in (1 / 6, 1 / 5.7):
        warp(frames_THWC, np.array([[[scale, 0, 0], [0, scale, 0]]]), out_THWC)
        assert np.abs(out_THWC.astype(int) - 127).max() <= 20


def test_a_crop_that_leaves_a_large_frame_is_black_beyond_it():
    frames_THWC = np.full((1, 600, 800, 3), 200, np.uint8)
    for shift, seen in ((60, 60 / 100), (-1000, 0)):
        out_THWC = np.full((1, 100, 100, 3), 7, np.uint8)
        warp(frames_THWC, np.array([[[0.25, 0, -200 + shift], [0, 0.25, 0]]]), out_THWC)
        assert abs((out_THWC == 200).mean() - seen) < 0.02 and abs((out_THWC == 0).mean() - (1 - seen)) < 0.02


def test_beyond_the_frame_the_picture_is_black():
    out_THWC = np.full((1, 24, 24, 3), 7, np.uint8)
    warp(np.full((1, 16, 16, 3), 200, np.uint8), np.array([[[1.0, 0, 12], [0, 1.0, 0]]]), out_THWC)
    assert np.all(out_THWC[0, :, :11] == 0) and np.all(out_THWC[0, 1:15, 13:] == 200)


def test_random_crops_stay_in_the_square_reach_its_ends_and_mirror_half():
    crops = [draw_crop(AlignConfig(), 224, np.random.default_rng(seed)) for seed in range(2000)]
    tops, lefts = {crop.box.top for crop in crops}, {crop.box.left for crop in crops}
    assert tops == lefts == set(range(17))
    assert all((crop.box.height, crop.box.width) == (224, 224) for crop in crops)
    assert 900 < sum(crop.flip for crop in crops) < 1100
    assert not any(draw_crop(AlignConfig(flip=False), 224, np.random.default_rng(s)).flip for s in range(50))


def test_one_crop_serves_two_views_of_a_take():
    crop = draw_crop(AlignConfig(), 224, np.random.default_rng(1))
    views = [placed(left=left, size=size) for left, size in ((10, 150), (90, 230))]
    seen = [map_landmarks(v, crop_path(face_path(track_of(v), AlignConfig()), crop)) for v in views]
    np.testing.assert_allclose(seen[0], seen[1], atol=0.01)


def test_the_central_crop_is_in_the_middle_and_never_mirrored():
    assert central_crop(AlignConfig(), 224) == Crop(Box(8, 8, 224, 224), False)
    assert central_crop(AlignConfig(size=224), 224) == Crop(Box(0, 0, 224, 224), False)


def test_values_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="margin=0.5"):
        AlignConfig(margin=0.5)
    with pytest.raises(ValueError, match="size=4"):
        AlignConfig(size=4)
    with pytest.raises(ValueError, match="224 pixels does not fit the aligned 160"):
        draw_crop(AlignConfig(size=160), 224, np.random.default_rng(0))


def test_the_default_margin_is_that_of_the_template():
    assert AlignConfig().margin == TEMPLATE_MARGIN

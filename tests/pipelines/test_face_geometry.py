from __future__ import annotations

import numpy as np
import pytest

from pipelines.face_geometry import align, head_angles, turned_away
from tests.pipelines.head_samples import acted, head, pulse, turned


@pytest.mark.parametrize("yaw, pitch, roll", [(25, 0, 0), (-40, 0, 10), (0, 15, 0), (0, -25, -20), (20, 10, 5)])
def test_angles_are_those_the_head_was_turned_by(yaw: float, pitch: float, roll: float) -> None:
    rest_yaw, rest_pitch = head_angles(head()[None])
    found_yaw, found_pitch = head_angles(turned(head()[None], yaw, pitch, roll))
    assert found_yaw[0] - rest_yaw[0] == pytest.approx(yaw, abs=5)
    assert found_pitch[0] - rest_pitch[0] == pytest.approx(pitch, abs=5)


def test_frames_without_a_face_have_no_angle_and_no_shape() -> None:
    landmarks = np.stack([head(), np.full((68, 3), np.nan)])
    assert head_angles(landmarks)[0][1] == 0
    aligned = align(landmarks)
    assert np.isfinite(aligned[0]).all() and np.isnan(aligned[1]).all()


def test_no_face_in_any_frame_is_no_error() -> None:
    assert np.isnan(align(np.full((3, 68, 2), np.nan))).all()


def test_aligned_faces_stand_still_while_the_head_moves() -> None:
    moving = np.stack([turned(head(), yaw, pitch, roll) for yaw, pitch, roll in np.random.uniform(-40, 40, (20, 3))])
    aligned = align(moving * 90 + 200)
    np.testing.assert_allclose(aligned, np.broadcast_to(aligned[:1], aligned.shape), atol=1e-9)
    assert np.linalg.norm(aligned[0, 45] - aligned[0, 36]) == pytest.approx(1)
    assert aligned[0, 45, 1] == pytest.approx(aligned[0, 36, 1]) and aligned[0, 8, 1] > 1


def test_a_moving_mouth_does_not_move_the_eyes() -> None:
    aligned = align(acted(26, pulse(20, 5, 15)))
    np.testing.assert_allclose(aligned[:, 36:48], np.broadcast_to(aligned[:1, 36:48], (20, 12, 3)), atol=1e-9)


def test_heads_turned_too_far_are_told_apart() -> None:
    yaw, pitch = np.array((0, 29, -31, 0, 0)), np.array((0, 0, 0, 19, -21))
    np.testing.assert_array_equal(turned_away(yaw, pitch), (False, False, True, False, True))

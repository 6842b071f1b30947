from __future__ import annotations

import numpy as np
import pytest

from pipelines.landmarks import (
    MIRROR,
    NUM_LANDMARKS,
    TEMPLATE,
    eye_distance,
    flip_landmarks,
    frontal_template,
    mesh_to_68,
)

POINTS = np.random.default_rng(0).uniform(0, 224, (5, NUM_LANDMARKS, 3)).astype(np.float32)


def test_mirroring_twice_changes_nothing() -> None:
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(NUM_LANDMARKS))
    np.testing.assert_allclose(flip_landmarks(flip_landmarks(POINTS, 224), 224), POINTS, atol=1e-4)


def test_flipping_moves_points_and_renames_them() -> None:
    flipped = flip_landmarks(POINTS, 224)
    np.testing.assert_allclose(flipped[:, 36, 0], 224 - POINTS[:, 45, 0])
    np.testing.assert_array_equal(flipped[:, 36, 1:], POINTS[:, 45, 1:])
    assert POINTS.max() <= 224, "the input is left as it was"


def test_the_average_face_is_its_own_mirror_image() -> None:
    template = frontal_template(224)
    np.testing.assert_allclose(flip_landmarks(template[None], 224)[0], template, atol=1e-4)


def test_points_on_the_right_of_the_person_are_left_in_the_picture() -> None:
    for right in (0, 17, 31, 36, 48):
        assert TEMPLATE[right, 0] < 0 < TEMPLATE[MIRROR[right], 0]
    assert TEMPLATE[19, 1] < TEMPLATE[36, 1] < TEMPLATE[33, 1] < TEMPLATE[57, 1] < TEMPLATE[8, 1]


@pytest.mark.parametrize("size", [112, 224])
def test_the_template_lies_in_its_crop_at_the_published_place(size: int) -> None:
    template = frontal_template(size)
    assert template.dtype == np.float32
    np.testing.assert_allclose(template[27], (0.5 * size, 0.378 * size), rtol=1e-6)
    assert eye_distance(template[None])[0] == pytest.approx(0.366 * size)
    assert (template > 0).all() and (template < size).all()


def test_landmarks_are_points_of_the_mesh_or_the_middle_of_two() -> None:
    mesh = np.random.default_rng(1).normal(size=(2, 478, 3)).astype(np.float32)
    landmarks = mesh_to_68(mesh)
    assert landmarks.shape == (2, 68, 3) and landmarks.dtype == np.float32
    np.testing.assert_array_equal(landmarks[:, 36], mesh[:, 33])
    np.testing.assert_array_equal(landmarks[:, 45], mesh[:, 263])
    np.testing.assert_allclose(landmarks[:, 27], (mesh[:, 168] + mesh[:, 6]) / 2, rtol=1e-6)


def test_no_meshes_give_no_landmarks() -> None:
    assert mesh_to_68(np.zeros((0, 478, 3), np.float32)).shape == (0, 68, 3)


def test_a_mesh_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="attention"):
        mesh_to_68(np.zeros((1, 468, 3), np.float32))

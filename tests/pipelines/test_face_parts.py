"""Parts of a face: where they lie, what their picture shows, and that mirrors do not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.face_parts import EMOTIC_INPUTS, FacePartsConfig, part_boxes, part_view
from pipelines.landmarks import eye_distance, flip_landmarks, frontal_template
from pipelines.quarantine import Reason, SampleError
from pipelines.transforms import Box

PARTS = {name: config for name, config in EMOTIC_INPUTS.items() if config is not None}
SIZES = ((224, 224), (112, 112), (97, 111), (48, 48))


def noise(height: int, width: int) -> np.ndarray:
    """A smooth picture: resizing it forwards and backwards must not differ by more than rounding."""
    rows, columns = np.mgrid[:height, :width] / 20
    waves = [np.sin(rows + k) * np.cos(1.7 * columns - k) for k in range(3)]
    return (127.5 + 127 * np.stack(waves, axis=-1)).astype(np.uint8)


def landmarks(height: int, width: int) -> np.ndarray:
    """A face that is not its own mirror image."""
    face_682 = frontal_template(1) * (width, height)
    return (face_682 + np.random.default_rng(0).uniform(-2, 2, (68, 2))).astype(np.float32)


def test_parts_lie_at_the_fractions_of_the_paper():
    boxes = part_boxes((100, 100), FacePartsConfig(("eye", "mouth", "nose")))
    assert boxes == [Box(35, 20, 20, 60), Box(70, 20, 20, 60), Box(20, 40, 60, 20)]
    assert part_boxes((50, 200), FacePartsConfig(("nose",))) == [Box(10, 80, 30, 40)]


def test_the_inputs_of_the_paper_are_six():
    shown = {name: config and config.parts for name, config in EMOTIC_INPUTS.items()}
    assert shown == {
        **{"full": None, "eye": ("eye",), "nose": ("nose",), "mouth": ("mouth",)},
        **{"eye_mouth": ("eye", "mouth"), "eye_mouth_nose": ("eye", "mouth", "nose")},
    }


def test_parts_of_every_size_lie_within_the_picture_and_in_its_middle():
    for size in range(8, 300):
        for top, left, height, width in part_boxes((size, size), EMOTIC_INPUTS["eye_mouth_nose"]):
            assert height >= 1 and width >= 1 and 0 <= top and top + height <= size
            assert left == size - (left + width)


@pytest.mark.parametrize("source", ["fractions", "landmarks"])
@pytest.mark.parametrize("arrangement", ["stacked", "canvas"])
@pytest.mark.parametrize("name", PARTS)
def test_parts_of_the_mirrored_face_are_the_mirror_image(name, arrangement, source):
    config = replace(PARTS[name], arrangement=arrangement, source=source)
    for height, width in SIZES:
        picture_HWC, points = noise(height, width), [None, None]
        if source == "landmarks":
            points[0] = landmarks(height, width)
            points[1] = flip_landmarks(points[0][None], width)[0]
        view_HWC = part_view(picture_HWC, config, points[0])
        mirrored_HWC = part_view(np.ascontiguousarray(picture_HWC[:, ::-1]), config, points[1])
        assert view_HWC.shape == picture_HWC.shape and view_HWC.dtype == np.uint8
        np.testing.assert_allclose(mirrored_HWC.astype(int), view_HWC[:, ::-1], atol=1)


def test_on_a_canvas_parts_stay_where_they_are_and_the_rest_is_black():
    picture_HWC = noise(100, 100) | 1
    view_HWC = part_view(picture_HWC, FacePartsConfig(("eye", "mouth"), arrangement="canvas"))
    is_shown_HW = np.zeros((100, 100), bool)
    is_shown_HW[35:55, 20:80] = is_shown_HW[70:90, 20:80] = True
    assert np.array_equal(view_HWC, np.where(is_shown_HW[..., None], picture_HWC, 0))


def test_parts_are_stacked_in_order_and_share_the_height():
    picture_HWC = np.zeros((100, 90, 3), np.uint8)
    for value, box in enumerate(part_boxes((100, 90), FacePartsConfig(("eye", "mouth"))), start=1):
        picture_HWC[box.top : box.top + box.height, box.left : box.left + box.width] = value
    view_HWC = part_view(picture_HWC, FacePartsConfig(("mouth", "eye")))
    assert np.all(view_HWC[:50] == 2) and np.all(view_HWC[50:] == 1)
    three_HWC = part_view(picture_HWC, FacePartsConfig(("eye", "nose", "mouth")))
    assert np.all(three_HWC[:33] == 1) and np.all(three_HWC[67:] == 2), "heights that do not divide by 3 leave no gap"


def test_a_part_alone_fills_the_picture():
    rows_HWC = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None], (100, 100, 3))
    view_HWC = part_view(np.ascontiguousarray(rows_HWC), FacePartsConfig(("mouth",)))
    assert view_HWC[0].max() == 70 and view_HWC[-1].min() == 89
    assert np.all(np.diff(view_HWC[:, 0, 0].astype(int)) >= 0)


@pytest.mark.parametrize("margin", [0.0, 0.15, 0.4])
def test_parts_by_landmarks_hold_their_points_and_a_margin(margin):
    points_682 = landmarks(224, 224)
    config = FacePartsConfig(("eye", "nose", "mouth"), source="landmarks", margin=margin)
    room = margin * eye_distance(points_682[None])[0]
    members = (range(36, 48), range(27, 36), range(48, 68))
    for box, part in zip(part_boxes((224, 224), config, points_682), members, strict=True):
        (left, top), (right, bottom) = points_682[list(part)].min(0) - room, points_682[list(part)].max(0) + room
        assert left - 1 < box.left <= left and top - 1 < box.top <= top
        assert right <= box.left + box.width < right + 1 and bottom <= box.top + box.height < bottom + 1


def test_parts_by_landmarks_end_where_the_picture_does():
    points_682 = landmarks(100, 100)
    points_682[:, 1] -= points_682[36:48, 1].mean()
    (box,) = part_boxes((100, 100), FacePartsConfig(("eye",), source="landmarks"), points_682)
    assert box.top == 0 and 0 < box.height < 20


def test_the_picture_is_left_as_it_was():
    picture_HWC = noise(64, 64)
    copy = picture_HWC.copy()
    for config in PARTS.values():
        for arrangement in ("stacked", "canvas"):
            part_view(picture_HWC, replace(config, arrangement=arrangement))
    assert np.array_equal(picture_HWC, copy)


@pytest.mark.parametrize(
    ("shift", "words"), [(np.nan, "no landmarks to find the parts"), (-300, "the mouth lies outside the picture")]
)
def test_a_face_without_the_part_cannot_be_used(shift, words):
    config = FacePartsConfig(("mouth",), source="landmarks")
    with pytest.raises(SampleError, match=words) as error:
        part_view(noise(64, 64), config, landmarks(64, 64) + shift)
    assert error.value.reason == Reason.no_face


def test_a_picture_of_a_few_pixels_cannot_be_used():
    with pytest.raises(SampleError, match="7x64 is too small") as error:
        part_view(noise(64, 7), FacePartsConfig())
    assert error.value.reason == Reason.format


def test_landmarks_must_be_given_where_they_have_an_effect():
    with pytest.raises(ValueError, match="landmarks are missing with source=landmarks"):
        part_view(noise(64, 64), FacePartsConfig(source="landmarks"))
    with pytest.raises(ValueError, match="landmarks have no effect with source=fractions"):
        part_view(noise(64, 64), FacePartsConfig(), landmarks(64, 64))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parts": ()}, "one or more of eye, nose, mouth"),
        ({"parts": ("eye", "eye")}, "each once"),
        ({"parts": ("eye", "brow")}, "brow"),
        ({"margin": 0.3}, "margin has no effect on source=fractions"),
        ({"source": "landmarks", "margin": -0.1}, "margin=-0.1"),
        ({"source": "landmarks", "margin": float("nan")}, "margin=nan"),
    ],
)
def test_a_choice_of_parts_that_makes_no_picture_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        FacePartsConfig(**options)

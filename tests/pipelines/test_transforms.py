"""Crops: where they may lie, what they may not do, and pixels that land where they should."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.landmarks import MIRROR, frontal_template
from pipelines.quarantine import Reason, SampleError
from pipelines.transforms import (
    Box,
    Crop,
    CropConfig,
    apply_crop,
    central_crop,
    crop_area,
    crop_landmarks,
    draw_crop,
)


def crops(config: CropConfig, *, height: int = 224, width: int = 224, number: int = 3000) -> list[Crop]:
    return [draw_crop(height, width, config, np.random.default_rng(seed)) for seed in range(number)]


def test_voxceleb_crops_stay_in_the_window_and_have_the_papers_sides():
    for box, flip in crops(CropConfig()):
        assert box.top >= 0 and box.top + box.height <= 160
        assert box.left >= 32 and box.left + box.width <= 192
        assert {box.height, box.width} <= {160, 140, 120, 105} and not flip


def test_sides_differ_by_at_most_one_step_and_all_ten_pairs_occur():
    order = [160, 140, 120, 105]
    pairs = {(box.height, box.width) for box, _ in crops(CropConfig())}
    assert len(pairs) == 10
    assert all(abs(order.index(high) - order.index(wide)) <= 1 for high, wide in pairs)


def test_the_thirteen_fixed_offsets_and_no_other_are_used():
    places = {(box.top, box.left - 32) for box, _ in crops(CropConfig()) if (box.height, box.width) == (120, 120)}
    step = (160 - 120) // 4
    in_quarters = {(top // step, left // step) for top, left in places}
    corners_and_centre = {(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)}
    edges = {(2, 0), (2, 4), (4, 2), (0, 2)}
    assert in_quarters == corners_and_centre | edges | {(1, 1), (1, 3), (3, 1), (3, 3)}


def test_flip_mirrors_about_half_of_the_clips_when_asked_for():
    flips = [flip for _, flip in crops(CropConfig(flip=True), number=1000)]
    assert 400 < sum(flips) < 600


def test_a_window_meets_only_frames_of_its_size_and_no_window_takes_the_largest_centred_square():
    with pytest.raises(SampleError) as caught:
        crop_area(256, 256, CropConfig())
    assert caught.value.reason is Reason.format and "256x256" in caught.value.detail
    assert crop_area(180, 320, CropConfig(window=None)) == Box(0, 70, 180, 180)
    assert crop_area(320, 180, CropConfig(window=None)) == Box(70, 0, 180, 180)


def test_the_central_crop_is_the_whole_area():
    assert central_crop(224, 224, CropConfig(flip=True)) == Crop(Box(0, 32, 160, 160), False)


def test_a_box_of_the_output_size_is_copied_exactly_and_mirrored_exactly():
    frames_THWC = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    box = Box(2, 5, 16, 16)
    for flip in (False, True):
        out_THWC = np.zeros((3, 16, 16, 3), np.uint8)
        apply_crop(frames_THWC, Crop(box, flip), out_THWC)
        expected = frames_THWC[:, 2:18, 5:21]
        assert np.array_equal(out_THWC, expected[:, :, ::-1] if flip else expected)


@pytest.mark.parametrize("side", [105, 120, 140, 300])
@pytest.mark.parametrize("flip", [False, True])
def test_a_resized_ramp_keeps_its_direction_and_ends(side, flip):
    """Bilinear up and area down both map a linear ramp to a linear ramp, up to the borders and rounding."""
    ramp_W = np.linspace(0, 255, side)
    frames_THWC = np.broadcast_to(ramp_W[None, None, :, None], (2, side, side, 3)).round().astype(np.uint8)
    out_THWC = np.zeros((2, 160, 160, 3), np.uint8)
    apply_crop(frames_THWC, Crop(Box(0, 0, side, side), flip), out_THWC)
    centres = np.clip((np.arange(160) + 0.5) * side / 160 - 0.5, 0, side - 1) * 255 / (side - 1)
    expected_W = centres[::-1] if flip else centres
    assert np.abs(out_THWC.astype(float) - expected_W[None, None, :, None]).max() <= 1.5


def test_the_crop_is_written_into_the_rows_of_a_larger_block_and_nowhere_else():
    block_BTHWC = np.full((3, 2, 16, 16, 3), 7, np.uint8)
    frames_THWC = np.full((2, 32, 32, 3), 200, np.uint8)
    apply_crop(frames_THWC, Crop(Box(0, 0, 20, 20), False), block_BTHWC[1])
    assert np.all(block_BTHWC[1] == 200) and np.all(block_BTHWC[[0, 2]] == 7)


@pytest.mark.parametrize("box", [Box(10, 20, 80, 80), Box(0, 7, 100, 90), Box(4, 4, 200, 160)])
@pytest.mark.parametrize("flip", [False, True])
def test_landmarks_land_where_the_pixels_under_them_do_and_change_sides_in_a_mirror(box, flip):
    points_682, size = frontal_template(64) + (30, 24), 96
    assert np.array_equal(MIRROR[MIRROR], np.arange(68))
    mapped_T682 = crop_landmarks(points_682[None], Crop(box, flip), size)
    assert mapped_T682.dtype == np.float32 and mapped_T682.shape == (1, 68, 2)
    y, x = np.mgrid[:224, :224] + 0.5
    for point in (8, 30, 36, 54):
        blob_HW = 255 * np.exp(-((x - points_682[point, 0]) ** 2 + (y - points_682[point, 1]) ** 2) / 18)
        out_THWC = np.zeros((1, size, size, 3), np.uint8)
        apply_crop(np.repeat(blob_HW[None, :, :, None], 3, axis=3).astype(np.uint8), Crop(box, flip), out_THWC)
        weight_HW = out_THWC[0, :, :, 0].astype(float)
        y_out, x_out = np.mgrid[:size, :size] + 0.5
        centre_2 = np.array([(weight_HW * x_out).sum(), (weight_HW * y_out).sum()]) / weight_HW.sum()
        expected_2 = mapped_T682[0, MIRROR[point] if flip else point]
        assert np.abs(centre_2 - expected_2).max() < 0.25


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"scales": ()}, "scales"),
        ({"scales": (1.2,)}, "scales"),
        ({"size": 0}, "size"),
        ({"window": (100, 32, 160, 160)}, "window"),
        ({"window": None, "frame_size": (256, 256)}, "no effect"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields, word):
    with pytest.raises(ValueError, match=word):
        CropConfig(**fields)

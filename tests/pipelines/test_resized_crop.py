"""Random resized crops: where they lie, how large they are, and what evaluation sees instead."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.pictures import cut_picture
from pipelines.resized_crop import ResizedCropConfig, central_square, draw_box, draw_resized_crop
from pipelines.transforms import apply_crop
from tests.pipelines.media import moving_square

CONFIG = ResizedCropConfig()


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 90)])
def test_boxes_lie_in_the_picture_and_have_the_areas_and_aspects_asked_for(height: int, width: int) -> None:
    boxes = np.array([draw_box(height, width, (0.2, 0.6), (0.5, 2.0), rng(seed)) for seed in range(500)])
    top, left, high, wide = boxes.T
    assert np.all((top >= 0) & (left >= 0) & (top + high <= height) & (left + wide <= width))
    share, aspect = high * wide / (height * width), wide / high
    assert 0.18 < share.min() < 0.25 and 0.5 < share.max() < 0.63
    assert 0.48 < aspect.min() < 0.6 and 1.7 < aspect.max() < 2.1
    assert top.min() == left.min() == 0 and (top + high).max() == height and (left + wide).max() == width


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.2, 1.0)])
def test_the_boxes_are_those_of_torchvision_in_distribution(area: tuple[float, float]) -> None:
    torch = pytest.importorskip("torch")
    from torchvision.transforms import RandomResizedCrop

    picture, aspect = torch.zeros(3, 70, 100), CONFIG.aspect
    ours = np.array([draw_box(70, 100, area, aspect, rng(seed)) for seed in range(3000)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = np.array([RandomResizedCrop.get_params(picture, list(area), list(aspect)) for _ in range(3000)])
    assert np.allclose(ours.mean(0), theirs.mean(0), atol=1.2) and np.allclose(ours.std(0), theirs.std(0), atol=1.2)


def test_where_no_box_fits_it_is_the_largest_central_one_that_is_allowed() -> None:
    assert draw_box(10, 100, (1.0, 1.0), (1.0, 1.0), rng(0)) == (0, 45, 10, 10)
    assert draw_box(100, 10, (1.0, 1.0), (1.0, 1.0), rng(0)) == (45, 0, 10, 10)


def test_a_crop_is_drawn_by_the_generator_alone_and_half_of_them_are_mirrored_or_none() -> None:
    crops = [draw_resized_crop(60, 90, CONFIG, rng(seed)) for seed in range(400)]
    assert [draw_resized_crop(60, 90, CONFIG, rng(seed)) for seed in range(400)] == crops
    assert 0.42 < np.mean([crop.flip for crop in crops]) < 0.58
    plain = ResizedCropConfig(flip=False)
    assert [draw_resized_crop(60, 90, plain, rng(seed)).box for seed in range(400)] == [crop.box for crop in crops]
    assert not any(draw_resized_crop(60, 90, plain, rng(seed)).flip for seed in range(50))


@pytest.mark.parametrize(
    ("height", "width", "box"), [(60, 90, (0, 15, 60, 60)), (91, 60, (15, 0, 60, 60)), (7, 7, (0, 0, 7, 7))]
)
def test_evaluation_sees_the_largest_centred_square_never_mirrored(height: int, width: int, box: tuple) -> None:
    crop = central_square(height, width)
    assert crop.box == box and not crop.flip


def test_a_picture_is_cut_at_random_in_training_and_is_the_centred_square_where_nothing_is_drawn() -> None:
    config = ResizedCropConfig(size=40, area=(0.3, 0.5))
    image_THWC, out_THWC = moving_square(1, height=40, width=60), np.zeros((1, 40, 40, 3), np.uint8)
    crop = cut_picture(image_THWC, None, np.zeros(1, int), config, None, out_THWC=out_THWC)
    assert crop == central_square(40, 60) and np.array_equal(out_THWC, image_THWC[:, :, 10:50])
    drawn = cut_picture(image_THWC, None, np.zeros(1, int), config, rng(4), out_THWC=out_THWC)
    assert drawn == draw_resized_crop(40, 60, config, rng(4))
    expected_THWC = np.empty_like(out_THWC)
    apply_crop(image_THWC, drawn, expected_THWC)
    assert np.array_equal(out_THWC, expected_THWC)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size=0 must be positive"),
        ({"area": (0.0, 1.0)}, r"area=\(0.0, 1.0\)"),
        ({"area": (0.5, 0.2)}, r"area=\(0.5, 0.2\)"),
        ({"area": (0.5, 1.5)}, r"area=\(0.5, 1.5\)"),
        ({"aspect": (2.0, 1.0)}, r"aspect=\(2.0, 1.0\) must be two positive ratios, the smaller first"),
        ({"aspect": (0.0, 1.0)}, r"aspect=\(0.0, 1.0\)"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResizedCropConfig(**fields)

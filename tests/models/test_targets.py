from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.cubes import byte_pixels, from_cubes, put, to_cubes
from models.targets import make_target, normalize_cubes, target_to_pixels, target_values
from tests.models.samples import GEOMETRY, IMAGE, clips

TARGETS = ("joint", "appearance", "motion", "video_mae")


def slow_target(kind: str, cube: np.ndarray) -> np.ndarray:
    """One cube [2, 16, 16, 3] of pixels in [0, 1], float64, channel by channel, pixel by pixel."""
    normalised = np.empty_like(cube)
    for c in range(3):
        values = [float(v) for v in cube[..., c].ravel()]
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
        normalised[..., c] = (cube[..., c] - mean) / (math.sqrt(variance) + 1e-6)
    first, second = normalised
    frames = {
        "joint": [first, second - first],
        "appearance": [first],
        "motion": [second - first],
        "video_mae": [first, second],
    }[kind]
    return np.concatenate([frame.ravel() for frame in frames])


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_agree_with_a_slow_float64_oracle(kind):
    cubes = to_cubes(clips(1), GEOMETRY)
    expected = np.stack([slow_target(kind, cube.double().numpy().reshape(2, 16, 16, 3) / 255) for cube in cubes[0]])
    exact = make_target(kind, cubes.double() / 255)
    np.testing.assert_allclose(exact[0].numpy(), expected, rtol=1e-10, atol=1e-12)
    single = make_target(kind, cubes)
    assert single.dtype == torch.float32
    assert single.shape[-1] == target_values(kind, GEOMETRY.cube_values)
    np.testing.assert_allclose(single[0].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_normalised_cube_has_mean_0_and_unbiased_variance_1_in_every_channel():
    channels = normalize_cubes(to_cubes(clips(2), GEOMETRY).double() / 255).unflatten(-1, (-1, 3))
    torch.testing.assert_close(channels.mean(-2), torch.zeros_like(channels[..., 0, :]), rtol=0, atol=1e-12)
    torch.testing.assert_close(channels.var(-2), torch.ones_like(channels[..., 0, :]), rtol=0, atol=1e-5)


def test_a_cube_of_one_colour_has_a_finite_target():
    flat = torch.full((1, 4, GEOMETRY.cube_values), 200, dtype=torch.uint8)
    assert make_target("joint", flat).abs().max() < 0.2  # rounding of the mean over epsilon


def test_motion_is_the_second_half_of_joint_and_appearance_the_first():
    cubes = to_cubes(clips(1), GEOMETRY)
    appearance, motion = make_target("joint", cubes).chunk(2, dim=-1)
    assert torch.equal(appearance, make_target("appearance", cubes))
    assert torch.equal(motion, make_target("motion", cubes))


@pytest.mark.parametrize("kind", ["joint", "video_mae", "image_mae", "pixels"])
def test_a_perfect_prediction_becomes_the_true_pixels(kind):
    cubes = to_cubes(clips(1), GEOMETRY)
    pixels = target_to_pixels(kind, make_target(kind, cubes), cubes)
    torch.testing.assert_close(pixels, cubes / 255, rtol=0, atol=1e-5)


def test_one_half_becomes_the_first_frame_or_the_difference_of_the_frames():
    cubes = to_cubes(clips(1), GEOMETRY)
    first, second = (cubes / 255).chunk(2, dim=-1)
    appearance = target_to_pixels("appearance", make_target("appearance", cubes), cubes)
    motion = target_to_pixels("motion", make_target("motion", cubes), cubes)
    torch.testing.assert_close(appearance, first, rtol=0, atol=1e-5)
    torch.testing.assert_close(motion, second - first, rtol=0, atol=1e-5)


def test_recovered_cubes_complete_the_clip():
    clip = clips(1)
    cubes = to_cubes(clip, GEOMETRY)
    masked = torch.arange(5, 20)[None]
    hidden = put(cubes, masked, torch.zeros(1, 15, GEOMETRY.cube_values, dtype=torch.uint8))
    pixels = target_to_pixels("joint", make_target("joint", cubes[:, 5:20]), cubes[:, 5:20])
    whole = put(hidden, masked, byte_pixels(pixels))
    assert torch.equal(from_cubes(whole, GEOMETRY), clip)


def slow_image_target(kind: str, patch: np.ndarray) -> np.ndarray:
    """One patch [16, 16, 3] of pixels in [0, 1], float64, value by value."""
    statistics = zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    colours = [[(float(v) - mean) / std for v in patch[..., c].ravel()] for c, (mean, std) in enumerate(statistics)]
    values = [colours[c][i] for i in range(256) for c in range(3)]
    if kind == "pixels":
        return np.array(values)
    mean = math.fsum(values) / 768
    variance = math.fsum((v - mean) ** 2 for v in values) / 767
    return np.array([(v - mean) / math.sqrt(variance + 1e-6) for v in values])


@pytest.mark.parametrize("kind", ["image_mae", "pixels"])
def test_targets_of_images_agree_with_a_slow_float64_oracle(kind):
    cubes = to_cubes(clips(2, geometry=IMAGE), IMAGE)
    expected = np.stack([slow_image_target(kind, cube.double().numpy().reshape(16, 16, 3) / 255) for cube in cubes[1]])
    exact = make_target(kind, cubes.double() / 255)
    np.testing.assert_allclose(exact[1].numpy(), expected, rtol=1e-10, atol=1e-12)
    single = make_target(kind, cubes)
    assert single.dtype == torch.float32
    assert single.shape[-1] == target_values(kind, IMAGE.cube_values) == 768
    np.testing.assert_allclose(single[1].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_patch_without_contrast_has_a_finite_target_and_comes_back():
    grey = (torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)).repeat(1, 4, 256)
    assert make_target("image_mae", grey).abs().max() < 1e-9
    black = torch.zeros(1, 4, IMAGE.cube_values, dtype=torch.uint8)
    pixels = target_to_pixels("image_mae", make_target("image_mae", black), black)
    torch.testing.assert_close(pixels, torch.zeros_like(pixels), rtol=0, atol=1e-5)


def test_zeros_are_each_patchs_mean_or_imagenets_mean_colour():
    cubes = to_cubes(clips(1, geometry=IMAGE), IMAGE)
    zeros = torch.zeros(1, 16, 768)
    colours = target_to_pixels("pixels", zeros, cubes).unflatten(-1, (-1, 3))
    torch.testing.assert_close(colours, torch.tensor([0.485, 0.456, 0.406]).expand_as(colours))
    colours = target_to_pixels("image_mae", zeros, cubes).unflatten(-1, (-1, 3))
    assert torch.equal(colours, colours[:, :, :1].expand_as(colours))

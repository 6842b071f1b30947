from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models.cubes import CubeEmbedding, byte_pixels, from_cubes, normalize_pixels, put, sinusoid_table, take, to_cubes
from tests.models.samples import GEOMETRY, clips


def test_cubes_are_ordered_frame_row_column_channel_and_tokens_time_row_column():
    clip, (_, rows, columns) = clips(1), GEOMETRY.grid
    cubes = to_cubes(clip, GEOMETRY)
    assert cubes.shape == (1, GEOMETRY.num_tokens, GEOMETRY.cube_values)
    for n in range(GEOMETRY.num_tokens):
        t, h, w = n // (rows * columns), n // columns % rows, n % columns
        block = clip[0, 2 * t : 2 * t + 2, 16 * h : 16 * h + 16, 16 * w : 16 * w + 16]
        assert torch.equal(cubes[0, n], block.flatten())


def test_cubes_put_together_are_the_clip():
    clip = clips(2)
    assert torch.equal(from_cubes(to_cubes(clip, GEOMETRY), GEOMETRY), clip)


def test_a_clip_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 4, 64, 48, 3\), the geometry asks for \(batch, \*\(4, 64, 64, 3\)\)"):
        to_cubes(clips(1)[:, :, :, :48], GEOMETRY)


def test_what_is_put_can_be_taken_and_nothing_else_changes():
    x = torch.randn(2, 6, 3)
    index, values = torch.tensor([[4, 0], [1, 5]]), torch.randn(2, 2, 3)
    changed = put(x, index, values)
    assert torch.equal(take(changed, index), values)
    assert torch.equal(changed[0, [1, 2, 3, 5]], x[0, [1, 2, 3, 5]])


def test_pixels_outside_the_unit_interval_are_clipped_not_wrapped():
    assert byte_pixels(torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.2])).tolist() == [0, 0, 128, 255, 255]


def test_the_embedding_is_a_convolution_whose_stride_is_its_kernel():
    embedding = CubeEmbedding(GEOMETRY, 24)
    embedding.init_weights()
    convolution = nn.Conv3d(3, 24, kernel_size=(2, 16, 16), stride=(2, 16, 16))
    convolution.load_state_dict(embedding.state_dict())
    pixels = normalize_pixels(clips(2))
    expected = convolution(pixels.permute(0, 4, 1, 2, 3)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embedding(to_cubes(pixels, GEOMETRY)), expected, rtol=1e-4, atol=1e-5)


def test_pixels_are_normalised_by_imagenets_mean_and_deviation_per_channel():
    clip = clips(1)
    expected = (clip.double() / 255 - torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)) / torch.tensor(
        [0.229, 0.224, 0.225], dtype=torch.float64
    )
    torch.testing.assert_close(normalize_pixels(clip).double(), expected, rtol=1e-6, atol=1e-6)
    cubes = to_cubes(clip, GEOMETRY)
    assert torch.equal(normalize_pixels(cubes), to_cubes(normalize_pixels(clip), GEOMETRY))


def test_positions_are_sines_and_cosines_of_the_flattened_index():
    table = sinusoid_table(50, 8)
    for position in (0, 1, 49):
        for place in range(8):
            angle = position / 10000 ** (2 * (place // 2) / 8)
            value = math.cos(angle) if place % 2 else math.sin(angle)
            assert table[position, place].item() == pytest.approx(value, abs=1e-6)

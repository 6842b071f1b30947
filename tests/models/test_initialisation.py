from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models import multi_view
from models.masked_autoencoder import build
from models.registry import create_encoder
from tests.models.samples import GEOMETRY, REGION, config, multi_view_config


def fill_with_nan(module: nn.Module) -> None:
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.detach().fill_(math.nan)
        else:
            tensor.fill_(-1)


def check_complete(module: nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        assert torch.isfinite(tensor).all(), name
        assert tensor.is_floating_point() or (tensor >= 0).all(), name


@pytest.mark.parametrize("encoder", ["lgi_former_nano", "video_vit_nano"])
def test_init_leaves_no_parameter_and_no_buffer_unwritten(encoder):
    model = build(config(encoder))
    fill_with_nan(model)
    model.init_weights()
    check_complete(model)


@pytest.mark.parametrize("positions", ["learned", "sinusoid"])
@pytest.mark.parametrize("view_embedding", ["off", "learned"])
@pytest.mark.parametrize("encoder", ["lgi_former_nano", "video_vit_nano"])
def test_init_across_views_leaves_nothing_unwritten(encoder, view_embedding, positions):
    settings = multi_view_config(encoder, target_view_embedding=view_embedding, position_embedding=positions)
    model = multi_view.build(settings)
    fill_with_nan(model)
    model.init_weights()
    check_complete(model)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "lgi_former_nano", "region": REGION},
        {"name": "video_vit_nano"},
        {"name": "video_vit_nano", "position_embedding": "learned"},
    ],
)
def test_init_of_a_classifier_leaves_nothing_unwritten(arguments):
    model = create_encoder(geometry=GEOMETRY, num_classes=7, **arguments)
    fill_with_nan(model)
    model.init_weights()
    check_complete(model)


def test_a_model_from_the_meta_device_is_complete_after_init():
    with torch.device("meta"):
        model = build(config())
    model = model.to_empty(device="cpu")
    fill_with_nan(model)
    twin = build(config())
    for each in (model, twin):
        torch.manual_seed(3)
        each.init_weights()
    torch.testing.assert_close(dict(model.named_parameters()), dict(twin.named_parameters()), rtol=0, atol=0)
    torch.testing.assert_close(dict(model.named_buffers()), dict(twin.named_buffers()), rtol=0, atol=0)


def largest(matrix: torch.Tensor) -> float:
    return matrix.abs().max().item()


def test_xavier_bounds_are_those_of_the_matrices_the_originals_draw():
    width = 128
    vit = create_encoder("video_vit_nano", geometry=GEOMETRY)
    together = vit.blocks[0].attn.qkv.weight
    assert largest(together) == pytest.approx(math.sqrt(6 / (4 * width)), rel=0.01)
    lgi = create_encoder("lgi_former_nano", geometry=GEOMETRY, region=REGION)
    query, key_value = lgi.blocks[0].intra_attn.qkv.weight.split([width, 2 * width])
    assert largest(query) == pytest.approx(math.sqrt(6 / (2 * width)), rel=0.01)
    assert largest(key_value) == pytest.approx(math.sqrt(6 / (3 * width)), rel=0.01)
    assert largest(lgi.blocks[0].mlp.fc1.weight) == pytest.approx(math.sqrt(6 / (5 * width)), rel=0.01)


def test_tokens_are_cut_at_one_standard_deviation():
    model = build(config())
    across = multi_view.build(multi_view_config(target_view_embedding="learned"))
    tokens = [model.decoder.mask_token, model.encoder.representative_tokens.weight, across.decoder.view_embed.weight]
    for token in [*tokens, across.encoder.pos_embed.weight, across.decoder.pos_embed.weight]:
        assert 0.015 < largest(token) <= 0.02


def test_a_classifier_is_drawn_from_a_normal_and_its_head_is_scaled_down():
    model = create_encoder("video_vit_nano", geometry=GEOMETRY, num_classes=50)
    assert model.blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.head.weight.std().item() == pytest.approx(0.02 * 0.001, rel=0.1)
    assert not model.head.bias.any()

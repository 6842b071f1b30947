"""Published and counted sizes; counts by running the public definitions, tables from arXiv 2307.02227."""

from __future__ import annotations

import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from models import multi_view
from models.config import MaskedAutoencoderConfig, MultiViewConfig
from models.flops import count_multiply_adds, count_parameters, encoder_multiply_adds
from models.masked_autoencoder import build
from models.registry import create_encoder
from models.tokens import ClipGeometry

AT_224 = ClipGeometry(height=224, width=224)


def parameters(name: str, **arguments) -> int:
    with torch.device("meta"):
        return count_parameters(create_encoder(name, **arguments))


@pytest.mark.parametrize(
    ("name", "count"),
    [("lgi_former_tiny", 21_465_856), ("lgi_former_small", 47_927_424), ("lgi_former_base", 84_874_752)],
)
def test_lgi_former_has_the_parameters_of_the_original(name, count):
    assert parameters(name) == count


def test_the_classifier_of_lgi_former_base_has_the_parameters_of_the_original():
    assert parameters("lgi_former_base", num_classes=7) == 84_878_343


@pytest.mark.parametrize(
    ("variant", "millions", "giga"),
    [("intra", 51.2, 42.7), ("intra_inter", 68.0, 42.8), ("intra_lgi", 68.1, 49.6), ("full", 84.9, 49.8)],
)
def test_the_variants_are_those_of_table_3(variant, millions, giga):
    arguments = {"variant": variant, "num_classes": 7}
    assert round(parameters("lgi_former_base", **arguments) / 1e6, 1) == millions
    assert encoder_multiply_adds("lgi_former_base", **arguments) / 1e9 == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize(
    ("region", "giga"),
    [((1, 5, 10), 49.8), ((2, 2, 10), 50.0), ((2, 5, 10), 49.8), ((2, 10, 10), 50.7), ((4, 5, 10), 50.7)],
)
def test_regions_cost_what_table_4_says(region, giga):
    assert encoder_multiply_adds("lgi_former_base", region=region) / 1e9 == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize(
    ("name", "giga"),
    [("lgi_former_tiny", 13.0), ("lgi_former_small", 28.4), ("lgi_former_base", 49.8), ("video_vit_base", 80.8)],
)
def test_sizes_cost_what_tables_3_and_10_say(name, giga):
    assert encoder_multiply_adds(name, num_classes=7) / 1e9 == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("video_vit_small", 21.88),
        ("video_vit_base", 86.23),
        ("video_vit_large", 303.86),
        ("video_vit_huge", 631.61),
    ],
)
def test_the_vits_have_the_parameters_of_the_originals(name, millions):
    assert parameters(name, geometry=AT_224) / 1e6 == pytest.approx(millions, abs=0.005)


def test_the_vit_base_classifier_of_400_classes_has_the_parameters_of_the_original():
    assert round(parameters("video_vit_base", num_classes=400) / 1e6, 2) == 86.53


@pytest.mark.parametrize(
    ("encoder", "target", "decoder", "total"),
    [
        ("lgi_former_base", "joint", (384, 4, 6), 92_760_192),
        ("video_vit_small", "video_mae", (192, 4, 3), 24.03),
        ("video_vit_base", "video_mae", (384, 4, 6), 94.21),
        ("video_vit_large", "video_mae", (512, 12, 8), 343.0),
        ("video_vit_huge", "video_mae", (640, 12, 8), 692.5),
    ],
)
def test_pretraining_models_have_the_parameters_of_the_originals(encoder, target, decoder, total):
    width, depth, heads = decoder
    with torch.device("meta"):
        model = build(
            MaskedAutoencoderConfig(
                encoder=encoder, target=target, decoder_width=width, decoder_depth=depth, decoder_heads=heads
            )
        )
    count = count_parameters(model)
    assert count == total if isinstance(total, int) else count / 1e6 == pytest.approx(total, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "encoder", "decoder"),
    [
        ({"position_embedding": "sinusoid"}, 86_227_200, 7_688_832),  # VideoMAE-B
        ({}, 86_227_200 + 1568 * 768, 7_688_832 + 1568 * 384),  # MAURA: the same and a vector per token
        ({"loss_tokens": "all"}, 86_227_200 + 1568 * 768, 7_688_832 + 1568 * 384),
        ({"target_view_embedding": "learned"}, 86_227_200 + 1568 * 768, 7_688_832 + (1568 + 7) * 384),
    ],
)
def test_maura_is_videomae_base_plus_what_it_learns_of_positions_and_views(changes, encoder, decoder):
    with torch.device("meta"):
        model = multi_view.build(MultiViewConfig(**changes))
    assert count_parameters(model.encoder) == encoder
    assert count_parameters(model.decoder) == decoder
    assert count_parameters(model) == encoder + decoder + 768 * 384


@pytest.mark.parametrize(
    ("name", "width", "depth", "heads", "trainable", "ours"),
    [
        ("base", 768, 12, 12, 111_655_680, 85_638_144),
        ("large", 1024, 24, 16, 329_239_296, 303_075_328),
    ],
)
def test_image_autoencoders_are_mae_without_the_biases_of_its_keys(name, width, depth, heads, trainable, ours):
    sizes = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    image = ClipGeometry(frames=1, height=224, width=224, tubelet=1)
    decoder = {"decoder_width": 512, "decoder_depth": 8, "decoder_heads": 16}
    with torch.device("meta"):
        theirs = ViTMAEForPreTraining(ViTMAEConfig(**sizes, intermediate_size=4 * width))
        model = build(MaskedAutoencoderConfig(f"face_vit_{name}", image, target="image_mae", **decoder))
    assert sum(p.numel() for p in theirs.parameters() if p.requires_grad) == trainable
    assert count_parameters(model.encoder) == ours
    assert count_parameters(model) == trainable - (depth * width + 8 * 512)


def test_mae_base_has_the_published_millions_and_its_encoder_those_of_a_vit():
    image = ClipGeometry(frames=1, height=224, width=224, tubelet=1)
    fixed_positions, keys = 197 * 768, 12 * 768
    assert parameters("face_vit_base") + fixed_positions + keys == 85_798_656
    assert parameters("face_vit_base", num_classes=8, geometry=image) == parameters("face_vit_base") + 8 * 769


def test_learned_positions_cost_no_multiply_adds():
    fixed, learned = (
        encoder_multiply_adds("video_vit_base", geometry=AT_224, position_embedding=kind)
        for kind in ("sinusoid", "learned")
    )
    assert learned == fixed


def test_a_matrix_product_costs_one_flop_per_multiply_add():
    with torch.device("meta"):
        a, b = torch.empty(3, 5), torch.empty(5, 7)
    assert count_multiply_adds(torch.matmul, a, b) == 3 * 5 * 7


def test_attention_is_counted():
    with torch.device("meta"):
        query, key = torch.empty(1, 2, 10, 8), torch.empty(1, 2, 20, 8)
    products = 2 * (2 * 10 * 20 * 8)
    assert count_multiply_adds(torch.nn.functional.scaled_dot_product_attention, query, key, key) == products

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from models.config import EncoderConfig, MaskedAutoencoderConfig
from models.fine_tuning import FineTuning, build
from models.positions import resize_vectors
from models.tokens import ClipGeometry
from models.weights import build_model
from tests.models.samples import CLASSES, GEOMETRY, config, fine_tuning_config, multi_view_config

ENCODERS = ("lgi_former_nano", "video_vit_nano")
HEAD = {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
LONGER = ClipGeometry(frames=8, height=96, width=64)


def recorded(settings: EncoderConfig) -> dict[str, Any]:
    """What a run records, read from JSON again."""
    return json.loads(json.dumps({"model": asdict(settings)}))


def pretrained(settings: MaskedAutoencoderConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_model(settings).state_dict()


def tuned(**changes: Any) -> FineTuning:
    torch.manual_seed(2)
    return build(fine_tuning_config(**changes))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_pretrained_encoder_goes_over_and_norm_and_head_stay_new(encoder):
    settings, model = config(encoder), tuned(encoder=encoder)
    weights, before = pretrained(settings), {k: v.clone() for k, v in model.encoder.state_dict().items()}
    model.start_from(weights, recorded(settings))
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, before[name] if name in HEAD else weights[f"encoder.{name}"]), name


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"mixup": 0.8}, True),
        ({"classes": CLASSES[::-1]}, False),
        ({"classes": ("happy", "sad")}, False),
        ({"global_pool": "local"}, False),
        ({"task": "multi_label"}, False),
    ],
)
def test_a_fine_tuned_head_goes_over_only_to_the_same_classes_in_the_same_order(changes, kept):
    source = tuned()
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    model = tuned(**changes)
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    model.start_from(source.state_dict(), recorded(source.config))
    for name, value in model.encoder.state_dict().items():
        is_new = name in HEAD and not kept
        assert torch.equal(value, before[name] if is_new else source.encoder.state_dict()[name]), name


def test_learned_positions_and_representative_tokens_are_copied_where_grids_agree_and_interpolated_where_not():
    settings = multi_view_config("lgi_former_nano")
    weights = pretrained(settings)
    same = tuned(position_embedding="learned")
    same.start_from(weights, recorded(settings))
    assert torch.equal(same.encoder.pos_embed.weight, weights["encoder.pos_embed.weight"])
    longer = tuned(position_embedding="learned", geometry=LONGER, region=(2, 2, 4))
    longer.start_from(weights, recorded(settings))
    positions = resize_vectors(weights["encoder.pos_embed.weight"], GEOMETRY.grid, LONGER.grid)
    assert torch.equal(longer.encoder.pos_embed.weight, positions)
    tokens = resize_vectors(weights["encoder.representative_tokens.weight"], (1, 2, 1), (2, 3, 1))
    assert torch.equal(longer.encoder.representative_tokens.weight, tokens)
    assert torch.equal(longer.encoder.blocks[0].mlp.fc1.weight, weights["encoder.blocks.0.mlp.fc1.weight"])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_sinusoids_are_those_of_the_new_frames_and_size(encoder):
    settings, model = config(encoder), tuned(encoder=encoder, geometry=LONGER)
    fresh = model.encoder.pos_embed.weight.clone()
    model.start_from(pretrained(settings), recorded(settings))
    assert torch.equal(model.encoder.pos_embed.weight, fresh)


def test_resized_vectors_are_linear_between_the_centres_of_cells_and_constant_beyond():
    old, new = (4, 5, 3), (7, 2, 6)
    vectors = torch.randn(4 * 5 * 3, 6, dtype=torch.float64)
    centres = [np.arange(size) + 0.5 for size in old]
    inside = [np.clip((np.arange(n) + 0.5) * size / n, 0.5, size - 0.5) for n, size in zip(new, old, strict=True)]
    expected = RegularGridInterpolator(centres, vectors.reshape(*old, 6).numpy())(
        np.stack(np.meshgrid(*inside, indexing="ij"), axis=-1)
    )
    resized = resize_vectors(vectors, old, new)
    torch.testing.assert_close(resized, torch.from_numpy(expected).reshape(-1, 6))
    assert torch.equal(resize_vectors(vectors, old, old), vectors)
    with pytest.raises(ValueError, match="60 vectors are not those of a grid of 4 x 5 x 4 cells"):
        resize_vectors(vectors, (4, 5, 4), new)


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (config(), {"encoder": "video_vit_nano"}, "encoder=lgi_former_nano and not video_vit_nano"),
        (config(), {"encoder": "lgi_former_tiny"}, "encoder=lgi_former_nano and not lgi_former_tiny"),
        (config(lgi_variant="intra"), {}, "lgi_variant=intra and not full"),
        (config(), {"position_embedding": "learned"}, "position_embedding=sinusoid and not learned"),
        (config(), {"geometry": ClipGeometry(4, 64, 64, tubelet=1)}, "geometry.tubelet=2 and not 1"),
        (config(), {"geometry": ClipGeometry(4, 64, 64, patch=8)}, "geometry.patch=16 and not 8"),
    ],
)
def test_another_encoder_is_refused_by_what_differs(settings, changes, message):
    with pytest.raises(ValueError, match=f"the weights are of another encoder, {message}"):
        tuned(**changes).start_from(pretrained(settings), recorded(settings))


def test_weights_that_are_not_those_of_their_config_are_refused_by_name_and_change_nothing():
    settings, model = config("video_vit_nano"), tuned(encoder="video_vit_nano")
    weights, before = pretrained(settings), {k: v.clone() for k, v in model.state_dict().items()}
    less = {name: value for name, value in weights.items() if name != "encoder.blocks.3.mlp.fc1.weight"}
    more = weights | {"encoder.blocks.4.mlp.fc1.weight": torch.zeros(512, 128)}
    narrow = weights | {"encoder.blocks.0.mlp.fc1.bias": torch.zeros(7)}
    for broken, message in (
        (less, r"missing \['blocks.3.mlp.fc1.weight'\], unknown \[\], of other shapes \[\]"),
        (more, r"missing \[\], unknown \['blocks.4.mlp.fc1.weight'\]"),
        (weights | {"discriminator.weight": torch.zeros(1)}, r"unknown \['discriminator.weight'\]"),
        (narrow, r"of other shapes \['blocks.0.mlp.fc1.bias'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            model.start_from(broken, recorded(settings))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

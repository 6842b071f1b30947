from __future__ import annotations

import pytest
from timm.optim import param_groups_layer_decay
from torch import nn

from models import multi_view
from models.masked_autoencoder import build
from models.parameters import layer_decay_groups, undecayed, weight_decay_groups
from models.registry import create_encoder
from tests.models.samples import GEOMETRY, REGION, config, multi_view_config

ENCODERS = ("lgi_former_nano", "video_vit_nano")


def names_of(group: dict, model: nn.Module) -> list[str]:
    by_id = {id(parameter): name for name, parameter in model.named_parameters()}
    return [by_id[id(parameter)] for parameter in group["params"]]


def classifier(name: str, **arguments):
    if name.startswith("lgi"):
        arguments["region"] = REGION
    return create_encoder(name, geometry=GEOMETRY, num_classes=7, **arguments)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_pretraining_decays_matrices_but_neither_biases_nor_norms_nor_tokens(encoder):
    model = build(config(encoder))
    decay, no_decay = model.parameter_groups(0.05)
    assert [decay[k] for k in ("name", "weight_decay", "lr_scale")] == ["decay", 0.05, 1.0]
    assert [no_decay[k] for k in ("name", "weight_decay", "lr_scale")] == ["no_decay", 0.0, 1.0]
    free = set(names_of(no_decay, model))
    assert "decoder.mask_token" in free
    assert ("encoder.representative_tokens.weight" in free) == (encoder == "lgi_former_nano")
    for name in free - {"decoder.mask_token", "encoder.representative_tokens.weight"}:
        assert name.endswith("bias") or "norm" in name, name
    for name in names_of(decay, model):
        assert name.endswith(".weight") and "norm" not in name, name


@pytest.mark.parametrize("encoder", ENCODERS)
def test_learned_positions_and_views_are_not_decayed(encoder):
    across = multi_view.build(multi_view_config(encoder, target_view_embedding="learned"))
    added = {"encoder.pos_embed.weight", "decoder.pos_embed.weight", "decoder.view_embed.weight"}
    assert undecayed(across) == undecayed(build(config(encoder))) | added
    _, no_decay = across.parameter_groups(0.05)
    assert set(names_of(no_decay, across)) == undecayed(across)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_trainable_parameter_is_in_exactly_one_group(encoder):
    task, tuned = build(config(encoder)), classifier(encoder)
    for model, groups in (
        (task, task.parameter_groups(0.05)),
        (tuned, layer_decay_groups(tuned, 0.05, layer_decay=0.75)),
    ):
        names = [name for group in groups for name in names_of(group, model)]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_frozen_parameters_are_left_out_and_empty_groups_with_them():
    model = classifier("video_vit_nano")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name == "head.weight"
    (group,) = weight_decay_groups(model, 0.05)
    assert names_of(group, model) == ["head.weight"]


def test_a_name_that_matches_no_parameter_is_an_error():
    model = build(config())
    model.no_weight_decay = lambda: {"representative_tokens.weight"}
    with pytest.raises(ValueError, match=r"names \['representative_tokens.weight'\], which are not parameters"):
        undecayed(model)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_learning_rate_falls_from_the_head_to_the_embedding_and_its_representative_tokens(encoder):
    model = classifier(encoder)
    depth = len(model.blocks)
    scale = {}
    for group in layer_decay_groups(model, 0.05, layer_decay=0.5):
        scale |= dict.fromkeys(names_of(group, model), group["lr_scale"])
    assert scale["head.weight"] == scale["fc_norm.bias"] == 1
    assert scale[f"blocks.{depth - 1}.mlp.fc1.weight"] == 0.5
    assert scale["blocks.0.mlp.fc1.bias"] == 0.5**depth
    assert scale["patch_embed.weight"] == 0.5 ** (depth + 1)
    assert scale.get("representative_tokens.weight", scale["patch_embed.weight"]) == scale["patch_embed.weight"]


def test_learned_positions_learn_as_slowly_as_the_embedding_and_are_not_decayed():
    model = create_encoder("video_vit_nano", geometry=GEOMETRY, num_classes=7, position_embedding="learned")
    (group,) = [g for g in layer_decay_groups(model, 0.05, layer_decay=0.5) if "pos_embed.weight" in names_of(g, model)]
    assert (group["name"], group["weight_decay"], group["lr_scale"]) == ("layer_00_no_decay", 0.0, 0.5**5)


@pytest.mark.parametrize("arguments", [{}, {"position_embedding": "learned"}])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_layer_decay_agrees_with_timms(encoder, arguments):
    model = classifier(encoder, **arguments)
    theirs, ours = {}, {}
    for group in param_groups_layer_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.75):
        theirs |= {id(p): (group["weight_decay"], group["lr_scale"]) for p in group["params"]}
    for group in layer_decay_groups(model, 0.05, layer_decay=0.75):
        ours |= {id(p): (group["weight_decay"], group["lr_scale"]) for p in group["params"]}
    assert ours == {key: pytest.approx(value) for key, value in theirs.items()}

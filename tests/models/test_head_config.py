from __future__ import annotations

import pytest
import tyro

from jobs.config import from_json, to_json
from models.head_config import (
    FeatureHeadConfig,
    FeatureSet,
    FrameMlpConfig,
    SequenceConfig,
    TcnTransformerConfig,
    TransformerFusionConfig,
    ViewFusionConfig,
)
from tests.models.feature_samples import ALL_TASKS, FEATURES, HEADS


def test_the_defaults_are_those_of_the_papers_and_their_code():
    ctyunai, netease = TcnTransformerConfig(), TransformerFusionConfig()
    assert (ctyunai.channels, ctyunai.kernel, ctyunai.dilations, ctyunai.causal) == (
        (768, 256, 128),
        5,
        (1, 2, 4),
        True,
    )
    assert (ctyunai.width, ctyunai.layers, ctyunai.heads, ctyunai.feed_forward, ctyunai.hidden) == (
        512,
        8,
        4,
        512,
        (256,),
    )
    assert (ctyunai.positions, ctyunai.dropout, ctyunai.receptive_field) == ("none", 0.3, 57)
    assert (netease.layers, netease.dropout, netease.projection, netease.hidden) == (4, 0.3, (), ())
    assert ViewFusionConfig().fusion == "concat"


@pytest.mark.parametrize("name", HEADS)
def test_a_recorded_head_is_read_as_the_same_kind(name):
    config = FeatureHeadConfig(features=FEATURES, head=HEADS[name], **ALL_TASKS)
    assert from_json(FeatureHeadConfig, to_json(config)) == config


def test_every_kind_of_head_can_be_asked_for_on_a_command_line():
    for name, kind in (("frame-mlp", FrameMlpConfig), ("transformer-fusion", TransformerFusionConfig)):
        chosen = tyro.cli(FeatureHeadConfig, args=[f"head:{name}-config", "--head.hidden", "32", "16"]).head
        assert chosen == kind(hidden=(32, 16))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FeatureSet("face", 0), "needs a name and a width of at least 1"),
        (lambda: FeatureSet("", 8), "needs a name"),
        (lambda: FrameMlpConfig(hidden=(8, 0)), r"hidden=\(8, 0\) must be at least 1"),
        (lambda: FrameMlpConfig(hidden=(8,), dropout=1.0), r"dropout=1.0 must lie in \[0, 1\)"),
        (lambda: FrameMlpConfig(dropout=0.1), "dropout=0.1 has no effect without hidden layers; set it to 0"),
        (lambda: ViewFusionConfig(hidden=(), dropout=0.1), "has no effect without hidden layers"),
        (lambda: SequenceConfig(layers=0), "layers=0 must be at least 1"),
        (lambda: TcnTransformerConfig(dilations=(1, 2)), r"dilations=\(1, 2\) must be one for each of channels="),
        (lambda: TcnTransformerConfig(channels=(), dilations=()), r"one for each of channels=\(\)"),
        (lambda: TcnTransformerConfig(kernel=4, causal=False), "kernel=4 must be at least 2, and odd unless causal"),
        (lambda: TcnTransformerConfig(kernel=1), "kernel=1 must be at least 2"),
        (lambda: TcnTransformerConfig(width=510), "heads=4 do not divide the encoder's width of 510"),
        (lambda: TransformerFusionConfig(projection=(256, 126)), "end projection on a multiple of them"),
        (lambda: ViewFusionConfig(groups=0), "groups=0 must be at least 1"),
    ],
)
def test_values_out_of_range_and_without_effect_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": ViewFusionConfig(), "features": FEATURES[:1]}, r"two sets .* not 1 of widths \[8\]"),
        ({"head": ViewFusionConfig(), "features": (FEATURES[0], FeatureSet("b", 4))}, r"not 2 of widths \[8, 4\]"),
        ({"head": ViewFusionConfig(groups=3)}, "width 8 do not make groups=3 tokens for heads=4"),
        ({"head": TransformerFusionConfig(heads=3)}, "heads=3 do not divide the encoder's width of 16"),
        ({"features": (FEATURES[0], FEATURES[0])}, r"features=\['face', 'face'\] must have different names"),
        ({"classes": ("a", "b"), "task": "multi_label"}, "choose binary_cross_entropy"),
        ({"classes": ("a", "a")}, "must be at least 2 different names"),
        ({"class_weights": (1.0,)}, "must be a positive number for each of"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FeatureHeadConfig(**({"features": FEATURES} | changes))

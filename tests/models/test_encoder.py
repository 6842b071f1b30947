"""What holds for every encoder."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from models.cubes import from_cubes, normalize_pixels, put, to_cubes
from models.encoder import VideoEncoder
from models.registry import ENCODERS, create_encoder
from tests.models.samples import GEOMETRY, POLICIES, REGION, SMALL_REGION, clips, visible_ids

LGI_VARIANTS = ("intra", "intra_inter", "intra_lgi", "full")
NANO = [("video_vit_nano", {})]
NANO += [("lgi_former_nano", {"region": REGION, "variant": variant}) for variant in LGI_VARIANTS]
NANO += [("lgi_former_nano", {"region": SMALL_REGION})]
NANO += [("video_vit_nano", {"position_embedding": "learned"})]
NANO += [("lgi_former_nano", {"region": REGION, "position_embedding": "learned"})]


def make(name: str, **arguments) -> VideoEncoder:
    torch.manual_seed(0)
    return create_encoder(name, geometry=GEOMETRY, **arguments)


def changed_where(clip_BTHWC: Tensor, token_BM: Tensor) -> Tensor:
    """The clips with other pixels in the given tokens."""
    cubes_BNK = to_cubes(clip_BTHWC, GEOMETRY)
    other_BMK = torch.randn(*token_BM.shape, cubes_BNK.shape[-1])
    return from_cubes(put(cubes_BNK, token_BM, other_BMK), GEOMETRY)


def test_the_registered_encoders_are_the_documented_ones():
    assert set(ENCODERS) == {f"lgi_former_{size}" for size in ("nano", "tiny", "small", "base")} | {
        f"video_vit_{size}" for size in ("nano", "small", "base", "large", "huge")
    } | {f"face_vit_{size}" for size in ("nano", "small", "base", "large")}
    with pytest.raises(ValueError, match="encoder='resnet18' is not one of lgi_former_base"):
        create_encoder("resnet18")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("name", "arguments"), NANO)
def test_no_masked_pixel_reaches_the_encoder(name, arguments, policy):
    region = (2, 4, 4) if policy == "tube" else REGION if policy == "frame" else arguments.get("region", REGION)
    if name.startswith("lgi"):
        arguments = arguments | {"region": region}
    encoder, clip = make(name, **arguments), normalize_pixels(clips(3))
    visible = visible_ids(policy, 3, region=region).long()
    hidden = torch.ones(3, GEOMETRY.num_tokens, dtype=torch.bool).scatter_(1, visible, False)
    masked = hidden.nonzero()[:, 1].reshape(3, -1)
    tokens = encoder.forward_features(clip, visible)
    assert tokens.shape == (3, encoder.num_prefix_tokens + visible.shape[1], 128)
    assert torch.equal(encoder.forward_features(changed_where(clip, masked), visible), tokens)
    one_visible = changed_where(clip, visible[:, :1])
    assert not torch.equal(encoder.forward_features(one_visible, visible), tokens)


@pytest.mark.parametrize(("name", "arguments"), NANO)
def test_tokens_come_in_the_order_their_ids_are_given(name, arguments):
    encoder, clip = make(name, **arguments).double(), normalize_pixels(clips(2)).double()
    everything = encoder.forward_features(clip)[:, encoder.num_prefix_tokens :]
    shuffled = torch.stack([torch.randperm(GEOMETRY.num_tokens) for _ in range(2)])
    tokens = encoder.forward_features(clip, shuffled)[:, encoder.num_prefix_tokens :]
    for row in range(2):
        torch.testing.assert_close(tokens[row], everything[row, shuffled[row]])


@pytest.mark.parametrize(("name", "arguments"), NANO)
def test_every_parameter_of_a_classifier_gets_a_gradient(name, arguments):
    encoder = make(name, num_classes=7, **arguments)
    encoder(normalize_pixels(clips(2))).square().sum().backward()
    # Representative tokens are pooled, and the last block's interaction changes the local tokens alone.
    last = f"blocks.{len(encoder.blocks) - 1}"
    unused = (f"{last}.interaction", f"{last}.local_norm", f"{last}.representative_norm")
    for parameter_name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.any() != parameter_name.startswith(unused), parameter_name


@pytest.mark.parametrize(("name", "arguments"), NANO[:2])
def test_a_classifier_norms_after_pooling_and_a_pretrained_encoder_before(name, arguments):
    clip = normalize_pixels(clips(2))
    encoder, classifier = make(name, **arguments), make(name, num_classes=5, **arguments)
    assert encoder(clip).shape == (2, 128)
    assert classifier(clip).shape == (2, 5)
    names = [set(dict(model.named_parameters())) for model in (encoder, classifier)]
    assert names[0] - names[1] == {"norm.weight", "norm.bias"}
    assert names[1] - names[0] == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize(("name", "arguments"), NANO)
def test_casting_to_bf16_gives_finite_features(name, arguments):
    clip = normalize_pixels(clips(2))
    encoder = make(name, **arguments)
    expected = encoder(clip)
    features = encoder.bfloat16()(clip)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), expected, rtol=0, atol=0.2)


def test_drop_path_rises_to_the_given_rate_over_the_blocks():
    for name in ("video_vit_nano", "lgi_former_nano"):
        blocks = timm.create_model(name, drop_path_rate=0.3).blocks
        assert len(blocks) > 1
        assert [block.drop_path.drop_prob for block in blocks] == pytest.approx(np.linspace(0, 0.3, len(blocks)))


def test_clips_that_were_not_normalised_are_refused():
    with pytest.raises(ValueError, match="clips are torch.uint8; pass them through"):
        make("video_vit_nano")(clips(1))


def test_weights_we_do_not_publish_are_refused():
    with pytest.raises(ValueError, match="no weights are published"):
        timm.create_model("video_vit_nano", pretrained=True)
    with pytest.raises(ValueError, match="no weights are published"):
        timm.create_model("lgi_former_nano", cache_dir="somewhere")


def test_an_argument_the_encoder_does_not_know_is_refused():
    with pytest.raises(TypeError, match="region"):
        timm.create_model("video_vit_nano", region=(2, 5, 10))


@pytest.mark.parametrize(("name", "arguments"), NANO[:2])
def test_a_classifier_takes_the_weights_of_a_pretrained_encoder_and_keeps_its_new_head(name, arguments):
    encoder, classifier = make(name, **arguments), make(name, num_classes=7, **arguments)
    head = classifier.head.weight.clone()
    classifier.load_state_dict(encoder.state_dict())
    for key, value in encoder.state_dict().items():
        if not key.startswith("norm."):
            assert torch.equal(classifier.state_dict()[key], value)
    assert torch.equal(classifier.head.weight, head)


def test_anything_else_than_a_pretrained_encoder_is_an_error_for_a_classifier():
    encoder, classifier = make("video_vit_nano"), make("video_vit_nano", num_classes=7)
    state = encoder.state_dict()
    for broken in (
        {k: v for k, v in state.items() if k != "blocks.2.norm1.weight"},
        {k: v for k, v in state.items() if not k.startswith("norm.")},
        state | {"surplus": torch.zeros(1)},
        state | {"head.weight": torch.zeros(7, 128)},
    ):
        with pytest.raises(RuntimeError, match="Missing key|Unexpected key"):
            classifier.load_state_dict(broken)

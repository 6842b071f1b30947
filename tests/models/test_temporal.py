from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.cubes import sinusoid_table
from models.head_config import SequenceConfig, TcnTransformerConfig
from models.initialisation import init_layers
from models.temporal import EncoderLayer, SequenceEncoder, TemporalBlock, TemporalConvolutions
from tests.models.feature_samples import SMALL, tcn

FRAMES = 140


def convolutions(inputs: int = 3, **changes) -> TemporalConvolutions:
    torch.manual_seed(0)
    model = TemporalConvolutions(inputs, TcnTransformerConfig(channels=(4, 4, 4), dropout=0.0, **changes))
    for block in model.blocks:
        block.init_weights()
    return model.double()


def frames_that_matter(model: TemporalConvolutions, to: int) -> Tensor:
    """Frames whose change changes the output at one frame."""
    x_BTD = torch.randn(1, FRAMES, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    everything = torch.ones(1, FRAMES, dtype=torch.bool)
    before = model(x_BTD, everything)[0, to]
    matter = []
    for frame in range(FRAMES):
        other = x_BTD.clone()
        other[0, frame] += 1.0
        matter.append(not torch.equal(model(other, everything)[0, to], before))
    return torch.tensor(matter).nonzero().flatten()


@pytest.mark.parametrize(("causal", "first", "last"), [(True, 70 - 56, 70), (False, 70 - 28, 70 + 28)])
def test_the_published_convolutions_see_57_frames(causal, first, last):
    assert frames_that_matter(convolutions(causal=causal), to=70).tolist() == list(range(first, last + 1))


@torch.no_grad()
def loop_convolution(x_TC: np.ndarray, convolution: nn.Conv1d, dilation: int, shift: int) -> np.ndarray:
    """Frame by frame, from the norm and direction of the weights."""
    parts = convolution.parametrizations.weight
    g, v = parts.original0.numpy(), parts.original1.numpy()
    weight_OCK = g * v / np.sqrt((v**2).sum((1, 2), keepdims=True))
    out_TO = np.tile(convolution.bias.numpy(), (len(x_TC), 1))
    for t in range(len(x_TC)):
        for k in range(weight_OCK.shape[2]):
            source = t + k * dilation - shift
            if 0 <= source < len(x_TC):
                out_TO[t] += weight_OCK[:, :, k] @ x_TC[source]
    return out_TO


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("outputs", [3, 5])
def test_a_block_agrees_with_a_loop_over_frames(causal, outputs):
    torch.manual_seed(0)
    block = TemporalBlock(3, outputs, kernel=3, dilation=2, causal=causal, dropout=0.0).double()
    block.init_weights()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x_TC, shift = np.random.default_rng(0).normal(size=(11, 3)), 4 if causal else 2

    def leaky(x: np.ndarray, act: nn.PReLU) -> np.ndarray:
        return np.where(x > 0, x, act.weight.item() * x)

    y_TC = leaky(loop_convolution(x_TC, block.conv1, 2, shift), block.act1)
    y_TC = leaky(loop_convolution(y_TC, block.conv2, 2, shift), block.act2)
    skip_TC = x_TC
    if outputs != 3:
        skip_TC = x_TC @ block.skip.weight.detach().numpy()[:, :, 0].T + block.skip.bias.detach().numpy()
    expected = leaky(y_TC + skip_TC, block.act3)
    found = block(torch.from_numpy(x_TC.T)[None], torch.ones(1, 1, 11, dtype=torch.bool))[0].T
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-10)


def test_after_init_a_convolution_has_the_weights_that_were_drawn():
    block = convolutions().blocks[0]
    parts = block.conv1.parametrizations.weight
    torch.testing.assert_close(block.conv1.weight, parts.original1)
    assert block.conv1.weight.abs().max().item() == pytest.approx((3 * 5) ** -0.5, rel=0.1)
    assert block.act1.weight.item() == 0.25


def test_an_encoder_layer_agrees_with_torchs():
    torch.manual_seed(0)
    config = SequenceConfig(**SMALL)
    layer = EncoderLayer(8, config).double()
    init_layers(layer, "xavier", query_apart=False)
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)
    torchs = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double()
    query_bias, value_bias = layer.qkv.bias.chunk(2)
    torchs.load_state_dict(
        {
            "self_attn.in_proj_weight": layer.qkv.weight,
            "self_attn.in_proj_bias": torch.cat([query_bias, torch.randn(8).double(), value_bias]),
            **{f"self_attn.out_proj.{name}": value for name, value in layer.proj.named_parameters()},
            **{f"linear1.{name}": value for name, value in layer.inner.named_parameters()},
            **{f"linear2.{name}": value for name, value in layer.outer.named_parameters()},
            **{f"norm{n}.{name}": p for n in (1, 2) for name, p in getattr(layer, f"norm{n}").named_parameters()},
        }
    )
    x_BTD = torch.randn(2, 7, 8).double()
    key_BT = torch.arange(7) < torch.tensor([[7], [4]])
    torch.testing.assert_close(layer(x_BTD, key_BT), torchs(x_BTD, src_key_padding_mask=~key_BT))


def test_positions_are_added_before_the_first_layer_and_told_to_all_lengths():
    torch.manual_seed(0)
    plain, told = (SequenceEncoder(8, SequenceConfig(positions=p, **SMALL)) for p in ("none", "sinusoid"))
    init_layers(plain, "xavier", query_apart=False)
    told.load_state_dict(plain.state_dict())
    for steps in (3, 9, 5):
        x_BTD, all_BT = torch.randn(2, steps, 8), torch.ones(2, steps, dtype=torch.bool)
        expected = plain(x_BTD + sinusoid_table(steps, 8), all_BT, all_BT)
        torch.testing.assert_close(told(x_BTD, all_BT, all_BT), expected)


def test_a_window_without_a_seen_frame_sees_its_valid_frames_and_one_without_any_stays_finite():
    torch.manual_seed(0)
    encoder = SequenceEncoder(8, SequenceConfig(**SMALL))
    init_layers(encoder, "xavier", query_apart=False)
    x_BTD, none = torch.randn(1, 6, 8), torch.zeros(1, 6, dtype=torch.bool)
    valid = torch.arange(6)[None] < 4
    torch.testing.assert_close(encoder(x_BTD, none, valid), encoder(x_BTD, valid, valid))
    assert encoder(x_BTD, none, none).isfinite().all()


def test_gradients_of_convolutions_agree_with_finite_differences():
    torch.manual_seed(0)
    model = TemporalConvolutions(2, tcn(channels=(3, 2))).double()
    for block in model.blocks:
        block.init_weights()
    x_BTD = torch.randn(1, 5, 2, dtype=torch.float64, requires_grad=True)
    seen_BT = torch.tensor([[True, True, False, True, True]])
    assert torch.autograd.gradcheck(lambda x: model(x, seen_BT), (x_BTD,))

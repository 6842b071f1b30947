"""Context in time from the features of frames: temporal convolutions, and a Transformer encoder over a window.

CtyunAI ABAW6 (arXiv 2403.11440, 3.2, 3.3; code: upczww/abaw6): convolutions, then an encoder. NetEase ABAW5 (CVPR
workshops 2023, 3.2): an encoder over the features of all modalities.

Shape letters: B windows, T frames, D numbers of a frame, C channels. seen_BT are the frames that others may see: what
the others hold, and how many there are, changes nothing for a frame that is seen.

Differences: convolutions find zeros at frames that are not seen, as the code's find beyond the ends of a window, and
attention passes these frames by; the code drops windows that are not full. The code draws convolutions from a normal
(0, 0.01), which weight norm discards: they are drawn as torch's, and linear layers by Xavier. Dropout, 0 in the code,
acts after each activation and as in torch's encoder layer, from which this one differs in that keys have no bias: it
cancels in the softmax. Torch's own reads the weights of a part without calling it, which engines that gather weights
part by part (DeepSpeed ZeRO stage 3) do not notice.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.nn.utils.parametrizations import weight_norm

from models.attention import StackedProjection
from models.cubes import sinusoid_table
from models.head_config import SequenceConfig, TcnTransformerConfig, TransformerFusionConfig

_LEAK = 0.1
"""Slope of the leaky ReLU between layers of a projection, as in NetEase's code of ABAW6."""


class TemporalBlock(nn.Module):
    """Two dilated convolutions with weight norm and PReLU, and a skip that is 1 x 1 where the channels change."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dilation: int, causal: bool, dropout: float) -> None:
        super().__init__()
        reach = (kernel - 1) * dilation
        self.margins = (reach, 0) if causal else (reach // 2, reach // 2)
        self.conv1 = weight_norm(nn.Conv1d(inputs, outputs, kernel, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(outputs, outputs, kernel, dilation=dilation))
        self.act1, self.act2, self.act3 = nn.PReLU(), nn.PReLU(), nn.PReLU()
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def init_weights(self) -> None:
        for convolution in (self.conv1, self.conv2):
            norm, direction = (
                convolution.parametrizations.weight.original0,
                convolution.parametrizations.weight.original1,
            )
            nn.init.kaiming_uniform_(direction, a=math.sqrt(5))
            with torch.no_grad():
                norm.copy_(torch.norm_except_dim(direction, 2, 0))
            nn.init.zeros_(convolution.bias)
        for part in (self.act1, self.act2, self.act3, self.skip):
            if not isinstance(part, nn.Identity):
                part.reset_parameters()

    def forward(self, x_BCT: Tensor, seen_B1T: Tensor) -> Tensor:
        y_BCT = self.dropout(self.act1(self.conv1(self._padded(x_BCT, seen_B1T))))
        y_BCT = self.dropout(self.act2(self.conv2(self._padded(y_BCT, seen_B1T))))
        return self.act3(y_BCT + self.skip(x_BCT))

    def _padded(self, x_BCT: Tensor, seen_B1T: Tensor) -> Tensor:
        return pad(x_BCT.masked_fill(~seen_B1T, 0), self.margins)


class TemporalConvolutions(nn.Module):
    """Blocks of convolutions, each of its dilation: a temporal convolutional network. x_BTD in, [B, T, channels] out,
    as many frames."""

    def __init__(self, inputs: int, config: TcnTransformerConfig) -> None:
        super().__init__()
        sizes = zip((inputs, *config.channels), config.channels, config.dilations, strict=False)
        self.blocks = nn.ModuleList(
            TemporalBlock(i, o, kernel=config.kernel, dilation=d, causal=config.causal, dropout=config.dropout)
            for i, o, d in sizes
        )

    def forward(self, x_BTD: Tensor, seen_BT: Tensor) -> Tensor:
        x_BCT = rearrange(x_BTD, "b t c -> b c t")
        for block in self.blocks:
            x_BCT = block(x_BCT, seen_BT[:, None])
        return rearrange(x_BCT, "b c t -> b t c")


class EncoderLayer(nn.Module):
    """Attention among the frames of a window and two linear layers, each added to its input and normed after."""

    def __init__(self, width: int, config: SequenceConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = StackedProjection(width, has_query=True)
        self.proj = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, config.feed_forward), nn.Linear(config.feed_forward, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, key_BT: Tensor) -> Tensor:
        x_BTD = self.norm1(x_BTD + self.dropout(self.proj(self._attend(x_BTD, key_BT))))
        inner_BTF = self.dropout(self.inner(x_BTD).relu())
        return self.norm2(x_BTD + self.dropout(self.outer(inner_BTF)))

    def _attend(self, x_BTD: Tensor, key_BT: Tensor) -> Tensor:
        heads = (rearrange(part, "b t (h k) -> b h t k", h=self.heads) for part in self.qkv(x_BTD))
        dropout = self.dropout.p if self.training else 0.0
        found_BHTK = scaled_dot_product_attention(*heads, attn_mask=key_BT[:, None, None], dropout_p=dropout)
        return rearrange(found_BHTK, "b h t k -> b t (h k)")


class SequenceEncoder(nn.Module):
    """Transformer encoder layers over the frames of a window; x_BTD in and out."""

    def __init__(self, width: int, config: SequenceConfig) -> None:
        super().__init__()
        self.has_positions = config.positions == "sinusoid"
        self.register_buffer("position_TD", torch.empty(0, width), persistent=False)
        self.layers = nn.ModuleList(EncoderLayer(width, config) for _ in range(config.layers))

    def init_weights(self) -> None:
        self.position_TD = self.position_TD[:0]

    def forward(self, x_BTD: Tensor, seen_BT: Tensor, valid_BT: Tensor) -> Tensor:
        """A window of which no frame is seen sees all that are valid."""
        if self.has_positions:
            x_BTD = x_BTD + self._positions(x_BTD).to(x_BTD.dtype)
        key_BT = torch.where(seen_BT.any(1, keepdim=True), seen_BT, valid_BT)
        key_BT = key_BT | ~key_BT.any(1, keepdim=True)  # a softmax over nothing may be NaN
        for layer in self.layers:
            x_BTD = layer(x_BTD, key_BT)
        return x_BTD

    def _positions(self, x_BTD: Tensor) -> Tensor:
        """Kept from the longest windows so far: made on the host, they would make it wait for a GPU each time."""
        steps, width = x_BTD.shape[1:]
        if len(self.position_TD) < steps:
            self.position_TD = sinusoid_table(steps, width).to(x_BTD.device)
        return self.position_TD[:steps]


class TcnTransformer(nn.Module):
    """Convolutions, a projection and an encoder: CtyunAI's network without its MLP."""

    def __init__(self, inputs: int, config: TcnTransformerConfig) -> None:
        super().__init__()
        self.width = config.width
        self.convolutions = TemporalConvolutions(inputs, config)
        self.projection = nn.Linear(config.channels[-1], config.width)
        self.encoder = SequenceEncoder(config.width, config)

    def init_weights(self) -> None:
        for block in self.convolutions.blocks:
            block.init_weights()
        self.encoder.init_weights()

    def no_weight_decay(self) -> set[str]:
        """Magnitudes of the weights of convolutions: they scale a channel as a norm's weights do."""
        return {name for name, _ in self.named_parameters() if name.endswith(".parametrizations.weight.original0")}

    def forward(self, x_BTD: Tensor, seen_BT: Tensor, valid_BT: Tensor) -> Tensor:
        return self.encoder(self.projection(self.convolutions(x_BTD, seen_BT)), seen_BT, valid_BT)


class TransformerFusion(nn.Module):
    """A projection per frame, if any, and an encoder: NetEase's TMF without its last layer."""

    def __init__(self, inputs: int, config: TransformerFusionConfig) -> None:
        super().__init__()
        widths = (inputs, *config.projection)
        self.width = widths[-1]
        self.projection = nn.Sequential()
        for index, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            self.projection.extend([nn.LeakyReLU(_LEAK)] * bool(index) + [nn.Linear(before, after)])
        self.encoder = SequenceEncoder(self.width, config)

    def init_weights(self) -> None:
        self.encoder.init_weights()

    def forward(self, x_BTD: Tensor, seen_BT: Tensor, valid_BT: Tensor) -> Tensor:
        return self.encoder(self.projection(x_BTD), seen_BT, valid_BT)

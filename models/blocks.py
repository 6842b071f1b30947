"""Parts that encoders and decoder share: the pre-norm Transformer block, and running blocks with or without memory.

Both follow VideoMAE (arXiv 2203.12602): layer norm epsilon 1e-6, exact GELU, FFN of four times the width, no dropout.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.layers import DropPath, Mlp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.attention import SelfAttention

LayerNorm = partial(nn.LayerNorm, eps=1e-6)


def feed_forward(width: int) -> nn.Module:
    """Two linear layers with GELU between them, four times as wide inside."""
    return Mlp(width, 4 * width)


class Block(nn.Module):
    """Self-attention and FFN, each normed before and added to its input; x_BND in and out."""

    def __init__(self, width: int, heads: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.norm2 = LayerNorm(width)
        self.mlp = feed_forward(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.drop_path(self.attn(self.norm1(x_BND)))
        return x_BND + self.drop_path(self.mlp(self.norm2(x_BND)))


def run_blocks(blocks: nn.ModuleList, x: Tensor, *arguments: Any, recompute: bool) -> Tensor:
    """x through every block(x, *arguments). With `recompute`, inner activations are not kept for the backward pass but
    computed a second time there."""
    for block in blocks:
        if recompute and torch.is_grad_enabled():
            x = checkpoint(block, x, *arguments, use_reentrant=False)
        else:
            x = block(x, *arguments)
    return x

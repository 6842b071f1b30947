"""The light decoder of VideoMAE (arXiv 2203.12602): visible tokens and mask tokens in, predictions for the masked out.

VideoMAE's decoders are, by size of the encoder (width, blocks, heads): small 192, 4, 3; base, and MAE-DFER, 384, 4, 6;
large 512, 12, 8; huge 640, 12, 8. MAE-DFER's "two linear heads" for appearance and motion are the two halves of the
one linear head. Differences from the original code: none in the function computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks import Block, LayerNorm, run_blocks
from models.cubes import sinusoid_table
from models.initialisation import init_layers, init_token


class Decoder(nn.Module):
    def __init__(self, *, num_tokens: int, width: int, depth: int, heads: int, values: int) -> None:
        """
        Args:
            num_tokens: tokens of a whole clip (N).
            values: numbers predicted for each masked token.
        """
        super().__init__()
        self.recompute = False
        self.mask_token = nn.Parameter(torch.empty(width))
        self.register_buffer("position_ND", sinusoid_table(num_tokens, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, values)
        self.init_weights()

    def init_weights(self) -> None:
        init_layers(self, "xavier", query_apart=False)
        init_token(self.mask_token)
        self.position_ND.copy_(sinusoid_table(*self.position_ND.shape))

    def forward(self, visible_BVD: Tensor, visible_BV: Tensor, masked_BM: Tensor) -> Tensor:
        """Predictions [B, M, values] for the masked token ids, from encoded visible tokens and their ids (int64)."""
        position_ND = self.position_ND.to(self.mask_token.dtype)  # some engines cast weights and leave buffers alone
        x_BND = torch.cat([visible_BVD + position_ND[visible_BV], self.mask_token + position_ND[masked_BM]], dim=1)
        x_BND = run_blocks(self.blocks, x_BND, recompute=self.recompute)
        return self.head(self.norm(x_BND[:, visible_BV.shape[1] :]))

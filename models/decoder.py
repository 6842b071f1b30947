"""The light decoder of VideoMAE (arXiv 2203.12602) and MAE (2111.06377): visible and mask tokens in, predictions out.

VideoMAE's decoders are, by size of the encoder (width, blocks, heads): small 192, 4, 3; base, and MAE-DFER, 384, 4, 6;
large 512, 12, 8; huge 640, 12, 8; MAE's is always 512, 8, 16. MAE-DFER's "two linear heads" for appearance and motion
are the two halves of the one linear head. MAURA's may read all tokens, learn positions and be told a view. MAE's reads
the class token as well. Differences from the original code: none in the function computed; MAE's tokens stand in the
order of the image, here the masked ones follow the visible ones, which attention does not see.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks import Block, LayerNorm, run_blocks
from models.config import Positions
from models.initialisation import init_layers, init_token
from models.positions import PositionEmbedding
from models.tokens import Grid


class Decoder(nn.Module):
    def __init__(
        self,
        *,
        grid: Grid,
        width: int,
        depth: int,
        heads: int,
        values: int,
        position_embedding: Positions = "sinusoid",
        is_image: bool = False,
        num_views: int = 0,
        predicts_visible: bool = False,
    ) -> None:
        """
        Args:
            grid: tokens of a whole clip along time, row and column.
            values: numbers predicted for each token.
            is_image: fixed positions are those of rows and columns (models.positions).
            num_views: views that the decoder can be told to draw; 0: it is not told.
            predicts_visible: the head reads all tokens instead of the masked ones.
        """
        super().__init__()
        self.recompute = False
        self.mask_token = nn.Parameter(torch.empty(width))
        self.pos_embed = PositionEmbedding(position_embedding, grid=grid, width=width, is_image=is_image)
        self.view_embed = nn.Embedding(num_views, width) if num_views else None
        self.predicts_visible = predicts_visible
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, values)
        self.init_weights()

    def init_weights(self) -> None:
        init_layers(self, "xavier", query_apart=False)
        init_token(self.mask_token)
        self.pos_embed.init_weights()
        if self.view_embed is not None:
            init_token(self.view_embed.weight)

    def no_weight_decay(self) -> set[str]:
        """Full names of parameters with two or more axes that are not decayed."""
        names = {"pos_embed.weight"} if self.pos_embed.is_learned else set()
        return names if self.view_embed is None else names | {"view_embed.weight"}

    def predicted_ids(self, visible_BV: Tensor, masked_BM: Tensor) -> Tensor:
        """Ids [B, P] of the tokens that `forward` predicts, in its order."""
        return torch.cat([visible_BV, masked_BM], dim=1) if self.predicts_visible else masked_BM

    def forward(
        self, encoded_BND: Tensor, visible_BV: Tensor, masked_BM: Tensor, view_B: Tensor | None = None
    ) -> Tensor:
        """Predictions [B, P, values], for `predicted_ids`, from encoded visible tokens and their ids (int64).

        Args:
            encoded_BND: visible tokens, after those that have no position and are not predicted, if any.
            view_B: the view to draw (int64), of a decoder that has views.
        """
        num_visible = visible_BV.shape[1]
        prefix_BGD, visible_BVD = encoded_BND.tensor_split([encoded_BND.shape[1] - num_visible], dim=1)
        visible_BVD = visible_BVD + self._positions(visible_BV)
        x_BND = torch.cat([prefix_BGD, visible_BVD, self.mask_token + self._positions(masked_BM)], 1)
        if self.view_embed is not None:
            x_BND = x_BND + self.view_embed(view_B)[:, None]
        x_BND = run_blocks(self.blocks, x_BND, recompute=self.recompute)
        unread = prefix_BGD.shape[1] + (0 if self.predicts_visible else num_visible)
        return self.head(self.norm(x_BND[:, unread:]))

    def _positions(self, token_id_BV: Tensor) -> Tensor:
        """In the dtype of the weights: some engines cast those and leave buffers alone."""
        return self.pos_embed(token_id_BV).to(self.mask_token.dtype)

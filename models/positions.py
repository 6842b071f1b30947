"""Where a token lies in its clip: fixed sinusoids (VideoMAE, MAE-DFER) or learned vectors (MAURA 4.3).

Learned positions are joint over space and time: one vector for each token of the clip. They are drawn like mask tokens,
normal with deviation .02 cut at one deviation, as by the option of VideoMAE's code, and are not decayed. There the
option detaches them from the loss, so that they never learn; here they do.
"""

from __future__ import annotations

from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import embedding, interpolate

from models.config import Positions
from models.cubes import sinusoid_table
from models.initialisation import init_token
from models.tokens import Grid


class PositionEmbedding(nn.Module):
    """One vector per token id. `weight` [N, D] is a parameter if learned, else a buffer that weight files leave out."""

    def __init__(self, kind: Positions, *, num_tokens: int, width: int) -> None:
        super().__init__()
        self.is_learned = kind == "learned"
        if self.is_learned:
            self.weight = nn.Parameter(torch.empty(num_tokens, width))
        else:
            self.register_buffer("weight", torch.empty(num_tokens, width), persistent=False)

    def init_weights(self) -> None:
        if self.is_learned:
            init_token(self.weight)
        else:
            self.weight.copy_(sinusoid_table(*self.weight.shape))

    def forward(self, token_id_BV: Tensor) -> Tensor:
        """Positions [B, V, D] of token ids (int64)."""
        return embedding(token_id_BV, self.weight)


def resize_vectors(vectors_ND: Tensor, old: Grid, new: Grid) -> Tensor:
    """One vector for each cell of the grid `new`, from one for each cell of `old`, both over the whole clip.

    Linear along time, row and column between the centres of cells, constant beyond the outermost. Cells of either grid
    are numbered row-major. Equal grids: the vectors as they are.

    Raises ValueError unless there are as many vectors as `old` has cells.
    """
    if len(vectors_ND) != prod(old):
        raise ValueError(f"{len(vectors_ND)} vectors are not those of a grid of {' x '.join(map(str, old))} cells")
    if old == new:
        return vectors_ND
    t, h, w = old
    volume_1DTHW = rearrange(vectors_ND, "(t h w) d -> 1 d t h w", t=t, h=h, w=w)
    resized_1DTHW = interpolate(volume_1DTHW, size=new, mode="trilinear", align_corners=False)
    return rearrange(resized_1DTHW, "1 d t h w -> (t h w) d")

"""Where a token lies in its clip: fixed sinusoids (VideoMAE, MAE-DFER; MAE) or learned vectors (MAURA 4.3).

The sinusoids of a clip run over the flattened index of its tokens, those of an image over its rows and columns.
Learned positions are joint over space and time: one vector for each token of the clip. They are drawn like mask tokens,
normal with deviation .02 cut at one deviation, as by the option of VideoMAE's code, and are not decayed. There the
option detaches them from the loss, so that they never learn; here they do.
"""

from __future__ import annotations

from math import prod

import numpy as np
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

    def __init__(self, kind: Positions, *, grid: Grid, width: int, is_image: bool = False) -> None:
        """`is_image`: fixed positions tell rows and columns apart, and not time steps."""
        super().__init__()
        self.kind, self.grid, self.is_image = kind, grid, is_image
        if self.is_learned:
            self.weight = nn.Parameter(torch.empty(prod(grid), width))
        else:
            self.register_buffer("weight", torch.empty(prod(grid), width), persistent=False)

    @property
    def is_learned(self) -> bool:
        return self.kind == "learned"

    def init_weights(self) -> None:
        if self.is_learned:
            init_token(self.weight)
        elif self.is_image:
            self.weight.copy_(image_sinusoids(*self.grid[1:], self.weight.shape[1]))
        else:
            self.weight.copy_(sinusoid_table(*self.weight.shape))

    def forward(self, token_id_BV: Tensor) -> Tensor:
        """Positions [B, V, D] of token ids (int64)."""
        return embedding(token_id_BV, self.weight)


def image_sinusoids(rows: int, columns: int, width: int) -> Tensor:
    """Fixed positions of MAE (arXiv 2111.06377), float32 [rows x columns, width], base 10000.

    A quarter of the places each: sines of the column, its cosines, sines of the row, its cosines. Rounded once, from
    float64, as the original's: timm's table is computed in float32. Raises ValueError for another width than 4 n.
    """
    if width % 4:
        raise ValueError(f"width={width} is not a multiple of 4")
    frequency_F = np.power(10000.0, -np.arange(width // 4) / (width // 4))
    row_N, column_N = np.indices((rows, columns)).reshape(2, -1)
    quarters = [wave(place_N[:, None] * frequency_F) for place_N in (column_N, row_N) for wave in (np.sin, np.cos)]
    return torch.as_tensor(np.concatenate(quarters, axis=1).astype(np.float32))


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

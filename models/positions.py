"""Where a token lies in its clip: fixed sinusoids (VideoMAE, MAE-DFER) or learned vectors (MAURA 4.3).

Learned positions are joint over space and time: one vector for each token of the clip. They are drawn like mask tokens,
normal with deviation .02 cut at one deviation, as by the option of VideoMAE's code, and are not decayed. There the
option detaches them from the loss, so that they never learn; here they do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from models.config import Positions
from models.cubes import sinusoid_table
from models.initialisation import init_token


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

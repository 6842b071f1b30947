"""Weights before training, as the VideoMAE family draws them (arXiv 2203.12602, 2307.02227).

Drawn from torch's global generator: seed it before building a model. Every parameter and every buffer that is not in a
weight file is written, so a model built on the meta device is complete after `to_empty` and `init_weights`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from models.attention import StackedProjection
from models.cubes import CubeEmbedding

Scheme = Literal["xavier", "truncated_normal"]
STD = 0.02


def init_token(token: Tensor) -> None:
    """Mask and representative tokens: normal, cut at one standard deviation."""
    nn.init.trunc_normal_(token, std=STD, a=-STD, b=STD)


def init_layers(module: nn.Module, scheme: Scheme, *, query_apart: bool) -> None:
    """Initialise all linear layers, attention projections, layer norms and cube embeddings inside `module`.

    Args:
        scheme: xavier (uniform; pre-training) or truncated_normal (fine-tuning: standard deviation 0.02, cut at 2).
        query_apart: Xavier's bound depends on the shape of the matrix drawn. The original ViT draws queries, keys and
            values as one (False), the original LGI-Former draws the queries apart (True).
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            _draw(part.weight, scheme)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, StackedProjection):
            width = part.weight.shape[1]
            rows = [width, 2 * width] if query_apart and part.parts == 3 else [len(part.weight)]
            for matrix in part.weight.detach().split(rows):
                _draw(matrix, scheme)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, CubeEmbedding):
            part.init_weights()


def _draw(matrix: Tensor, scheme: Scheme) -> None:
    if scheme == "xavier":
        nn.init.xavier_uniform_(matrix)
    else:
        nn.init.trunc_normal_(matrix, std=STD)

"""LGI-Former, the local-global interaction Transformer of MAE-DFER (arXiv 2307.02227, github.com/sunlicai/MAE-DFER).

Tokens attend within small space-time regions. Each region has one learned representative token; these attend to each
other, and every token then attends to all of them. Shape letters beside those of models.tokens: G regions,
L = 1 + V / G tokens of a region with its representative token first.

Differences from the original code: regions of any size that tiles the grid, also ones that do not span full rows;
masked cubes are dropped before the embedding; no tying of attention layers, no layer scale (neither is used in the
paper). Representative tokens are excluded from weight decay and belong to the embedding for layer decay: there the
lists meant to do so do not match the parameter's name. `lgi_former_nano` is ours, for laptops and tests.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from einops import rearrange, repeat
from timm.layers import DropPath, calculate_drop_path_rates
from timm.models import register_model
from torch import Tensor, nn

from models.attention import CrossAttention, SelfAttention
from models.blocks import LayerNorm, feed_forward
from models.checks import is_broken
from models.config import Positions, Variant
from models.cubes import take
from models.encoder import VideoEncoder, refuse_timm_weights
from models.initialisation import init_token
from models.tokens import ClipGeometry, Grid, region_of_tokens


class LGIBlock(nn.Module):
    """Intra-region attention, inter-region attention, local-global interaction, FFN (MAE-DFER Eq. 3 to 12)."""

    def __init__(self, width: int, heads: int, *, variant: Variant = "full", drop_path: float = 0.0) -> None:
        super().__init__()
        self.intra_norm = LayerNorm(width)
        self.intra_attn = SelfAttention(width, heads)
        self.has_inter = variant in ("full", "intra_inter")
        if self.has_inter:
            self.inter_norm = LayerNorm(width)
            self.inter_attn = SelfAttention(width, heads)
        self.has_interaction = variant in ("full", "intra_lgi")
        if self.has_interaction:
            self.local_norm = LayerNorm(width)
            self.representative_norm = LayerNorm(width)
            self.interaction_attn = CrossAttention(width, heads)
        self.ffn_norm = LayerNorm(width)
        self.mlp = feed_forward(width)
        # Drops whole rows: regions in the first and last branch, clips in the two between, as the original does.
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BGLD: Tensor) -> Tensor:
        g = x_BGLD.shape[1]
        x = rearrange(x_BGLD, "b g l d -> (b g) l d")
        x = x + self.drop_path(self.intra_attn(self.intra_norm(x)))
        x_BGLD = rearrange(x, "(b g) l d -> b g l d", g=g)
        representative_BGD = x_BGLD[:, :, 0]
        local_BVD = rearrange(x_BGLD[:, :, 1:], "b g n d -> b (g n) d")
        if self.has_inter:
            attended = self.inter_attn(self.inter_norm(representative_BGD))
            representative_BGD = representative_BGD + self.drop_path(attended)
        if self.has_interaction:
            context_BGD = self.representative_norm(representative_BGD)
            local_BVD = local_BVD + self.drop_path(self.interaction_attn(self.local_norm(local_BVD), context_BGD))
        x = join_regions(representative_BGD, local_BVD)
        x = rearrange(x, "b g l d -> (b g) l d")
        x = x + self.drop_path(self.mlp(self.ffn_norm(x)))
        return rearrange(x, "(b g) l d -> b g l d", g=g)


def join_regions(representative_BGD: Tensor, local_BVD: Tensor) -> Tensor:
    """x_BGLD from the representative tokens and the local tokens, which come region by region."""
    local_BGND = rearrange(local_BVD, "b (g n) d -> b g n d", g=representative_BGD.shape[1])
    return torch.cat([representative_BGD[:, :, None], local_BGND], dim=2)


class LGIFormer(VideoEncoder):
    """Encoder of LGI blocks. `forward_features` gives the representative tokens first, then the local ones."""

    query_apart = True

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        geometry: ClipGeometry | None = None,
        region: Grid = (2, 5, 10),
        variant: Variant = "full",
        global_pool: Literal["representative", "local"] = "representative",
        position_embedding: Positions = "sinusoid",
        num_classes: int = 0,
        drop_path_rate: float = 0.0,
    ) -> None:
        """
        Args:
            geometry: default 16 frames of 160x160 pixels.
            region: tokens (time, rows, columns) of a region; must tile the grid (MAE-DFER Table 4).
            variant: which attention stages a block has (MAE-DFER Table 3).
            global_pool: tokens whose mean is classified (MAE-DFER Table 5).
            position_embedding: fixed sinusoids, or vectors learned with the rest.
            num_classes: classes of the head; 0: the encoder of pre-training, without a head.
            drop_path_rate: stochastic depth of the last block, rising from 0 in equal steps.
        """
        super().__init__(
            geometry=geometry or ClipGeometry(),
            width=width,
            num_classes=num_classes,
            position_embedding=position_embedding,
        )
        self.region = region
        self.global_pool = global_pool
        self.register_buffer("region_N", self._region_table(), persistent=False)
        self.num_prefix_tokens = int(region_of_tokens(self.geometry.grid, region)[-1]) + 1
        # A module of its own, so that sharding engines which gather parameters per module see its use.
        self.representative_tokens = nn.Embedding(self.num_prefix_tokens, width)
        rates = calculate_drop_path_rates(drop_path_rate, depth)
        self.blocks = nn.ModuleList(LGIBlock(width, heads, variant=variant, drop_path=rate) for rate in rates)
        self.init_weights()

    def _region_table(self) -> Tensor:
        return torch.as_tensor(region_of_tokens(self.geometry.grid, self.region))

    def init_weights(self) -> None:
        super().init_weights()
        init_token(self.representative_tokens.weight)
        self.region_N.copy_(self._region_table())

    def encode(self, cubes_BVK: Tensor, token_id_BV: Tensor) -> Tensor:
        """As the base class. Raises ValueError, naming the counts, unless every region has equally many tokens (on CUDA
        see models.checks)."""
        region_BV = self.region_N[token_id_BV]
        if token_id_BV.shape[1] != len(self.region_N):
            self._check_counts(region_BV)
        order_BV = region_BV.argsort(dim=1, stable=True)
        local_BVD = self.patch_embed(take(cubes_BVK, order_BV))
        local_BVD = local_BVD + self.positions(token_id_BV.gather(1, order_BV))
        token_GD = self.representative_tokens(torch.arange(self.num_prefix_tokens, device=local_BVD.device))
        x_BGLD = join_regions(repeat(token_GD, "g d -> b g d", b=len(local_BVD)), local_BVD)
        x_BGLD = self._run_blocks(x_BGLD)
        local_BVD = take(rearrange(x_BGLD[:, :, 1:], "b g n d -> b (g n) d"), order_BV.argsort(dim=1))
        return self.norm(torch.cat([x_BGLD[:, :, 0], local_BVD], dim=1))

    def _check_counts(self, region_BV: Tensor) -> None:
        count_BG = region_BV.new_zeros(len(region_BV), self.num_prefix_tokens)
        count_BG.scatter_add_(1, region_BV, torch.ones_like(region_BV))
        uneven_B = (count_BG != count_BG[:, :1]).any(1)
        if is_broken("every region of a clip shows equally many tokens (mask policy region_tube)", uneven_B):
            row = int(uneven_B.nonzero()[0])
            raise ValueError(
                f"row {row} shows {count_BG[row].tolist()} tokens in its regions of {self.region}; "
                "LGI-Former needs equally many in each: draw the mask per region (policy region_tube)"
            )

    def pool(self, tokens_BND: Tensor) -> Tensor:
        """One vector per clip [B, D]: the mean of the representative tokens, or of the local ones."""
        representative_BGD, local_BVD = tokens_BND.tensor_split([self.num_prefix_tokens], dim=1)
        return (representative_BGD if self.global_pool == "representative" else local_BVD).mean(1)

    def no_weight_decay(self) -> set[str]:
        return super().no_weight_decay() | {"representative_tokens.weight"}


def _build(pretrained: bool, arguments: dict[str, Any], **size: int) -> LGIFormer:
    return LGIFormer(**size, **refuse_timm_weights(pretrained, arguments))


@register_model
def lgi_former_nano(pretrained: bool = False, **arguments: Any) -> LGIFormer:
    """Width 128, 2 blocks, 2 heads."""
    return _build(pretrained, arguments, width=128, depth=2, heads=2)


@register_model
def lgi_former_tiny(pretrained: bool = False, **arguments: Any) -> LGIFormer:
    """Width 256, 16 blocks, 4 heads (MAE-DFER Table 10)."""
    return _build(pretrained, arguments, width=256, depth=16, heads=4)


@register_model
def lgi_former_small(pretrained: bool = False, **arguments: Any) -> LGIFormer:
    """Width 384, 16 blocks, 6 heads (MAE-DFER Table 10)."""
    return _build(pretrained, arguments, width=384, depth=16, heads=6)


@register_model
def lgi_former_base(pretrained: bool = False, **arguments: Any) -> LGIFormer:
    """Width 512, 16 blocks, 8 heads (MAE-DFER Table 10)."""
    return _build(pretrained, arguments, width=512, depth=16, heads=8)

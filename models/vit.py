"""Video ViT with joint space-time attention: the encoder of VideoMAE (arXiv 2203.12602, github.com/MCG-NJU/VideoMAE).

Differences from the original code: none in the function computed. Masked cubes are dropped before the embedding
instead of after it. `video_vit_nano` is ours, for laptops and tests.
"""

from __future__ import annotations

from typing import Any

from timm.layers import calculate_drop_path_rates
from timm.models import register_model
from torch import Tensor, nn

from models.blocks import Block
from models.config import Positions
from models.encoder import VideoEncoder, refuse_timm_weights
from models.tokens import ClipGeometry


class VideoViT(VideoEncoder):
    """Every token attends to every token, in every block. Pooled by the mean over tokens."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        geometry: ClipGeometry | None = None,
        position_embedding: Positions = "sinusoid",
        num_classes: int = 0,
        drop_path_rate: float = 0.0,
    ) -> None:
        """
        Args:
            geometry: default 16 frames of 160x160 pixels.
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
        rates = calculate_drop_path_rates(drop_path_rate, depth)
        self.blocks = nn.ModuleList(Block(width, heads, drop_path=rate) for rate in rates)
        self.init_weights()

    def encode(self, cubes_BVK: Tensor, token_id_BV: Tensor) -> Tensor:
        x_BVD = self.patch_embed(cubes_BVK) + self.positions(token_id_BV)
        return self.norm(self._run_blocks(x_BVD))


def _build(pretrained: bool, arguments: dict[str, Any], **size: int) -> VideoViT:
    return VideoViT(**size, **refuse_timm_weights(pretrained, arguments))


@register_model
def video_vit_nano(pretrained: bool = False, **arguments: Any) -> VideoViT:
    """Width 128, 4 blocks, 2 heads."""
    return _build(pretrained, arguments, width=128, depth=4, heads=2)


@register_model
def video_vit_small(pretrained: bool = False, **arguments: Any) -> VideoViT:
    """Width 384, 12 blocks, 6 heads."""
    return _build(pretrained, arguments, width=384, depth=12, heads=6)


@register_model
def video_vit_base(pretrained: bool = False, **arguments: Any) -> VideoViT:
    """Width 768, 12 blocks, 12 heads."""
    return _build(pretrained, arguments, width=768, depth=12, heads=12)


@register_model
def video_vit_large(pretrained: bool = False, **arguments: Any) -> VideoViT:
    """Width 1024, 24 blocks, 16 heads."""
    return _build(pretrained, arguments, width=1024, depth=24, heads=16)


@register_model
def video_vit_huge(pretrained: bool = False, **arguments: Any) -> VideoViT:
    """Width 1280, 32 blocks, 16 heads."""
    return _build(pretrained, arguments, width=1280, depth=32, heads=16)

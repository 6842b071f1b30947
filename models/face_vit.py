"""Image ViT of MAE (arXiv 2111.06377, github.com/facebookresearch/mae), which MAE-Face and the extractors of NetEase,
CtyunAI and Emotic-MAE are. An image is a clip of one frame.

A class token stands before the patches, which have fixed positions over rows and columns; it has none. What is
classified is the mean over the patches without the class token (MAE's global_pool).

Differences from the original code:
- keys have no bias, which cancels in the softmax: width x blocks parameters fewer, the function is the same;
- masked patches are dropped before the embedding instead of after it;
- class and mask tokens are drawn from a normal that is cut at one deviation, as in VideoMAE, and never decayed;
- at another image size positions are computed anew, not interpolated.
`face_vit_nano` is ours, for laptops and tests.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import repeat
from timm.layers import calculate_drop_path_rates
from timm.models import register_model
from torch import Tensor, nn

from models.blocks import Block
from models.config import Positions, check_image
from models.encoder import VideoEncoder, refuse_timm_weights
from models.initialisation import init_token
from models.tokens import ClipGeometry

IMAGE = ClipGeometry(frames=1, height=224, width=224, tubelet=1)


class FaceViT(VideoEncoder):
    """Class token and patches attend to each other, in every block. Pooled by the mean over patches."""

    num_prefix_tokens = 1
    reads_images = True

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        geometry: ClipGeometry = IMAGE,
        position_embedding: Positions = "sinusoid",
        num_classes: int = 0,
        drop_path_rate: float = 0.0,
    ) -> None:
        """
        Args:
            geometry: of one frame.
            position_embedding: fixed sinusoids of rows and columns, or vectors learned with the rest.
            num_classes: classes of the head; 0: the encoder of pre-training, without a head.
            drop_path_rate: stochastic depth of the last block, rising from 0 in equal steps.

        Raises:
            ValueError: a geometry of several frames.
        """
        check_image(geometry)
        super().__init__(geometry=geometry, width=width, num_classes=num_classes, position_embedding=position_embedding)
        # A module of its own, as LGI-Former's representative tokens.
        self.class_token = nn.Embedding(1, width)
        rates = calculate_drop_path_rates(drop_path_rate, depth)
        self.blocks = nn.ModuleList(Block(width, heads, drop_path=rate) for rate in rates)
        self.init_weights()

    def init_weights(self) -> None:
        super().init_weights()
        init_token(self.class_token.weight)
        if not self.num_classes:
            nn.init.xavier_uniform_(self.patch_embed.weight.detach().flatten(1))  # the original draws it as a matrix

    def encode(self, cubes_BVK: Tensor, token_id_BV: Tensor) -> Tensor:
        patch_BVD = self.patch_embed(cubes_BVK) + self.positions(token_id_BV)
        class_1D = self.class_token(torch.zeros(1, dtype=torch.long, device=patch_BVD.device))
        class_B1D = repeat(class_1D, "n d -> b n d", b=len(patch_BVD))
        return self.norm(self._run_blocks(torch.cat([class_B1D, patch_BVD], dim=1)))

    def pool(self, tokens_BND: Tensor) -> Tensor:
        """One vector per image [B, D]: the mean of its patches."""
        return tokens_BND[:, self.num_prefix_tokens :].mean(1)

    def no_weight_decay(self) -> set[str]:
        return super().no_weight_decay() | {"class_token.weight"}


def _build(pretrained: bool, arguments: dict[str, Any], **size: int) -> FaceViT:
    return FaceViT(**size, **refuse_timm_weights(pretrained, arguments))


@register_model
def face_vit_nano(pretrained: bool = False, **arguments: Any) -> FaceViT:
    """Width 128, 4 blocks, 2 heads."""
    return _build(pretrained, arguments, width=128, depth=4, heads=2)


@register_model
def face_vit_small(pretrained: bool = False, **arguments: Any) -> FaceViT:
    """Width 384, 12 blocks, 6 heads."""
    return _build(pretrained, arguments, width=384, depth=12, heads=6)


@register_model
def face_vit_base(pretrained: bool = False, **arguments: Any) -> FaceViT:
    """Width 768, 12 blocks, 12 heads."""
    return _build(pretrained, arguments, width=768, depth=12, heads=12)


@register_model
def face_vit_large(pretrained: bool = False, **arguments: Any) -> FaceViT:
    """Width 1024, 24 blocks, 16 heads."""
    return _build(pretrained, arguments, width=1024, depth=24, heads=16)

"""Configs of the models, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.tokens import ClipGeometry, check_region

Variant = Literal["full", "intra", "intra_inter", "intra_lgi"]
Target = Literal["joint", "appearance", "motion", "video_mae"]
Positions = Literal["sinusoid", "learned"]


@dataclass(frozen=True)
class MaskedAutoencoderConfig:
    """A masked autoencoder: encoder by its timm name, decoder, target and loss."""

    encoder: str = "lgi_former_base"
    """Registered encoder: lgi_former_{nano,tiny,small,base} or video_vit_{nano,small,base,large,huge}."""
    geometry: ClipGeometry = field(default_factory=ClipGeometry)
    region: tuple[int, int, int] = (2, 5, 10)
    """Tokens (time, rows, columns) of one LGI-Former region (MAE-DFER Table 4); a ViT has none."""
    lgi_variant: Variant = "full"
    """Rows of MAE-DFER Table 3: intra-region attention alone, with inter-region, with local-global, all."""
    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6
    target: Target = "joint"
    """joint: appearance and motion halves of each cube (MAE-DFER Eq. 2); appearance, motion: one half alone
    (lambda 1 and 0); video_mae: both frames as they are."""
    appearance_weight: float = 0.5
    """lambda of MAE-DFER Eq. 2; only the joint target has it."""
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.appearance_weight < 1.0:
            raise ValueError(
                f"appearance_weight={self.appearance_weight} must lie strictly between 0 and 1; "
                "for one half alone say target=appearance or target=motion"
            )
        if self.target != "joint" and self.appearance_weight != 0.5:
            raise ValueError(f"appearance_weight has no effect on target={self.target}; leave it at 0.5")
        if self.target in ("joint", "appearance", "motion") and self.geometry.tubelet != 2:
            raise ValueError(f"target={self.target} splits cubes of 2 frames, geometry.tubelet={self.geometry.tubelet}")
        if self.decoder_width % self.decoder_heads:
            raise ValueError(
                f"decoder_width={self.decoder_width} is not a multiple of decoder_heads={self.decoder_heads}"
            )
        if self.encoder.startswith("lgi_former"):
            check_region(self.geometry.grid, self.region)
        elif self.lgi_variant != "full":
            raise ValueError(f"lgi_variant has no effect on {self.encoder}; leave it at full")


@dataclass(frozen=True)
class MultiViewConfig(MaskedAutoencoderConfig):
    """A masked autoencoder that draws another view of the same instants. By default MAURA's (4.3): ViT-B, 16 frames of
    224x224, 1568 tokens, learned positions, a decoder of 4 blocks that is not told the view."""

    encoder: str = "video_vit_base"
    geometry: ClipGeometry = field(default_factory=lambda: ClipGeometry(height=224, width=224))
    target: Target = "video_mae"
    loss_tokens: Literal["masked", "all"] = "masked"
    """Tokens of the target view that are predicted: at masked positions (text of MAURA 3.6) or at all (its Eq. 1)."""
    target_view_embedding: Literal["off", "learned"] = "off"
    """off: the decoder is not told which view to draw (the paper); learned: a vector per view is added to its
    tokens."""
    num_views: int = 7
    """Views that have a vector; of no effect with target_view_embedding=off."""
    position_embedding: Positions = "learned"
    """Positions of tokens in encoder and decoder: learned (the paper) or fixed sinusoids (VideoMAE)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_views < 1:
            raise ValueError(f"num_views={self.num_views} must be at least 1")
        if self.target_view_embedding == "off" and self.num_views != 7:
            raise ValueError("num_views has no effect on target_view_embedding=off; leave it at 7")

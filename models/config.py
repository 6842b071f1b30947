"""Configs of the models, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.tokens import ClipGeometry, check_region

Variant = Literal["full", "intra", "intra_inter", "intra_lgi"]


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
    target: Literal["joint", "appearance", "motion", "video_mae"] = "joint"
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

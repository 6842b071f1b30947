"""Configs of the models, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Literal

from models.tokens import ClipGeometry, check_region

Variant = Literal["full", "intra", "intra_inter", "intra_lgi"]
Target = Literal["joint", "appearance", "motion", "video_mae"]
Positions = Literal["sinusoid", "learned"]
Task = Literal["classes", "multi_label", "regression"]
Loss = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error"]
LOSSES: dict[Task, tuple[Loss, ...]] = {
    "classes": ("cross_entropy",),
    "multi_label": ("binary_cross_entropy", "cross_entropy"),
    "regression": ("mean_squared_error",),
}


@dataclass(frozen=True)
class EncoderConfig:
    """What every model says of its encoder."""

    encoder: str = "lgi_former_base"
    """Registered encoder: lgi_former_{nano,tiny,small,base} or video_vit_{nano,small,base,large,huge}."""
    geometry: ClipGeometry = field(default_factory=ClipGeometry)
    region: tuple[int, int, int] = (2, 5, 10)
    """Tokens (time, rows, columns) of one LGI-Former region (MAE-DFER Table 4); a ViT has none."""
    lgi_variant: Variant = "full"
    """Rows of MAE-DFER Table 3: intra-region attention alone, with inter-region, with local-global, all."""

    def __post_init__(self) -> None:
        if self.encoder.startswith("lgi_former"):
            check_region(self.geometry.grid, self.region)
        elif self.lgi_variant != "full":
            raise ValueError(f"lgi_variant has no effect on {self.encoder}; leave it at full")


@dataclass(frozen=True)
class MaskedAutoencoderConfig(EncoderConfig):
    """A masked autoencoder: encoder by its timm name, decoder, target and loss."""

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
        super().__post_init__()
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


@dataclass(frozen=True)
class FineTuningConfig(EncoderConfig):
    """An encoder with a head that is trained on labels. The defaults are those of VideoMAE's and MAE-DFER's code."""

    classes: tuple[str, ...] = ()
    """Names of a target's numbers, in their order; of a regression, of its dimensions. None: those of the labels, which
    the job fills in; a model cannot be built without."""
    task: Task = "classes"
    loss: Loss = "cross_entropy"
    """Of several labels also cross_entropy (MAURA 3.2): those of a clip then share a weight of 1."""
    global_pool: Literal["representative", "local"] = "representative"
    """LGI-Former's tokens whose mean is classified (MAE-DFER Table 5)."""
    position_embedding: Positions = "sinusoid"
    trained: Literal["all", "head"] = "all"
    """head: the encoder stays as it is, linear probing (MAURA 4.3)."""
    label_smoothing: float = 0.1
    """Share of a target that is spread evenly over the classes."""
    class_weights: tuple[float, ...] | None = None
    """Factors of the classes' terms in the loss, as many as classes."""
    mixup: float = 0.8
    """Both parameters of the Beta distribution of shares; 0: no mixup."""
    cutmix: float = 1.0
    """Both parameters of the Beta distribution of areas; 0: no cutmix."""
    mix_probability: float = 1.0
    """Share of micro-batches that are mixed."""
    cutmix_share: float = 0.5
    """Share of mixed micro-batches that get cutmix; the others get mixup."""
    erasing: float = 0.25
    """Share of clips in which a rectangle becomes noise."""
    drop_path: float = 0.1
    """Stochastic depth of the last block, rising from 0 in equal steps."""
    layer_decay: float = 0.75
    """Learning rate of each layer as a share of that of the layer above."""
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.global_pool != "representative" and not self.encoder.startswith("lgi_former"):
            raise ValueError(f"global_pool has no effect on {self.encoder}; leave it at representative")
        self._check_loss()
        self._check_augmentation()
        self._check_training()

    def _check_loss(self) -> None:
        least = 2 if self.task == "classes" else 1
        if self.classes and (len(self.classes) < least or len(set(self.classes)) < len(self.classes)):
            raise ValueError(f"classes={self.classes} must be at least {least} different names for task={self.task}")
        if self.loss not in LOSSES[self.task]:
            raise ValueError(f"loss={self.loss} is none of task={self.task}: {', '.join(LOSSES[self.task])}")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing={self.label_smoothing} must lie in [0, 1)")
        if self.label_smoothing and self.loss != "cross_entropy":
            raise ValueError(f"label_smoothing has no effect on loss={self.loss}; set it to 0")
        weights = self.class_weights
        if weights is not None and self.loss == "mean_squared_error":
            raise ValueError("class_weights have no effect on loss=mean_squared_error; leave them out")
        if weights is not None and (len(weights) != len(self.classes) or not all(0 < w < inf for w in weights)):
            raise ValueError(f"class_weights={weights} must be a positive number for each of {', '.join(self.classes)}")

    def _check_augmentation(self) -> None:
        if not (0 <= self.mixup < inf and 0 <= self.cutmix < inf):
            raise ValueError(f"mixup={self.mixup} and cutmix={self.cutmix} must be positive, or 0 for none")
        if not 0.0 < self.mix_probability <= 1.0:
            raise ValueError(
                f"mix_probability={self.mix_probability} must lie in (0, 1]; to mix nothing set mixup and cutmix to 0"
            )
        if not 0.0 < self.cutmix_share < 1.0:
            raise ValueError(
                f"cutmix_share={self.cutmix_share} must lie strictly between 0 and 1; for mixup or cutmix alone set "
                "the other to 0"
            )
        if self.mix_probability != 1.0 and not (self.mixup or self.cutmix):
            raise ValueError("mix_probability has no effect without mixup and cutmix; leave it at 1.0")
        if self.cutmix_share != 0.5 and not (self.mixup and self.cutmix):
            raise ValueError("cutmix_share has no effect unless there are mixup and cutmix; leave it at 0.5")
        if not 0.0 <= self.erasing <= 1.0:
            raise ValueError(f"erasing={self.erasing} must lie in [0, 1]")

    def _check_training(self) -> None:
        if not 0.0 <= self.drop_path < 1.0:
            raise ValueError(f"drop_path={self.drop_path} must lie in [0, 1)")
        if not 0.0 < self.layer_decay <= 1.0:
            raise ValueError(f"layer_decay={self.layer_decay} must lie in (0, 1]")
        still = {"drop_path": 0.0, "layer_decay": 1.0, "activation_checkpointing": False}
        wrong = [f"{name}={value}" for name, value in still.items() if getattr(self, name) != value]
        if self.trained == "head" and wrong:
            raise ValueError(f"trained=head leaves the encoder as it is: set {', '.join(wrong)}")

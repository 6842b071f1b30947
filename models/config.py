"""Configs of the models, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from typing import Literal, Protocol

from models.tokens import ClipGeometry, check_region

Variant = Literal["full", "intra", "intra_inter", "intra_lgi"]
Target = Literal["joint", "appearance", "motion", "video_mae", "image_mae", "pixels"]
Positions = Literal["sinusoid", "learned"]
Task = Literal["classes", "multi_label", "regression", "affect"]
"""affect: several at once, told apart by what stands before the slash in the names of classes."""
Loss = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error", "concordance", "affect"]
LOSSES: dict[Task, tuple[Loss, ...]] = {
    "classes": ("cross_entropy",),
    "multi_label": ("binary_cross_entropy", "cross_entropy"),
    "regression": ("mean_squared_error", "concordance"),
    "affect": ("affect",),
}
AFFECT_LOSSES: dict[str, Loss] = {
    "expr": "cross_entropy",
    "au": "binary_cross_entropy",
    "va": "concordance",
}
"""Of the groups of task=affect: expressions, action units, valence and arousal."""


class TargetConfig(Protocol):
    """What a config says of what is learned."""

    @property
    def task(self) -> Task: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def class_weights(self) -> tuple[float, ...] | None: ...
    @property
    def label_smoothing(self) -> float: ...


def check_loss(config: TargetConfig) -> None:
    """Raises ValueError for a task, loss, classes, weights and smoothing that do not go together."""
    task, loss, classes, weights = config.task, config.loss, config.classes, config.class_weights
    least = 2 if task == "classes" else 1
    if classes and (len(classes) < least or len(set(classes)) < len(classes)):
        raise ValueError(f"classes={classes} must be at least {least} different names for task={task}")
    if loss not in LOSSES[task]:
        raise ValueError(f"loss={loss} is none of task={task}: {', '.join(LOSSES[task])}")
    if not 0.0 <= config.label_smoothing < 1.0:
        raise ValueError(f"label_smoothing={config.label_smoothing} must lie in [0, 1)")
    if config.label_smoothing and loss not in ("cross_entropy", "affect"):
        raise ValueError(f"label_smoothing has no effect on loss={loss}; set it to 0")
    if weights is not None and loss in ("mean_squared_error", "concordance"):
        raise ValueError(f"class_weights have no effect on loss={loss}; leave them out")
    if weights is not None and (len(weights) != len(classes) or not all(0 < w < inf for w in weights)):
        raise ValueError(f"class_weights={weights} must be a positive number for each of {', '.join(classes)}")
    if task == "affect":
        _check_groups(classes)


def _check_groups(classes: tuple[str, ...]) -> None:
    names = [name for name, _ in groupby(label.partition("/")[0] for label in classes)]
    if set(names) - AFFECT_LOSSES.keys() or len(set(names)) < len(names):
        raise ValueError(
            f"classes={classes} of task=affect must be grouped by a word before a slash, one of "
            f"{', '.join(AFFECT_LOSSES)}: expr/Neutral, ..., au/AU1, ..., va/valence, ..."
        )


@dataclass(frozen=True)
class EncoderConfig:
    """What every model says of its encoder."""

    encoder: str = "lgi_former_base"
    """Registered encoder: lgi_former_{nano,tiny,small,base}, video_vit_{nano,small,base,large,huge}, or of single
    images face_vit_{nano,small,base,large}."""
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
        if self.reads_images:
            check_image(self.geometry)

    @property
    def reads_images(self) -> bool:
        """Whether clips are single images, and tokens those of MAE (models.face_vit)."""
        return self.encoder.startswith("face_vit")


def check_image(geometry: ClipGeometry) -> None:
    """Raises ValueError unless clips of this geometry are single images."""
    if geometry.frames != 1:
        raise ValueError(
            f"a face_vit reads single images, geometry.frames={geometry.frames}: set geometry.frames and "
            "geometry.tubelet to 1, or take a video_vit"
        )


@dataclass(frozen=True)
class MaskedAutoencoderConfig(EncoderConfig):
    """A masked autoencoder: encoder by its timm name, decoder, target and loss."""

    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6
    target: Target = "joint"
    """joint: appearance and motion halves of each cube (MAE-DFER Eq. 2); appearance, motion: one half alone
    (lambda 1 and 0); video_mae: cubes as they are. Those are normalised by each colour of each cube; image_mae: by each
    cube over all colours (MAE); pixels: not at all (MAE without norm_pix_loss, plain L2)."""
    appearance_weight: float = 0.5
    """lambda of MAE-DFER Eq. 2; only the joint target has it."""
    loss_tokens: Literal["masked", "all"] = "masked"
    """Tokens that are predicted: the masked ones (MAE, VideoMAE, text of MAURA 3.6), or all: the complete image
    (NetEase), the complete target view (MAURA Eq. 1)."""
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
            raise ValueError(
                f"target={self.target} splits cubes of 2 frames, geometry.tubelet={self.geometry.tubelet}; take "
                "video_mae, image_mae or pixels"
            )
        if self.decoder_width % self.decoder_heads:
            raise ValueError(
                f"decoder_width={self.decoder_width} is not a multiple of decoder_heads={self.decoder_heads}"
            )
        if self.reads_images and self.decoder_width % 4:
            raise ValueError(
                f"decoder_width={self.decoder_width} is not a multiple of 4, as sines and cosines of rows and columns "
                "need it"
            )


@dataclass(frozen=True)
class MultiViewConfig(MaskedAutoencoderConfig):
    """A masked autoencoder that draws another view of the same instants. By default MAURA's (4.3): ViT-B, 16 frames of
    224x224, 1568 tokens, learned positions, a decoder of 4 blocks that is not told the view."""

    encoder: str = "video_vit_base"
    geometry: ClipGeometry = field(default_factory=lambda: ClipGeometry(height=224, width=224))
    target: Target = "video_mae"
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
        check_loss(self)
        self._check_augmentation()
        self._check_training()

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

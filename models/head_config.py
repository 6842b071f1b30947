"""Configs of heads that learn from the features of frames, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.config import Loss, Task, check_loss

Fusion = Literal["mean", "concat", "updown_mean", "updown_concat"]


@dataclass(frozen=True)
class FeatureSet:
    """What one extractor says of a frame."""

    name: str
    width: int
    """Numbers per frame."""

    def __post_init__(self) -> None:
        if not self.name or self.width < 1:
            raise ValueError(f"a set of features needs a name and a width of at least 1, not {self}")


@dataclass(frozen=True)
class MlpConfig:
    """How every head ends: hidden layers with layer norm and ReLU, then one linear layer."""

    hidden: tuple[int, ...] = ()
    """Widths of the hidden layers; none: the linear layer alone."""
    dropout: float = 0.0
    """Share of the numbers of a hidden layer that are dropped."""

    def __post_init__(self) -> None:
        _check_positive("hidden", self.hidden)
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if self.dropout and not self.hidden and not self._drops_elsewhere():
            raise ValueError(f"dropout={self.dropout} has no effect without hidden layers; set it to 0")

    def check_features(self, features: tuple[FeatureSet, ...]) -> None:
        """Raises ValueError, saying what would do, for features that the head cannot read."""

    def _drops_elsewhere(self) -> bool:
        return False


@dataclass(frozen=True)
class FrameMlpConfig(MlpConfig):
    """Each frame on its own: the baseline that context in time has to beat. Without hidden layers a linear probe."""


@dataclass(frozen=True)
class SequenceConfig(MlpConfig):
    """A Transformer encoder over the frames of a window: post-norm, ReLU."""

    dropout: float = 0.3
    """Of the encoder's layers and attention, and of all that stands before and after it."""
    layers: int = 4
    heads: int = 4
    feed_forward: int = 2048
    """Width inside of a layer."""
    positions: Literal["none", "sinusoid"] = "none"
    """none: the encoder is not told the order of frames."""
    missing: Literal["visible", "hidden"] = "visible"
    """Frames without features of their own. visible: they are read as they come, filled by the data; hidden: no other
    frame sees them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "heads", "feed_forward"):
            _check_positive(name, (getattr(self, name),))

    def _check_heads(self, width: int, remedy: str) -> None:
        if width % self.heads:
            raise ValueError(f"heads={self.heads} do not divide the encoder's width of {width}: {remedy}")

    def _drops_elsewhere(self) -> bool:
        return True


@dataclass(frozen=True)
class TcnTransformerConfig(SequenceConfig):
    """Temporal convolutions, a Transformer encoder and an MLP. The defaults are those of CtyunAI's code, the dropout
    that of the paper (arXiv 2403.11440; 3.2, 3.3, 4.1.2)."""

    hidden: tuple[int, ...] = (256,)
    layers: int = 8
    feed_forward: int = 512
    channels: tuple[int, ...] = (768, 256, 128)
    """Channels of the blocks of convolutions."""
    dilations: tuple[int, ...] = (1, 2, 4)
    """Distance of the frames that a block's convolutions look at, one for each block."""
    kernel: int = 5
    """Frames that a convolution looks at."""
    causal: bool = True
    """Whether convolutions see the past alone (the code; the paper does not say). The encoder sees the whole window."""
    width: int = 512
    """Of the encoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("channels", self.channels)
        _check_positive("dilations", self.dilations)
        _check_positive("width", (self.width,))
        if not self.channels or len(self.dilations) != len(self.channels):
            raise ValueError(f"dilations={self.dilations} must be one for each of channels={self.channels}")
        if self.kernel < 2 or not (self.causal or self.kernel % 2):
            raise ValueError(f"kernel={self.kernel} must be at least 2, and odd unless causal")
        self._check_heads(self.width, "choose another width")

    @property
    def receptive_field(self) -> int:
        """Frames that one output of the convolutions depends on, itself included."""
        return 1 + 2 * (self.kernel - 1) * sum(self.dilations)


@dataclass(frozen=True)
class TransformerFusionConfig(SequenceConfig):
    """Features of all kinds side by side, a Transformer encoder and a linear layer: Temporal and Multi-modal Fusion
    (NetEase, CVPR workshops 2023, 3.2). Four layers and dropout 0.3 are the paper's, which is silent on the rest;
    positions are those of the Transformer that it cites."""

    positions: Literal["none", "sinusoid"] = "sinusoid"
    projection: tuple[int, ...] = ()
    """Widths of linear layers per frame before the encoder, leaky ReLU between them; none: the encoder is as wide as
    the features together (the paper). NetEase's code of the next year has (256, 128)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("projection", self.projection)
        if self.projection:
            self._check_heads(self.projection[-1], "end projection on a multiple of them")

    def check_features(self, features: tuple[FeatureSet, ...]) -> None:
        if not self.projection:
            width = sum(each.width for each in features)
            self._check_heads(width, "choose other heads, or a projection that ends on a multiple of them")


@dataclass(frozen=True)
class ViewFusionConfig(MlpConfig):
    """Two views of a frame fused by attention, the stronger one first (Emotic-MAE, arXiv 2403.13039, 3.3, 4.4)."""

    hidden: tuple[int, ...] = (512,)
    fusion: Fusion = "concat"
    """How the key is made of both views (Table 2): by 1, 1, 2, 3 dense layers from their mean, from both, and again
    with a wider layer in between."""
    groups: int = 12
    """Tokens that a feature is cut into."""
    heads: int = 4
    """Of the attention among the tokens of a frame."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("groups", (self.groups,))
        _check_positive("heads", (self.heads,))

    def check_features(self, features: tuple[FeatureSet, ...]) -> None:
        widths = [each.width for each in features]
        if len(widths) != 2 or widths[0] != widths[1]:
            raise ValueError(f"two sets of features of the same width are fused, not {len(widths)} of widths {widths}")
        if widths[0] % (self.groups * self.heads):
            raise ValueError(
                f"features of width {widths[0]} do not make groups={self.groups} tokens for heads={self.heads}: the "
                "width must be a multiple of their product"
            )


# A frame's MLP first: what it records, the others would take too, and the first that takes it is chosen.
Head = FrameMlpConfig | TcnTransformerConfig | TransformerFusionConfig | ViewFusionConfig


@dataclass(frozen=True)
class FeatureHeadConfig:
    """A head and what it learns from which features. Task, loss, classes and their weights mean what they mean in
    models.config.FineTuningConfig."""

    features: tuple[FeatureSet, ...] = ()
    """In the order in which they stand side by side. None: those of the data, which the job fills in; a model cannot be
    built without."""
    head: Head = field(default_factory=TcnTransformerConfig)
    feature_norm: Literal["none", "layer"] = "none"
    """layer: each set of features passes a layer norm of its own."""
    classes: tuple[str, ...] = ()
    task: Task = "classes"
    loss: Loss = "cross_entropy"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_loss(self)
        if (self.task, self.loss) == ("multi_label", "cross_entropy"):
            raise ValueError("loss=cross_entropy of several labels is for whole clips; choose binary_cross_entropy")
        names = [each.name for each in self.features]
        if len(set(names)) < len(names):
            raise ValueError(f"features={names} must have different names")
        if self.features:
            self.head.check_features(self.features)


def _check_positive(name: str, values: tuple[int, ...]) -> None:
    if any(value < 1 for value in values):
        raise ValueError(f"{name}={values if len(values) > 1 else values[0]} must be at least 1")

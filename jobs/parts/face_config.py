"""The config of `jobs/pretrain_face_images.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from jobs.parts.run_config import PretrainRunConfig
from models.config import MaskedAutoencoderConfig
from models.tokens import ClipGeometry
from pipelines.clips import ClipConfig
from pipelines.corpora.registry import ImageName
from pipelines.image_cleaning import CleaningConfig
from pipelines.masks import MaskConfig, num_visible
from pipelines.resized_crop import ResizedCropConfig
from pipelines.sample import SampleConfig


@dataclass(frozen=True)
class FaceCorporaConfig:
    """Which face images: a union of corpora, each image once however many of them have it."""

    names: tuple[ImageName, ...] = ("affectnet", "raf_db", "fer2013", "fer_plus")
    """Corpora; of an image that several have the copy of the first is kept."""
    roots: dict[str, str] = field(default_factory=dict)
    """Where they are: pairs of a name and a directory or s3://bucket/prefix, of folders, zips or tar shards. None at
    all: their synthetic twins, rendered on first use."""
    weights: dict[str, float] = field(default_factory=dict)
    """Pairs of a name and how often a pass visits each image of that corpus, on the average; 1 where nothing is said.
    At .25 four passes see all of them once."""
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    exclude: str | None = None
    """Text file of subjects or images to leave out, one per line, spelled as in their corpus."""
    images: int = 96
    """Synthetic only: images of each twin."""

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"corpus.names={self.names} must be one or more different corpora")
        if self.roots and (missing := [name for name in self.names if name not in self.roots]):
            told = " ".join(f"{name} ADDRESS" for name in missing)
            raise ValueError(f"corpus.roots lacks {', '.join(missing)}: add --corpus.roots {told}, or leave them out")
        for option in ("roots", "weights"):
            if unknown := sorted(getattr(self, option).keys() - set(self.names)):
                raise ValueError(f"corpus.{option} of {', '.join(unknown)} has no effect; add them to corpus.names")
        if wrong := {name: weight for name, weight in self.weights.items() if not 0 < weight < float("inf")}:
            raise ValueError(f"corpus.weights={wrong} must be positive")
        if self.is_synthetic and self.exclude:
            raise ValueError("corpus.exclude has no effect on synthetic twins; leave it, or give corpus.roots")
        if not self.is_synthetic and self.images != type(self).images:
            raise ValueError(f"corpus.images={self.images} has no effect with roots; leave it")

    @property
    def is_synthetic(self) -> bool:
        return not self.roots

    @property
    def title(self) -> str:
        """For results: synthetic corpora say so."""
        return f"synthetic {self.layout}" if self.is_synthetic else self.layout

    @property
    def layout(self) -> str:
        """What the catalog of their union is named after."""
        return "+".join(self.names)


@dataclass(frozen=True)
class FacePretrainConfig(PretrainRunConfig):
    """Pre-training of a masked autoencoder on face images."""

    JOB: ClassVar[str] = "pretrain_face_images"

    corpus: FaceCorporaConfig = field(default_factory=FaceCorporaConfig)
    crop: ResizedCropConfig = field(default_factory=ResizedCropConfig)
    mask: MaskConfig = field(default_factory=lambda: MaskConfig(policy="random", ratio=0.75))
    model: MaskedAutoencoderConfig = field(
        default_factory=lambda: MaskedAutoencoderConfig(
            encoder="face_vit_base",
            geometry=ClipGeometry(frames=1, height=224, width=224, tubelet=1),
            decoder_width=512,
            decoder_depth=8,
            decoder_heads=16,
            target="image_mae",
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.geometry.frames != 1:
            raise ValueError(f"model.geometry.frames={self.model.geometry.frames}: an image is a clip of one frame")
        self.check_plain(self.mask)
        self.sample()

    @property
    def clip(self) -> ClipConfig:
        return ClipConfig(frames=1, stride=1)

    def sample(self) -> SampleConfig:
        """What a sample looks like. Raises ValueError for values that do not go together."""
        return SampleConfig(
            clip=self.clip,
            crop=self.crop,
            mask=self.mask,
            geometry=self.model.geometry,
            clips_per_video=self.clips_per_video,
            seed=self.seed,
            decoder=self.decode.decoder,
        )

    def check_plain(self, mask: MaskConfig) -> None:
        """Raises ValueError for a mask that the model cannot take, in this run or shown to it later."""
        if mask.policy == "region_tube":
            raise ValueError("mask.policy=region_tube has no effect on single images; take random")
        num_visible(self.model.geometry.grid, mask)

"""The config of a pre-training run: what is learned from what, and how it is run. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import tyro

from cluster.config import (
    CheckpointConfig,
    EngineConfig,
    OptimizerConfig,
    QuarantineBudget,
    TelemetryConfig,
    WorkersConfig,
)
from models.config import MaskedAutoencoderConfig
from pipelines.clips import ClipConfig
from pipelines.decoders import Decoder
from pipelines.masks import MaskConfig, num_visible
from pipelines.transforms import CropConfig


@dataclass(frozen=True)
class CorpusConfig:
    """Which videos. Training reads the split `dev`, held-out loss and pictures use `test`."""

    name: Literal["synthetic", "voxceleb2", "folder"] = "synthetic"
    """synthetic: rendered on first use; voxceleb2: {dev,test}/mp4/idNNNNN/<video>/NNNNN.mp4; folder: any videos."""
    root: str | None = None
    """Directory or s3://bucket/prefix of the videos; the synthetic corpus needs none."""
    exclude: str | None = None
    """Text file of subjects or videos to leave out, one per line (a person's data withdrawn)."""
    speakers: int = 16
    """Synthetic only: identities in the dev split; a quarter as many again are held out."""
    clips_per_speaker: int = 4
    """Synthetic only: videos of each identity."""

    def __post_init__(self) -> None:
        if self.name != "synthetic" and self.root is None:
            raise ValueError(f"corpus.name={self.name} needs --corpus.root, a directory or s3://bucket/prefix")
        if self.name == "synthetic" and self.exclude is not None:
            raise ValueError("corpus.exclude has no effect on the synthetic corpus; leave it out")

    @property
    def layout(self) -> Literal["voxceleb2", "folder"]:
        """How its files are named; the synthetic corpus is laid out as VoxCeleb2."""
        return "folder" if self.name == "folder" else "voxceleb2"


@dataclass(frozen=True)
class DecodeConfig:
    """The CPU actors that fetch, decode, crop and mask."""

    decoder: Decoder = "pyav"
    """All return the same frames; torchcodec needs FFmpeg's libraries, decord an x86-64 machine."""
    num_actors: int | None = None
    """None: as many as the CPUs that the workers leave free allow."""
    cpus_per_actor: float = 0.5


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-training of a masked autoencoder on face video."""

    PLACEMENT: ClassVar[tuple[str, ...]] = (
        "engine",
        "workers",
        "decode",
        "checkpoint",
        "telemetry",
        "quarantine",
        "stop_at_step",
    )
    """Fields that say how a run is carried out; the others decide what it learns."""

    recipe: tyro.conf.Suppress[str]
    """Name of the recipe these values come from."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    mask: MaskConfig = field(default_factory=lambda: MaskConfig(policy="region_tube"))
    model: MaskedAutoencoderConfig = field(default_factory=MaskedAutoencoderConfig)
    clips_per_video: int = 1
    """Masks drawn for each decoded clip (repeated sampling: decoding is shared)."""
    passes_per_epoch: int = 1
    """How often an epoch visits every video, each time with another clip. Starting an epoch takes seconds, so a small
    corpus wants several; a sample is then a visit."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    init_from: str | None = None
    """Run or checkpoint whose weights training starts from; everything else starts afresh."""
    held_out_clips: int = 32
    """Clips of the test split in the fixed held-out batch."""
    overfit: int | None = None
    """Train on this many clips, with the same frames, crops and masks every time: a check that the model can learn."""
    seed: int = 0

    engine: EngineConfig = field(default_factory=EngineConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    quarantine: QuarantineBudget = field(default_factory=QuarantineBudget)
    stop_at_step: int | None = None
    """End this command after that step, with a checkpoint; the same command without it goes on."""

    def __post_init__(self) -> None:
        geometry = self.model.geometry
        for name, value, wanted in (
            ("clip.frames", self.clip.frames, geometry.frames),
            ("crop.size", self.crop.size, geometry.height),
            ("crop.size", self.crop.size, geometry.width),
        ):
            if value != wanted:
                raise ValueError(f"{name}={value} but the model's clip has {wanted}; set both to the same value")
        if self.mask.policy == "region_tube" and self.mask.region != self.model.region:
            raise ValueError(f"mask.region={self.mask.region} and model.region={self.model.region} must be the same")
        if self.model.encoder.startswith("lgi_former") and self.mask.policy != "region_tube":
            raise ValueError(
                f"mask.policy={self.mask.policy} leaves unequal numbers of visible tokens in the regions of "
                f"{self.model.encoder}; use mask.policy=region_tube, or a video_vit encoder"
            )
        num_visible(geometry.grid, self.mask)
        for name in ("clips_per_video", "passes_per_epoch", "held_out_clips", "overfit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")

    def learning(self) -> PretrainConfig:
        """The part that decides what is learned, with the rest at its defaults: what a run is named after."""
        defaults = PretrainConfig(recipe="none")
        return replace(self, **{name: getattr(defaults, name) for name in self.PLACEMENT})

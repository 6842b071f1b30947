"""What every pre-training run is configured by, whatever it learns from. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import tyro

from cluster.config import (
    CheckpointConfig,
    EngineConfig,
    OptimizerConfig,
    QuarantineBudget,
    TelemetryConfig,
    WorkersConfig,
)
from pipelines.decoders import Decoder


@dataclass(frozen=True)
class DecodeConfig:
    """The CPU actors that fetch, decode, crop and mask."""

    decoder: Decoder = "pyav"
    """All return the same frames; torchcodec needs FFmpeg's libraries, decord an x86-64 machine."""
    num_actors: int | None = None
    """None: as many as the CPUs that the workers leave free allow."""
    cpus_per_actor: float = 0.5


@dataclass(frozen=True)
class RunConfig:
    """The part of a pre-training config that jobs have in common."""

    JOB: ClassVar[str]
    """Name of the job whose config this is, recorded beside it."""
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
    clips_per_video: int = 1
    """Masks drawn for each decoded clip (repeated sampling: decoding is shared)."""
    passes_per_epoch: int = 1
    """How often an epoch visits every sample, each time with another clip. Starting an epoch takes seconds, so a small
    corpus wants several; a sample is then a visit."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    init_from: str | None = None
    """Run or checkpoint whose weights training starts from; everything else starts afresh."""
    held_out_clips: int = 32
    """Clips of the test split in the fixed held-out batch."""
    overfit: int | None = None
    """Train on this many samples, with the same frames, crops and masks every time: a check that the model can learn.
    """
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
        for name in ("clips_per_video", "passes_per_epoch", "held_out_clips", "overfit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")

    def learning(self) -> Self:
        """The part that decides what is learned, with the rest at its defaults: what a run is named after."""
        defaults = RunConfig(recipe="none")
        return replace(self, **{name: getattr(defaults, name) for name in self.PLACEMENT})

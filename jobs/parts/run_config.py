"""What every training run is configured by, whatever it learns. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
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
from cluster.fault_config import FaultPlan
from cluster.spikes import SpikeConfig
from jobs.parts.transfer_config import TransferConfig
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
    """The part of a config that all training jobs have in common."""

    JOB: ClassVar[str]
    """Name of the job whose config this is, recorded beside it."""
    PLACEMENT: ClassVar[tuple[str, ...]] = (
        "engine",
        "workers",
        "decode",
        "checkpoint",
        "telemetry",
        "quarantine",
        "spikes",
        "stop_at_step",
        "retry_refused",
        "faults",
    )
    """Fields that say how a run is carried out; the others decide what it learns."""

    recipe: tyro.conf.Suppress[str]
    """Name of the recipe these values come from."""
    passes_per_epoch: int = 1
    """How often an epoch visits every sample, each time with another clip. Starting an epoch takes seconds, so a small
    corpus wants several; a sample is then a visit."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    init_from: str | None = None
    """Run or checkpoint whose weights training starts from; everything else starts afresh."""
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
    spikes: SpikeConfig = field(default_factory=SpikeConfig)
    stop_at_step: int | None = None
    """End this command after that step, with a checkpoint; the same command without it goes on."""
    retry_refused: bool = False
    """Go on although a step after the checkpoint was refused before, for a loss or gradient that was not finite."""
    faults: FaultPlan = field(default_factory=FaultPlan)

    def __post_init__(self) -> None:
        self._check_counts("passes_per_epoch", "overfit")

    def _check_counts(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")

    def learning(self) -> Self:
        """The part that decides what is learned, with the rest at its defaults: what a run is named after."""
        placed = (one for one in fields(self) if one.name in self.PLACEMENT)
        defaults = {one.name: one.default if one.default is not MISSING else one.default_factory() for one in placed}
        return replace(self, **defaults)


@dataclass(frozen=True)
class PretrainRunConfig(RunConfig):
    """The part of a config that the pre-training jobs have in common."""

    PLACEMENT: ClassVar[tuple[str, ...]] = (*RunConfig.PLACEMENT, "transfer")

    clips_per_video: int = 1
    """Masks drawn for each decoded clip (repeated sampling: decoding is shared)."""
    held_out_clips: int = 32
    """Clips of the test split in the fixed held-out batch."""
    transfer: TransferConfig = field(default_factory=TransferConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("clips_per_video", "held_out_clips")

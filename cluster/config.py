"""Configs of a training run, importable without torch, ray or deepspeed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


def _positive(**values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name}={value} must be positive")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW under a linear warm-up and a cosine (values: MAE-DFER 4.2)."""

    base_lr: float = 3e-4
    """Learning rate per 256 samples of global batch; the rate used is base_lr x global_batch / 256."""
    min_lr: float = 1e-5
    """End of the cosine, per 256 samples like base_lr."""
    global_batch: int = 128
    """Videos per optimizer step, whatever the number of workers."""
    epochs: int = 100
    """Length of the cosine, and of the run unless stop_epoch ends it earlier."""
    warmup_epochs: float = 5.0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    gradient_clip: float | None = None
    """Global gradient norm above which gradients are scaled down; None: never."""
    stop_epoch: int | None = None
    """End the run after this many epochs of the cosine (MAE-DFER: 50 of 100)."""

    def __post_init__(self) -> None:
        _positive(base_lr=self.base_lr, global_batch=self.global_batch, epochs=self.epochs)
        if self.gradient_clip is not None:
            _positive(gradient_clip=self.gradient_clip)
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs} must lie in [0, epochs={self.epochs})")
        if self.stop_epoch is not None and not 1 <= self.stop_epoch <= self.epochs:
            raise ValueError(f"stop_epoch={self.stop_epoch} must lie in [1, epochs={self.epochs}]")


@dataclass(frozen=True)
class EngineConfig:
    """DeepSpeed: how parameters, gradients and optimizer state are sharded and in what precision they are computed."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    precision: Literal["bf16", "fp32"] = "bf16"
    micro_batch: int | None = None
    """Samples per worker and forward pass; None: the whole share of the worker (no gradient accumulation)."""
    compile: bool = False
    """torch.compile the task (needs a compiler on the machine)."""


@dataclass(frozen=True)
class WorkersConfig:
    """Training workers, one process each."""

    num_workers: int | None = None
    """None: one per GPU of the cluster, or one on CPUs."""
    cpus_per_worker: float = 0.5
    max_failures: int = 3
    """Restarts of the worker group, after workers died, without a new checkpoint in between, before the run gives up; 0
    for none at all. Two deaths in the same step end it at once."""
    hang_timeout_s: float = 1800.0
    """A worker that is so long in one step, save, probe or wait for data writes down where it stands and ends;
    starting may take as long. The group is then started again."""
    deterministic: bool = False
    """Fixed order of batches, deterministic kernels and one thread: after a restart with as many workers on machines of
    the same kind every bit is that of a run left alone. Slower."""

    def __post_init__(self) -> None:
        if self.num_workers is not None:
            _positive(num_workers=self.num_workers)
        _positive(cpus_per_worker=self.cpus_per_worker, hang_timeout_s=self.hang_timeout_s)
        if self.max_failures < 0:
            raise ValueError(f"max_failures={self.max_failures} must not be negative")


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are committed and which are kept."""

    every_steps: int = 500
    keep_last: int = 2
    keep_epochs: tuple[int, ...] = ()
    """Milestones: the checkpoint at the end of each of these epochs is never deleted."""
    timeout_s: float = 1200.0
    """Seconds from the copy of the state until superseded checkpoints are removed, at most: when they are over, the
    ranks that have not written their part are named, and the workers are started again. Reading a checkpoint waits
    as long for the slowest rank."""
    max_failed_saves: int = 2
    """Saves in a row that may fail (a full disk, a storage that is down) while training goes on; one more stops the
    run. The last save before a run ends or stops must succeed."""

    def __post_init__(self) -> None:
        _positive(every_steps=self.every_steps, timeout_s=self.timeout_s)
        if self.max_failed_saves < 0:
            raise ValueError(f"max_failed_saves={self.max_failed_saves} must not be negative; 0 allows none")
        if self.keep_last < 2:
            raise ValueError(f"keep_last={self.keep_last}: at least 2, so that one remains when the newest is damaged")


@dataclass(frozen=True)
class QuarantineBudget:
    """How many samples of an epoch may be rejected (undecodable, too short, ...) before the run stops."""

    fraction: float = 0.005
    at_least: int = 10
    """Allowed however small the data set."""

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction={self.fraction} must lie in [0, 1]")
        if self.at_least < 0:
            raise ValueError(f"at_least={self.at_least} must not be negative")

    def limit(self, samples_per_epoch: int) -> int:
        """Rejected samples that an epoch may have."""
        return max(self.at_least, int(self.fraction * samples_per_epoch))


@dataclass(frozen=True)
class TelemetryConfig:
    """What is logged, where, and how often."""

    log_every_steps: int = 10
    probe_every_steps: int = 500
    """Steps between two runs of the probes (held-out loss); they also run at the first step and at the end."""
    tensorboard: bool = True
    wandb_project: str | None = None
    """Weights & Biases project; None: not used. Offline unless WANDB_API_KEY is set."""
    wandb_group: str | None = None
    """Name under which runs of one project stand together, such as the trials of a sweep."""
    upload_pictures: bool = False
    """Also send pictures (of faces) to Weights & Biases; they always stay in the run directory."""

    def __post_init__(self) -> None:
        _positive(log_every_steps=self.log_every_steps, probe_every_steps=self.probe_every_steps)
        if self.upload_pictures and self.wandb_project is None:
            raise ValueError("upload_pictures has no effect without wandb_project; name a project")
        if self.wandb_group is not None and self.wandb_project is None:
            raise ValueError(f"wandb_group={self.wandb_group} has no effect without wandb_project; name a project")

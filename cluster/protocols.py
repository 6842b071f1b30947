"""What the loop sees of a task, a stream of data and a probe, and a sweep of a trial: four protocols and nothing else.

They cross process borders as `Reference`s, an importable "module:function" plus a frozen config, and are built inside
the worker by calling function(config).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import ray.data
    import torch


@dataclass(frozen=True)
class Reference:
    """A picklable recipe for an object: `target` is "package.module:function", called with `config`."""

    target: str
    config: Any

    def build(self) -> Any:
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)(self.config)


@dataclass(frozen=True)
class BatchPlan:
    """How a global batch is dealt out: workers x accumulation micro-batches of micro_batch rows each."""

    workers: int
    accumulation: int
    micro_batch: int
    deterministic: bool = False

    @property
    def global_batch(self) -> int:
        return self.workers * self.accumulation * self.micro_batch


class Task(Protocol):
    """A torch.nn.Module whose forward is the loss."""

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Scalars by name, among them "loss": each the sum over rows of batch["weight_B"] (float32 [B]) times the
        row's value. The loop chooses the weights, so that rows without a sample (weight 0) change nothing."""
        ...

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Every trainable parameter once: {"name", "params", "weight_decay", "lr_scale"}, in a fixed order."""
        ...

    def start_from(self, weights: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
        """Take over what fits of another run's weights, given by its task's parameter names with the config that its
        job recorded, as JSON values. Raises ValueError, naming what does not fit, where that is not enough."""
        ...


@runtime_checkable
class GlobalLoss(Protocol):
    """A task whose loss is a function of sums over the global batch, such as a correlation."""

    def statistics(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sums over rows of batch["weight_B"] times what a row adds, float64 [S], without gradient. Called in training
        mode before `forward`, under the seed of the same micro-batch; `forward` then finds the mean over all
        micro-batches of the global batch as batch["statistics_S"]."""
        ...


class Stream(Protocol):
    """The training data of every epoch."""

    num_samples: int  # length of the bitmap: sample ids are 0 .. num_samples - 1
    samples_per_epoch: int  # ids an epoch is made of (at most num_samples), in every epoch as many
    fingerprint: str  # identifies the data; a resumed run must find the same

    def remaining(self, epoch: int, consumed: np.ndarray) -> int:
        """Samples of an epoch not marked in `consumed` (bool [num_samples])."""
        ...

    def dataset(self, epoch: int, consumed: np.ndarray, plan: BatchPlan) -> ray.data.Dataset:
        """What is left of the epoch. Every block is one micro-batch of exactly plan.micro_batch rows; the number of
        blocks is a multiple of plan.workers x plan.accumulation (rows without a sample fill up)."""
        ...


class Probe(Protocol):
    """A measurement during training. Called on all ranks at the same step; may use collectives."""

    def __call__(self, task: Any, step: int) -> dict[str, float]: ...


class Trial(Protocol):
    """One point of a sweep, tried. Called in a process of its own."""

    def __call__(
        self, values: Mapping[str, Any], *, sharing: int, report: Callable[[int, float], None]
    ) -> dict[str, Any]:
        """Runs it, or resumes it, or finds it finished; returns what the sweep is to record, as JSON values.

        Args:
            values: of the searched dimensions, by name.
            sharing: trials that share the cluster.
            report: called with samples seen and score, whenever there is a new one; known ones may come again.
        """
        ...

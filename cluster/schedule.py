"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cluster.config import OptimizerConfig


def learning_rate(step: int, *, total_steps: int, warmup_steps: int, peak: float, minimum: float) -> float:
    """Rate of the update that follows `step` updates.

    Linear from 0 at step 0 to `peak` at `warmup_steps`, then half a cosine that reaches `minimum` at `total_steps` and
    stays there (SGDR, arXiv 1608.03983, equation 5, one period; warm-up of arXiv 1706.02677, section 2.2).
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return minimum + (peak - minimum) * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Schedule:
    """An OptimizerConfig resolved against the length of an epoch."""

    steps_per_epoch: int
    total_steps: int
    """Length of the cosine."""
    stop_step: int
    """Updates of the whole run."""
    warmup_steps: int
    peak: float
    minimum: float
    global_batch: int
    base_lr: float

    def rate(self, step: int) -> float:
        return learning_rate(
            step,
            total_steps=self.total_steps,
            warmup_steps=self.warmup_steps,
            peak=self.peak,
            minimum=self.minimum,
        )

    def __str__(self) -> str:
        return (
            f"learning rate {self.peak:.3g} = {self.base_lr:.3g} x {self.global_batch} / 256, "
            f"warm-up {self.warmup_steps} steps, cosine to {self.minimum:.3g} at step {self.total_steps}, "
            f"{self.steps_per_epoch} steps per epoch, stop at step {self.stop_step}"
        )


def resolve(config: OptimizerConfig, steps_per_epoch: int) -> Schedule:
    """Scales the rates by the global batch (linear scaling rule, arXiv 1706.02677, section 2.1).

    Raises ValueError when an epoch has no step.
    """
    if steps_per_epoch < 1:
        raise ValueError(f"steps_per_epoch={steps_per_epoch}: an epoch needs at least one step; lower global_batch")
    scale = config.global_batch / 256
    return Schedule(
        steps_per_epoch=steps_per_epoch,
        total_steps=config.epochs * steps_per_epoch,
        stop_step=(config.stop_epoch or config.epochs) * steps_per_epoch,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        peak=config.base_lr * scale,
        minimum=config.min_lr * scale,
        global_batch=config.global_batch,
        base_lr=config.base_lr,
    )

"""A task, a stream and a probe small enough to follow by hand, importable in workers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from cluster.protocols import BatchPlan

WIDTH = 4


class ToyTask(nn.Module):
    """Linear regression of y = sum of x."""

    def __init__(self, bug_ids: tuple[int, ...] = ()) -> None:
        """With a bug that one of the samples brings out."""
        super().__init__()
        self.bug_ids = bug_ids
        self.linear = nn.Linear(WIDTH, 1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if set(batch["sample_id_B"].tolist()) & set(self.bug_ids):
            raise KeyError("a bug in the task")
        error_B = (self.linear(batch["x_BD"]).squeeze(1) - batch["x_BD"].sum(dim=1)) ** 2
        loss = (batch["weight_B"] * error_B).sum()
        return {"loss": loss, "square": loss}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return [{"name": "all", "params": list(self.parameters()), "weight_decay": weight_decay, "lr_scale": 1.0}]

    def start_from(self, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        self.load_state_dict(weights)


class SquaredMeanTask(ToyTask):
    """The square of the mean error over the global batch: no sum over rows."""

    def statistics(self, batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            return self._mean(batch).double()[None]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        (mean,) = batch["statistics_S"].float()
        own = 2 * mean * self._mean(batch)
        return {"loss": own - own.detach() + mean**2 * batch["weight_B"].sum()}

    def _mean(self, batch: dict[str, Tensor]) -> Tensor:
        error_B = self.linear(batch["x_BD"]).squeeze(1) - batch["x_BD"].sum(dim=1)
        return (batch["weight_B"] * error_B).sum()


class SpikyTask(ToyTask):
    """The loss of rows with one of some samples is a thousand times too high, without a gradient."""

    def __init__(self, spike_ids: tuple[int, ...]) -> None:
        super().__init__()
        self.spike_ids = spike_ids

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = super().forward(batch)
        if set(batch["sample_id_B"].tolist()) & set(self.spike_ids):
            losses["loss"] = losses["loss"] + 1000 * losses["loss"].detach()
        return losses


def make_telling_task(signed_with: str) -> ToyTask:
    """Warns of an address signed with the value of this variable of the worker's environment."""
    address = f"https://bucket.s3.amazonaws.com/key?X-Amz-Signature={os.environ[signed_with]}"
    try:
        raise ConnectionError(f"GET {address}")
    except ConnectionError:
        logging.getLogger("pipelines.toy").warning("cannot fetch %s", address, exc_info=True)
    return ToyTask()


def make_spiky_task(spike_ids: tuple[int, ...]) -> SpikyTask:
    return SpikyTask(spike_ids)


def make_task(bug_ids: tuple[int, ...]) -> ToyTask:
    return ToyTask(bug_ids)


def make_squared_mean_task(bug_ids: tuple[int, ...]) -> SquaredMeanTask:
    return SquaredMeanTask(bug_ids)


@dataclass(frozen=True)
class ToyData:
    num_samples: int = 50
    rejected: tuple[int, ...] = ()
    fingerprint: str = "toy"
    seed: int = 0


def remaining_blocks(data: ToyData, epoch: int, consumed: np.ndarray, plan: BatchPlan) -> list[np.ndarray]:
    """Sample ids of each micro-batch that is left of an epoch, filled up with -1 to whole global batches."""
    order = np.random.default_rng((data.seed, epoch)).permutation(data.num_samples)
    left = order[~consumed[order]]
    padded = np.concatenate([left, np.full(-len(left) % plan.global_batch, -1)])
    return list(padded.reshape(-1, plan.micro_batch))


def make_rows(ids_B: np.ndarray, rejected: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The columns of a block: features drawn from the id alone."""
    x_BD = np.stack([np.random.default_rng(int(i) + 1).normal(size=WIDTH) for i in ids_B]).astype(np.float32)
    texts = [json.dumps({"uri": f"toy/{i}", "reason": "empty", "detail": ""}) if i in rejected else "" for i in ids_B]
    return {"x_BD": x_BD, "sample_id_B": ids_B.astype(np.int64), "rejected_B": np.array(texts)}


class ToyStream:
    def __init__(self, data: ToyData) -> None:
        self.data = data
        self.num_samples = self.samples_per_epoch = data.num_samples
        self.fingerprint = data.fingerprint

    def remaining(self, epoch: int, consumed: np.ndarray) -> int:
        return int(np.count_nonzero(~consumed))

    def dataset(self, epoch: int, consumed: np.ndarray, plan: BatchPlan) -> Any:
        import ray.data

        blocks = remaining_blocks(self.data, epoch, consumed, plan)
        rejected = self.data.rejected  # not self: the function below travels to Ray's workers
        dataset = ray.data.from_arrow([pa.table({"sample_id_B": ids_B}) for ids_B in blocks]).map_batches(
            lambda batch: make_rows(batch["sample_id_B"], rejected), batch_size=None, num_cpus=0.25
        )
        dataset.context.execution_options.preserve_order = plan.deterministic
        return dataset


def make_stream(data: ToyData) -> ToyStream:
    return ToyStream(data)


def make_probe(path: str) -> Any:
    """Notes its calls on rank 0 in a file, and leaves the task in evaluation mode; the value is the mean weight."""

    def probe(task: ToyTask, step: int) -> dict[str, float]:
        if torch.distributed.get_rank() == 0:
            with Path(path).open("a") as file:
                file.write(f"{step}\n")
        task.eval()
        return {"mean_weight": task.linear.weight.mean().item()}

    return probe

"""Processes joined in a gloo group, to run functions in, and the small task they train."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cluster.config import EngineConfig, OptimizerConfig
from cluster.protocols import BatchPlan

CALL_SECONDS = 120
DEVICE = torch.device("cpu")
"""Of this process; `_join` sets it."""
GLOBAL_BATCH = 8
OPTIMIZER = OptimizerConfig(gradient_clip=0.3, weight_decay=0.1)
RATE = 1e-2


class Workers:
    """`size` processes of one group, kept between calls."""

    def __init__(self, size: int, device: str = "cpu") -> None:
        self._size, self._device = size, device
        self._start()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._pools = [ProcessPoolExecutor(1, mp_context=_context(self._device)) for _ in range(self._size)]
        futures = [
            pool.submit(_join, rank, self._size, self._device, f"{self._folder.name}/rendezvous")
            for rank, pool in enumerate(self._pools)
        ]
        for future in futures:
            future.result(CALL_SECONDS)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What each rank returned. Raises the error of the rank that failed first, and puts new processes in place."""
        futures = [pool.submit(function, *arguments) for pool in self._pools]
        try:
            for future in as_completed(futures, CALL_SECONDS):
                future.result()
        except BaseException:
            for pool in self._pools:  # the others may wait for the one that failed
                for process in list(pool._processes.values()):
                    process.kill()
            self.close()
            self._start()
            raise
        return [future.result() for future in futures]

    def close(self) -> None:
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)
        self._folder.cleanup()


def _context(device: str) -> BaseContext:
    """On the CPU processes are forked from one that has imported DeepSpeed, which is what takes time."""
    if device != "cpu":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.cluster.imported"])
    return context


def _join(rank: int, size: int, device: str, rendezvous: str) -> None:
    global DEVICE
    os.environ |= {"DS_ACCELERATOR": device, "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    backend = "gloo"
    if device == "cuda":
        DEVICE, backend = torch.device("cuda", rank), "nccl"
        torch.cuda.set_device(DEVICE)
    dist.init_process_group(
        backend, init_method=f"file://{rendezvous}", rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )


class TinyTask(nn.Module):
    """Odd sizes, a parameter of one element, one that is frozen, and buffers of both kinds."""

    def __init__(self, *, seed: int = 0, width: int = 5) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.inner = nn.Linear(7, width)
        self.norm = nn.LayerNorm(width)
        self.outer = nn.Linear(width, 3)
        self.scale = nn.Parameter(torch.ones(1))
        self.frozen = nn.Parameter(torch.randn(3), requires_grad=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        decayed = [self.inner.weight, self.outer.weight]
        plain = [self.inner.bias, self.norm.weight, self.norm.bias, self.outer.bias, self.scale]
        return [
            {"name": "decay", "params": decayed, "weight_decay": weight_decay, "lr_scale": 1.0},
            {"name": "plain", "params": plain, "weight_decay": 0.0, "lr_scale": 0.5},
        ]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.training:
            self.seen += 1
        y_BD = self.outer(nn.functional.gelu(self.norm(self.inner(batch["x_BD"])))) * self.scale + self.frozen
        error_B = (y_BD - batch["y_BD"]).square().mean(1)
        return {"loss": (error_B * batch["weight_B"]).sum()}


def global_batch(step: int) -> dict[str, Tensor]:
    """Row weights make the loss the mean over the batch."""
    x_BD = torch.randn(GLOBAL_BATCH, 7, generator=torch.Generator().manual_seed(step))
    return {"x_BD": x_BD, "y_BD": x_BD[:, :3].sin(), "weight_B": torch.full((GLOBAL_BATCH,), 1 / GLOBAL_BATCH)}


def micro_batches(step: int, accumulation: int) -> list[dict[str, Tensor]]:
    """This rank's share, weighted so that the mean over workers and micro-batches is the loss of the global batch."""
    batch, shares = global_batch(step), dist.get_world_size() * accumulation
    batch["weight_B"] = batch["weight_B"] * shares
    own = range(dist.get_rank() * accumulation, (dist.get_rank() + 1) * accumulation)
    return [{name: values.chunk(shares)[index].to(DEVICE) for name, values in batch.items()} for index in own]


def make_engine(stage: int, precision: str, *, accumulation: int = 1, task: nn.Module | None = None) -> Any:
    from cluster.engine import Engine

    size = dist.get_world_size()
    plan = BatchPlan(size, accumulation, GLOBAL_BATCH // size // accumulation)
    config = EngineConfig(zero_stage=stage, precision=precision)
    return Engine(task or TinyTask(), OPTIMIZER, config, plan, DEVICE)


def backward(engine: Any, step: int, *, poison: tuple[int, float] | None = None) -> float:
    """The global loss; `poison` is (rank, value put into its rows)."""
    loss = torch.zeros((), device=DEVICE)
    for batch in micro_batches(step, engine.accumulation):
        if poison and poison[0] == dist.get_rank():
            batch["x_BD"][0, 0] = poison[1]
        value = engine(batch)["loss"]
        engine.backward(value)
        loss += value.detach() / engine.accumulation / dist.get_world_size()
    dist.all_reduce(loss)
    return loss.item()


def train(engine: Any, steps: range) -> list[float]:
    """The global loss before each update."""
    losses = []
    for step in steps:
        losses.append(backward(engine, step))
        engine.step(RATE * (1 + step % 3))
    return losses


def full_state(engine: Any) -> dict[str, Tensor]:
    """Everything AdamW and the task hold, on every rank, under "name/key"."""
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, engine.parameters_state())
    return {f"{name}/{key}": value for part in parts for name, entry in part.items() for key, value in entry.items()}

"""What checkpoints and bookkeeping take of a training step: the real loop and its real checkpoints, in one process.

There is no Ray: batches of noise come from memory, dealt out from a catalog as large as VoxCeleb2 by the real stream,
and nobody listens to the worker. What counts is the time for which the loop does not train: marking samples, joining
the marks of all ranks, rows of metrics, and the copy of the state for a save, which is written beside the training.
Saves come closer together here than the recipe says, so that some fit into the measurement; the shares are those of the
recipe's own interval, where a save that is longer than that is waited for. Writing needs CPU time that training could
have had; the share at most is that of a run in which nothing is done beside it.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist

from cluster.commit import BITMAP, scan
from cluster.protocols import BatchPlan, Reference
from cluster.trainer import DIRECTORY, TrainingRun
from jobs.parts.benchmark_model import random_batch
from jobs.parts.pretrain_config import PretrainConfig
from jobs.recipes.voxceleb import RECIPES
from models.flops import count_parameters
from pipelines.storage import Storage
from pipelines.stream import SampleStream, StreamConfig

if TYPE_CHECKING:
    from cluster.loop import Loop

VOXCELEB2_VIDEOS = 1_092_009
WARM_UP = 3
_SECTIONS = {"mark": "marking", "reduce": "joining marks", "rows": "rows of metrics", "save": "saving"}


class Stopwatch:
    """Seconds of every call of what it watches, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name].append(time.perf_counter() - start)

    def watch(self, owner: Any, method: str, *, name: str) -> None:
        """Times the calls of a method of one object from now on."""
        original = getattr(owner, method)

        @wraps(original)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.timed(name):
                return original(*arguments, **keywords)

        setattr(owner, method, timed)

    def watch_loop(self, loop: Loop) -> None:
        self.watch(loop.ledger, "mark", name="mark")
        self.watch(loop.ledger, "check_budget", name="mark")
        self.watch(loop.ledger, "reduce", name="reduce")
        self.watch(loop.stream, "remaining", name="reduce")
        self.watch(loop.telemetry, "step", name="rows")
        self.watch(loop.saver, "settle", name="wait")
        self.watch(loop.saver.store, "commit", name="write")
        book = loop.telemetry.timed

        @contextlib.contextmanager
        def sections(part: str) -> Iterator[None]:
            with self.timed(part), book(part):
                yield

        loop.telemetry.timed = sections


class Unheard:
    """A worker's link to nobody; forgets the steps that warm up."""

    rank = 0
    stop_requested = False

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def begin(self, step: int, sample_ids: list[int]) -> None:
        if step == WARM_UP + 1:
            self._stopwatch.seconds.clear()

    def publish(self, news: Any) -> None:
        """Nobody is told."""


@dataclass(frozen=True)
class Noise:
    """One micro-batch again and again, under new sample ids."""

    block: dict[str, np.ndarray]
    ids_GB: np.ndarray

    def streaming_split(self, workers: int, *, equal: bool) -> list[Noise]:
        return [replace(self, ids_GB=self.ids_GB[rank::workers]) for rank in range(workers)]

    def iter_batches(self, **_: Any) -> Iterator[dict[str, np.ndarray]]:
        for ids_B in self.ids_GB:
            yield self.block | {"sample_id_B": ids_B, "rejected_B": np.full(len(ids_B), "")}


class NoiseStream(SampleStream):
    """The order of an epoch of VoxCeleb2, without its videos."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__(
            StreamConfig(catalog="noise"),
            pa.table({"sample_id": np.arange(VOXCELEB2_VIDEOS)}),
            num_ids=VOXCELEB2_VIDEOS,
            seed=config.seed,
            make_reader=lambda *_, **__: None,  # nothing is read
            sample_bytes=0,
            fingerprint="noise",
        )
        self._recipe = config

    def dataset(self, epoch: int, consumed: np.ndarray, plan: BatchPlan) -> Noise:
        batch = random_batch(self._recipe, plan.micro_batch, torch.device("cpu"))
        block = {name: values.numpy() for name, values in batch.items() if name != "weight_B"}
        return Noise(block, self.plan(epoch, consumed, plan))


def make_stream(config: PretrainConfig) -> NoiseStream:
    return NoiseStream(config)


def measure(recipe: str, *, batch: int | None, steps: int, saves: int, directory: str | None) -> dict[str, Any]:
    """Trains a recipe's model on noise, on the GPU or without one on the CPU; prints a table to stderr and returns the
    figures.

    Args:
        batch: clips of a step; None: the recipe's.
        steps: that count, after some to warm up; a multiple of `saves`.
        directory: address for the checkpoints, emptied of them afterwards; None: a temporary folder.

    Raises:
        ValueError: there is no such recipe.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe={recipe!r} is not one of {', '.join(RECIPES)}")
    config = RECIPES[recipe]()
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch, _alone(device, f"{scratch}/rendezvous"):
        home, name = Storage(directory or scratch), f"training-{time.time_ns():x}"
        place = home.child(name)
        run = _run(config, place.uri, batch=batch or config.optimizer.global_batch, steps=steps, saves=saves)
        try:
            stopwatch, parameters = _train(run, device)
            commit = scan(place.child(DIRECTORY)).commits[0]
        finally:
            home.remove_tree(name)
    result: dict[str, Any] = {
        "recipe": recipe,
        "parameters": parameters,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch": run.optimizer.global_batch,
        "zero_stage": run.engine.zero_stage,
        "precision": run.engine.precision,
        "checkpoint_megabytes": round(sum(entry.size for entry in commit.files.values()) / 1e6, 3),
        "catalog_videos": VOXCELEB2_VIDEOS,
        "bitmap_bytes": commit.files[BITMAP].size,
        **figures(stopwatch.seconds, every_steps=config.checkpoint.every_steps),
    }
    _print_table(result)
    return result


def figures(seconds: dict[str, list[float]], *, every_steps: int) -> dict[str, Any]:
    """What the calls say of a run that saves every `every_steps` steps.

    Args:
        seconds: of the calls, by name: "step" (which includes "mark"), "mark", "rows", and, of each save, "reduce",
            "checkpoint", the "wait" for the save before in it (and one more at the end), and "write".
    """
    steps, saves = len(seconds["step"]), len(seconds["checkpoint"])
    step = statistics.median(seconds["step"]) - sum(seconds["mark"]) / steps
    held_up = (sum(seconds["checkpoint"]) - sum(seconds["wait"][:-1])) / saves
    write = sum(seconds["write"]) / saves
    waited = max(0.0, write - every_steps * step)
    costs = {name: sum(seconds[name]) / steps for name in ("mark", "rows")}
    costs |= {"reduce": sum(seconds["reduce"]) / saves / every_steps, "save": (held_up + waited) / every_steps}
    at_most = sum(costs.values()) + (write - waited) / every_steps
    return {
        "steps": steps,
        "saves": saves,
        "every_steps": every_steps,
        "step_seconds": round(step, 4),
        "held_up_seconds": round(held_up, 4),
        "write_seconds": round(write, 4),
        **{f"{name}_ms_per_step": round(1e3 * cost, 4) for name, cost in costs.items()},
        **{f"{name}_share": round(cost / step, 6) for name, cost in costs.items()},
        "share": round(sum(costs.values()) / step, 6),
        "share_at_most": round(at_most / step, 6),
    }


def _run(config: PretrainConfig, directory: str, *, batch: int, steps: int, saves: int) -> TrainingRun:
    interval = steps // saves
    return TrainingRun(
        name="benchmark",
        run_directory=directory,
        task=Reference("models.masked_autoencoder:build", config.model),
        stream=Reference("jobs.parts.benchmark_training:make_stream", config),
        optimizer=replace(config.optimizer, global_batch=batch),
        engine=config.engine,
        workers=replace(config.workers, num_workers=1),
        checkpoint=replace(config.checkpoint, every_steps=interval),
        telemetry=replace(config.telemetry, log_every_steps=min(config.telemetry.log_every_steps, interval)),
        seed=config.seed,
        stop_at_step=WARM_UP + saves * interval,
    )


def _train(run: TrainingRun, device: torch.device) -> tuple[Stopwatch, int]:
    """The times of the steps that count, and the parameters of what was trained."""
    from cluster.preflight import Capacity
    from cluster.ranks import Ranks
    from cluster.trainer import plan_batches
    from cluster.worker import build_loop, set_kernels

    set_kernels(1, deterministic=run.workers.deterministic)
    plan = plan_batches(run, Capacity(cpus=1, gpus=0, node_cpus=1, node_gpus=0))
    stopwatch = Stopwatch()
    loop = build_loop(run, plan, Unheard(stopwatch), Ranks(), device)
    stopwatch.watch_loop(loop)
    with contextlib.closing(loop.telemetry):
        loop.train()
    return stopwatch, count_parameters(loop.engine.task)


@contextlib.contextmanager
def _alone(device: torch.device, rendezvous: str) -> Iterator[None]:
    """A process group of this process."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{rendezvous}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    what = f"{result['recipe']}, batch {result['batch']}, {result['precision']}, {result['device']}"
    table = Table(
        title=f"Beside a training step of {1e3 * result['step_seconds']:,.1f} ms: {what}",
        caption=f"A save every {result['every_steps']} steps holds training up for {result['held_up_seconds']:.3f} s "
        f"and writes {result['checkpoint_megabytes']:,.0f} MB in {result['write_seconds']:.3f} s beside it. The bitmap "
        f"of {result['catalog_videos']:,} videos has {result['bitmap_bytes']:,} bytes.",
    )
    for heading in ("", "ms per step", "share"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, label in _SECTIONS.items():
        table.add_row(label, f"{result[f'{name}_ms_per_step']:,.3f}", f"{result[f'{name}_share']:.3%}")
    total = sum(result[f"{name}_ms_per_step"] for name in _SECTIONS)
    table.add_row("all", f"{total:,.3f}", f"{result['share']:.3%}")
    table.add_row("if nothing were done beside training", "", f"{result['share_at_most']:.3%}")
    Console(stderr=True).print(table)

"""The loop in two plain processes: the engine and the checkpoints are real, Ray Data and the monitor are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from cluster.commit import CheckpointError, Progress
from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig, WorkersConfig
from cluster.failures import TrainingError
from cluster.feed import MicroBatch
from cluster.preflight import Capacity
from cluster.protocols import BatchPlan, Reference
from cluster.ranks import Ranks
from cluster.trainer import TrainingRun, plan_batches
from cluster.worker import build_loop
from pipelines.storage import Storage
from tests.cluster.faulty_storage import Fault, FaultyStorage
from tests.cluster.toy import ToyData, ToyStream, make_rows, remaining_blocks

if TYPE_CHECKING:
    from cluster.loop import Loop


def toy_run(folder: Any, *, data: ToyData, bug_ids: tuple[int, ...] = (), **changes: Any) -> TrainingRun:
    """Two workers, global batches of 8 in micro-batches of 2, 50 samples in 7 steps per epoch, 2 epochs."""
    run = TrainingRun(
        name="toy",
        run_directory=str(folder),
        task=Reference("tests.cluster.toy:make_task", bug_ids),
        stream=Reference("tests.cluster.toy:make_stream", data),
        probes=(("toy", Reference("tests.cluster.toy:make_probe", f"{folder}-probe")),),
        optimizer=OptimizerConfig(base_lr=3.2, min_lr=0.1, global_batch=8, epochs=2, warmup_epochs=0, weight_decay=0.0),
        engine=EngineConfig(zero_stage=2, precision="fp32", micro_batch=2),
        workers=WorkersConfig(num_workers=2, cpus_per_worker=0.5, deterministic=True),
        checkpoint=CheckpointConfig(every_steps=3, keep_last=100),
        telemetry=TelemetryConfig(log_every_steps=1, probe_every_steps=100, tensorboard=False),
    )
    return replace(run, **changes)


@dataclass
class ListedBlocks:
    """Stands for a Ray dataset and for each of its iterators."""

    blocks: list[dict[str, np.ndarray]]

    def streaming_split(self, workers: int, *, equal: bool) -> list[ListedBlocks]:
        assert not equal
        return [ListedBlocks(self.blocks[rank::workers]) for rank in range(workers)]

    def iter_batches(self, **_: Any) -> Iterator[dict[str, np.ndarray]]:
        yield from self.blocks


@dataclass(frozen=True)
class Loss:
    """What happens to the blocks on their way, by the number of the round that served them."""

    dropped_blocks: tuple[int, ...] = ()
    dropped_rounds: int = 0
    repeated_block: int | None = None


class ListedStream(ToyStream):
    """The toy stream without Ray."""

    def __init__(self, data: ToyData, loss: Loss) -> None:
        super().__init__(data)
        self.loss, self.rounds = loss, 0

    def dataset(self, epoch: int, consumed: np.ndarray, plan: BatchPlan) -> ListedBlocks:
        blocks = remaining_blocks(self.data, epoch, consumed, plan)
        self.rounds += 1
        if self.loss.repeated_block is not None:
            blocks.append(blocks[self.loss.repeated_block])
        if self.rounds <= self.loss.dropped_rounds:
            blocks = [ids_B for index, ids_B in enumerate(blocks) if index not in self.loss.dropped_blocks]
        return ListedBlocks([make_rows(ids_B, self.data.rejected) for ids_B in blocks])


class ListedLink:
    """Keeps what a worker would tell the monitor; asks for a stop after a step."""

    rank = 0

    def __init__(self, stop_after: int | None) -> None:
        self.begun: list[tuple[int, list[int]]] = []
        self.published: list[Any] = []
        self._stop_after = stop_after

    def publish(self, news: Any) -> None:
        self.published.append(news)

    def begin(self, step: int, sample_ids: list[int]) -> None:
        self.begun.append((step, sample_ids))

    @property
    def stop_requested(self) -> bool:
        return self._stop_after is not None and len(self.begun) >= self._stop_after


@dataclass
class Outcome:
    """What one rank has to show after a loop."""

    error: TrainingError | CheckpointError | None
    step: int
    samples: int
    quarantined: int
    begun: list[tuple[int, list[int]]]
    weights: torch.Tensor
    is_training: bool
    rounds: int
    told: list[str]
    """Lines for the console."""


def run_loop(run: TrainingRun, loss: Loss, stop_after: int | None, fault: Fault | None = None) -> Outcome:
    """On every rank: resumes from the newest checkpoint of the run directory and trains. A fault is one of the storage
    of the checkpoints."""
    run = replace(run, stream=Reference("tests.cluster.loops:make_stream", (run.stream.config, loss)))
    link = ListedLink(stop_after)
    loop = make_loop(run, link)
    if fault is not None:
        store = loop.saver.store
        store.storage = store.retention.storage = FaultyStorage(store.storage.uri, fault)
    error = None
    try:
        loop.train()
    except (TrainingError, CheckpointError) as failure:
        error = failure
    loop.telemetry.close()
    weights = torch.cat([parameter.detach().flatten() for parameter in loop.engine.task.parameters()])
    return Outcome(
        error=error,
        step=loop.step,
        samples=loop.samples,
        quarantined=loop.quarantined,
        begun=link.begun,
        weights=weights.clone(),
        is_training=loop.engine.task.training,
        rounds=loop.stream.rounds,
        told=[line for line in link.published if isinstance(line, str)],
    )


def make_loop(run: TrainingRun, link: ListedLink) -> Loop:
    """On every rank: the loop of a run on as many workers as there are."""
    workers = dist.get_world_size()
    run = replace(run, workers=replace(run.workers, num_workers=workers))
    plan = plan_batches(run, Capacity(cpus=workers, gpus=0, node_cpus=workers, node_gpus=0))
    return build_loop(run, plan, link, Ranks(), torch.device("cpu"))


def make_stream(config: tuple[ToyData, Loss]) -> ListedStream:
    return ListedStream(*config)


def mark_twice(folder: str) -> str:
    """On every rank: the same sample marked by both."""
    from cluster.ledger import Ledger

    ledger = Ledger(Ranks(), Storage(folder), Progress.start(10))
    ledger.mark(np.array([4]), np.array([""]), step=1)
    try:
        ledger.reduce()
    except TrainingError as error:
        return str(error)
    return f"no error on rank {dist.get_rank()}"


def some_micro_batch() -> MicroBatch:
    from cluster.feed import to_micro_batch

    return to_micro_batch(make_rows(np.array([5, 3, -1]), rejected=(3,)), torch.device("cpu"))

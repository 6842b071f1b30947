"""`fit`: a TrainingRun goes to a group of workers, which is started again whenever some of them die.

<run directory>/run.json            name, resolved config, batch plan, schedule, versions
                checkpoints/        see cluster.checkpoint; the scan for COMMIT.json is the only truth on resuming
                metrics.jsonl       see cluster.telemetry
                quarantine.jsonl    rejected samples, see cluster.ledger
                epochs/             which samples each finished epoch consumed, see cluster.ledger
                attempts.json       lives of the worker group, see cluster.attempts
                failures/           refused steps and those whose loss jumped, see cluster.step_reports; where hung
                                    workers stood, see cluster.watchdog
                faults/ audit/      planned faults that have happened, ids used by step: where they are asked for
                tensorboard/ wandb/ event files, offline runs
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cluster import attempts
from cluster.commit import DIRECTORY, Commit, newest
from cluster.config import (
    CheckpointConfig,
    EngineConfig,
    OptimizerConfig,
    QuarantineBudget,
    TelemetryConfig,
    WorkersConfig,
)
from cluster.failures import RunTakenOver, TrainingError, WorkersFailed, describe, verdict
from cluster.fault_config import DRIVER, FaultPlan
from cluster.faults import DIRECTORY as FAULTS
from cluster.faults import Faults, unfired
from cluster.preflight import Capacity, Demand, check, cluster_capacity
from cluster.protocols import BatchPlan, Reference
from cluster.spikes import SpikeConfig
from pipelines.storage import Storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """All that is needed to train, as plain picklable data."""

    name: str
    run_directory: str
    """Address of a folder that all nodes reach (see pipelines.storage)."""
    task: Reference
    """A cluster.protocols.Task."""
    stream: Reference
    """A cluster.protocols.Stream."""
    probes: tuple[tuple[str, Reference], ...] = ()
    """cluster.protocols.Probe by the prefix of their metrics."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    quarantine: QuarantineBudget = field(default_factory=QuarantineBudget)
    spikes: SpikeConfig = field(default_factory=SpikeConfig)
    seed: int = 0
    config_json: str = "{}"
    """The job's resolved config, a JSON object kept in the run directory and in every checkpoint."""
    data_json: str = "{}"
    """What the job says of its data, a JSON object kept there too."""
    demands: tuple[Demand, ...] = ()
    """What the stream needs of the cluster beside the workers, for the preflight."""
    init_from: str | None = None
    """Checkpoint, or run directory, whose weights a new run starts from; nothing else is taken over."""
    stop_at_step: int | None = None
    """Commit and stop after this step; the same run without it goes on from there."""
    retry_refused: bool = False
    """Go on where a step after the checkpoint was refused before (a loss or gradient that was not finite)."""
    faults: FaultPlan = field(default_factory=FaultPlan)

    def __post_init__(self) -> None:
        if self.stop_at_step is not None and self.stop_at_step < 1:
            raise ValueError(f"stop_at_step={self.stop_at_step} must be positive, or None for the whole run")
        if self.checkpoint.timeout_s >= self.workers.hang_timeout_s:
            raise ValueError(
                f"checkpoint.timeout_s={self.checkpoint.timeout_s:g} must be below workers.hang_timeout_s="
                f"{self.workers.hang_timeout_s:g}, or a worker that waits for a slow save is taken for one that hangs"
            )

    @property
    def last_epoch(self) -> int:
        return self.optimizer.stop_epoch or self.optimizer.epochs


@dataclass(frozen=True)
class TrainingResult:
    """Where a run stands when `fit` returns."""

    run_directory: str
    checkpoint: str | None
    """Address of the newest checkpoint; None for a run that was asked to stop before its first."""
    steps: int
    epochs: int
    """Completed."""
    samples: int
    """Used in updates since the run began."""
    quarantined: int
    """Rejected since the run began; a sample counts in each epoch that rejects it."""
    is_finished: bool
    """False after stop_at_step or a request to stop: the same call resumes."""
    metrics: dict[str, float]
    """The newest value of every name."""
    unfired_faults: tuple[str, ...] = ()
    """Planned faults that had not happened, or not as often, when the run was finished."""


def fit(
    run: TrainingRun, *, is_alone: bool = True, watch: Callable[[dict[str, float]], None] | None = None
) -> TrainingResult:
    """Trains until the run is finished, and resumes it where its newest checkpoint stands. Ray must be up. Runs that
    are not alone may train side by side, each in a thread. `watch` is called, in a thread of its own, with each row of
    metrics as it comes.

    Raises InsufficientResources (before anything starts) when the job does not fit the cluster, ValueError when the
    global batch cannot be dealt out, TrainingError for failures of ours (see cluster.failures), also when the workers
    died more often than allowed.
    """
    from cluster.console import printer
    from cluster.monitor import start_monitor
    from cluster.runtime import stop_requests
    from cluster.watch import watching

    run = replace(run, run_directory=Storage(run.run_directory).uri)  # a relative path means another one in a worker
    commit = _newest(run)
    if commit is not None and commit.epoch >= run.last_epoch:
        logger.info("run %s is finished already, at step %d", run.name, commit.step)
        return _result(run, commit)
    capacity = cluster_capacity()
    resources = worker_resources(run.workers, capacity)
    workers = Demand("training worker", plan_batches(run, capacity).workers, resources["CPU"], resources.get("GPU", 0))
    check([workers, *run.demands], capacity)
    name = None if is_alone else run.name
    monitor = start_monitor()
    own = Faults(run.faults, DRIVER, Storage(run.run_directory).child(FAULTS))

    def see(row: dict[str, float]) -> None:
        own.at_driver(int(row["step"]))
        if watch is not None:
            watch(row)

    with stop_requests() as stop, printer(among=name) as show, watching(monitor, stop, show, rows=see):
        _keep_training(run, resources, monitor, stop)
    return _result(run, _newest(run))


def _keep_training(run: TrainingRun, resources: dict[str, float], monitor: Any, stop: threading.Event) -> None:
    """Lives of the worker group, one after the other, until one ends as it should. Ray Train is asked for one at a
    time, for it restarts a group without looking at what was committed, and takes workers that leave a draining node
    for finished ones."""
    from cluster.worker_group import train_once

    storage, failed = Storage(run.run_directory), []
    while True:
        commit = _newest(run)
        step = commit.step if commit else 0
        if reason := verdict(failed, committed_step=step, max_failures=run.workers.max_failures):
            raise WorkersFailed(reason)
        if commit is not None and commit.epoch >= run.last_epoch:  # the workers went when all was done
            return
        if commit is not None:
            logger.info("run %s resumes at step %d, epoch %d (%s)", run.name, step, commit.epoch, commit.name)
        plan = plan_batches(run, cluster_capacity())
        attempt = attempts.begin(storage, resumed_step=step, workers=plan.workers)
        try:
            failure = train_once(run, plan, resources, monitor, attempt=attempt, resumed_step=step)
        except RunTakenOver:  # the file is another's now
            raise
        except TrainingError as error:
            attempts.end(storage, attempt, f"stopped: {describe(error)}".splitlines()[0])
            raise
        attempts.end(storage, attempt, failure.summary() if failure else "ended")
        if failure is None or (stop.is_set() and not failure.is_fatal):
            return
        failed.append(failure)
        logger.warning("the workers of run %s %s", run.name, failure.summary())


def _newest(run: TrainingRun) -> Commit | None:
    return newest(Storage(run.run_directory).child(DIRECTORY))


def plan_batches(run: TrainingRun, capacity: Capacity) -> BatchPlan:
    """Raises ValueError unless the global batch is a whole number of micro-batches on every worker."""
    workers = run.workers.num_workers or int(capacity.gpus) or 1
    batch = run.optimizer.global_batch
    if batch % workers:
        valid = [n for n in range(1, batch + 1) if batch % n == 0]
        raise ValueError(f"global_batch={batch} cannot be dealt out to {workers} workers; num_workers may be {valid}")
    micro_batch = run.engine.micro_batch or batch // workers
    if (batch // workers) % micro_batch:
        valid = [n for n in range(1, batch // workers + 1) if (batch // workers) % n == 0]
        raise ValueError(
            f"micro_batch={micro_batch} does not divide the {batch // workers} samples of a worker "
            f"(global_batch={batch}, {workers} workers); it may be {valid}"
        )
    return BatchPlan(
        workers=workers,
        accumulation=batch // workers // micro_batch,
        micro_batch=micro_batch,
        deterministic=run.workers.deterministic,
    )


def worker_resources(workers: WorkersConfig, capacity: Capacity) -> dict[str, float]:
    """Of one worker: its CPUs, and a GPU where the cluster has any."""
    return {"CPU": workers.cpus_per_worker, **({"GPU": 1} if capacity.gpus else {})}


def _result(run: TrainingRun, commit: Commit | None) -> TrainingResult:
    from cluster.sinks import read_rows

    storage = Storage(run.run_directory)
    if commit is None:
        return TrainingResult(
            storage.uri, checkpoint=None, steps=0, epochs=0, samples=0, quarantined=0, is_finished=False, metrics={}
        )
    is_finished = commit.epoch >= run.last_epoch
    missed = [fault.label for fault in unfired(run.faults, storage.child(FAULTS))] if is_finished else []
    if missed:
        logger.warning("run %s is finished, and of its planned faults did not happen: %s", run.name, ", ".join(missed))
    metrics: dict[str, float] = {}
    for row in read_rows(storage, "metrics.jsonl", commit.step):
        metrics |= row
    return TrainingResult(
        run_directory=storage.uri,
        checkpoint=storage.child(DIRECTORY).full(commit.name),
        steps=commit.step,
        epochs=commit.epoch,
        samples=commit.progress["samples"],
        quarantined=commit.progress["quarantined"],
        is_finished=is_finished,
        metrics=metrics,
        unfired_faults=tuple(missed),
    )

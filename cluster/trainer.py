"""`fit`: a TrainingRun goes to Ray Train workers, and survives the death of any of them.

<run directory>/run.json            name, resolved config, batch plan, schedule, versions
                checkpoints/        see cluster.checkpoint; the scan for COMMIT.json is the only truth on resuming
                metrics.jsonl       see cluster.telemetry
                quarantine.jsonl    rejected samples, see cluster.ledger
                epochs/             which samples each finished epoch consumed, see cluster.ledger
                failures/           what a refused step was made of, see cluster.loop
                faults/ audit/      planned faults that have happened, ids used by step: where they are asked for
                tensorboard/ wandb/ event files, offline runs
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.commit import DIRECTORY, Commit, newest
from cluster.config import (
    CheckpointConfig,
    EngineConfig,
    OptimizerConfig,
    QuarantineBudget,
    TelemetryConfig,
    WorkersConfig,
)
from cluster.failures import TrainingError, WorkersFailed
from cluster.fault_config import DRIVER, FaultPlan
from cluster.faults import DIRECTORY as FAULTS
from cluster.faults import Faults, unfired
from cluster.preflight import Capacity, Demand, check, cluster_capacity
from cluster.protocols import BatchPlan, Reference
from pipelines.storage import Storage

logger = logging.getLogger(__name__)

# Said explicitly because a default can change, or does not suit; what the user has set stays.
RAY_TRAIN_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in workers and driver
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1.0",  # a dead or finished group is noticed within this time
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "600",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",  # imports of torch and deepspeed from a cold disk take a minute
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "1800",  # unset, Ray Train's own barriers wait for ever
}
RAY_TRAIN_GPU_SETTINGS = {"RAY_TRAIN_ENABLE_NCCL_HANG_DETECTOR": "1"}
# Read by a process when it starts. Measured on 2 cores, a step of the nano recipe beside one busy process: 7.1 s as it
# comes, 1.6 s when OpenMP's threads sleep instead of spinning, 1.1 s when freed memory is kept, in large pages.
CPU_WORKER_VARIABLES = {
    "OMP_WAIT_POLICY": "passive",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296"
    ":glibc.malloc.trim_threshold=17179869184",
}
COLLECTIVE_TIMEOUT_SECONDS = 1800
"""Of the process group: longer than a checkpoint takes, for the other ranks wait for the slowest writer."""
MAX_STARTS = 30
"""Attempts to get the workers started, each as long as the start timeout: an hour for an autoscaler to find nodes."""


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
    faults: FaultPlan = field(default_factory=FaultPlan)

    def __post_init__(self) -> None:
        if self.stop_at_step is not None and self.stop_at_step < 1:
            raise ValueError(f"stop_at_step={self.stop_at_step} must be positive, or None for the whole run")

    @property
    def last_epoch(self) -> int:
        return self.optimizer.stop_epoch or self.optimizer.epochs


@dataclass(frozen=True)
class TrainingResult:
    """Where a run stands when `fit` returns."""

    run_directory: str
    checkpoint: str
    """Address of the newest checkpoint."""
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
    from cluster.console import shown
    from cluster.monitor import start_monitor
    from cluster.runtime import stop_requests

    run = replace(run, run_directory=Storage(run.run_directory).uri)  # a relative path means another one in a worker
    commit = newest(Storage(run.run_directory).child(DIRECTORY))
    if commit is not None and commit.epoch >= run.last_epoch:
        logger.info("run %s is finished already, at step %d", run.name, commit.step)
        return _result(run, commit)
    if commit is not None:
        logger.info("run %s resumes at step %d, epoch %d (%s)", run.name, commit.step, commit.epoch, commit.name)
    capacity = cluster_capacity()
    plan = plan_batches(run, capacity)
    resources = worker_resources(run.workers, capacity)
    check([Demand("training worker", plan.workers, resources["CPU"], resources.get("GPU", 0)), *run.demands], capacity)
    set_ray_train(os.environ, with_gpus="GPU" in resources)
    monitor = start_monitor()
    own = Faults(run.faults, DRIVER, Storage(run.run_directory).child(FAULTS))

    def see(row: dict[str, float]) -> None:
        own.at_driver(int(row["step"]))
        if watch is not None:
            watch(row)

    with stop_requests() as stop, shown(monitor, stop, among=None if is_alone else run.name, watch=see):
        _train(run, plan, resources, monitor)
    commit = newest(Storage(run.run_directory).child(DIRECTORY))
    if commit is None:
        raise TrainingError(f"run {run.name} was stopped before its first checkpoint")
    return _result(run, commit)


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


def set_ray_train(environment: MutableMapping[str, str], *, with_gpus: bool) -> None:
    """Ray Train reads its settings from the driver's environment and passes them on."""
    for name, value in (RAY_TRAIN_SETTINGS | (RAY_TRAIN_GPU_SETTINGS if with_gpus else {})).items():
        environment.setdefault(name, value)


def _train(run: TrainingRun, plan: BatchPlan, resources: dict[str, float], monitor: Any) -> None:
    """One Ray Train run. Its name is new each time and its storage temporary: Ray's records are not ours to resume."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import LoggingConfig

    from cluster.worker import train_worker

    with tempfile.TemporaryDirectory(prefix="ray-train-") as scratch:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"run": run, "plan": plan, "monitor": monitor},
            torch_config=TorchConfig(
                backend="nccl" if "GPU" in resources else "gloo", timeout_s=COLLECTIVE_TIMEOUT_SECONDS
            ),
            scaling_config=ScalingConfig(
                num_workers=plan.workers, use_gpu="GPU" in resources, resources_per_worker=resources
            ),
            run_config=RunConfig(
                name=f"{run.name}-{time.time_ns():x}",
                storage_path=scratch,
                failure_config=FailureConfig(
                    max_failures=run.workers.max_failures, controller_failure_limit=MAX_STARTS
                ),
                logging_config=LoggingConfig(log_level="WARNING"),
                worker_runtime_env={} if "GPU" in resources else {"env_vars": CPU_WORKER_VARIABLES},
            ),
        )
        try:
            with _own_interrupts():
                error = trainer.fit().return_value
        except TrainingFailedError as failure:
            reason = ray.get(monitor.last_failure.remote())
            raise WorkersFailed(
                f"gave up after {run.workers.max_failures} restarts: the workers failed {reason}"
            ) from failure
    if error is not None:
        raise error


@contextlib.contextmanager
def _own_interrupts() -> Iterator[None]:
    """Ray Train leaves its handler of SIGINT behind; afterwards it would call for a controller that is gone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _result(run: TrainingRun, commit: Commit) -> TrainingResult:
    from cluster.sinks import read_rows

    storage = Storage(run.run_directory)
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

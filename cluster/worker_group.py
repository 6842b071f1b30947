"""One life of the worker group: Ray Train starts the workers, and tells how they ended."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from cluster.failures import Attempt, describe
from cluster.protocols import BatchPlan
from cluster.watchdog import PATIENCE_SECONDS

if TYPE_CHECKING:
    from cluster.trainer import TrainingRun

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
MAX_STARTS = 30
"""Attempts to get the workers started, each as long as the start timeout: an hour for an autoscaler to find nodes."""


def train_once(
    run: TrainingRun, plan: BatchPlan, resources: dict[str, float], monitor: Any, *, attempt: str, resumed_step: int
) -> Attempt | None:
    """Trains until the workers end: as they should (None), or how they failed or why they left.

    Ray Train's run has a new name each time and temporary storage: its records are not ours to resume. Raises the
    TrainingError that the workers returned.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import LoggingConfig

    from cluster.worker import train_worker

    has_gpus = "GPU" in resources
    set_ray_train(os.environ, with_gpus=has_gpus)
    ray.get(monitor.starting.remote(resumed_step))
    with tempfile.TemporaryDirectory(prefix="ray-train-") as scratch:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"run": run, "plan": plan, "monitor": monitor, "attempt": attempt},
            torch_config=TorchConfig(
                backend="nccl" if has_gpus else "gloo", timeout_s=int(run.workers.hang_timeout_s) + PATIENCE_SECONDS
            ),
            scaling_config=ScalingConfig(num_workers=plan.workers, use_gpu=has_gpus, resources_per_worker=resources),
            run_config=RunConfig(
                name=f"{run.name}-{time.time_ns():x}",
                storage_path=scratch,
                failure_config=FailureConfig(
                    max_failures=0, max_preemption_failures=0, controller_failure_limit=MAX_STARTS
                ),
                logging_config=LoggingConfig(log_level="WARNING"),
                worker_runtime_env={} if has_gpus else {"env_vars": CPU_WORKER_VARIABLES},
            ),
        )
        try:
            with _own_interrupts():
                error = trainer.fit().return_value
        except (TrainingFailedError, ray.exceptions.RayActorError) as failure:  # of the workers, or of Ray's controller
            ended: Attempt = ray.get(monitor.attempt.remote())
            if not ended.nodes:
                ended.errors.setdefault(0, f"the workers could not be started: {describe(failure)}")
            return ended
    if error is not None:
        raise error
    ended = ray.get(monitor.attempt.remote())
    return ended if ended.was_drained else None


def set_ray_train(environment: MutableMapping[str, str], *, with_gpus: bool) -> None:
    """Ray Train reads its settings from the driver's environment and passes them on."""
    for name, value in (RAY_TRAIN_SETTINGS | (RAY_TRAIN_GPU_SETTINGS if with_gpus else {})).items():
        environment.setdefault(name, value)


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

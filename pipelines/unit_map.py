"""A map over units of work by a pool of Ray actors or tasks, whose failures arrive as what they are.

A unit takes seconds to minutes and writes what it makes to storage itself; what comes back is a few numbers. So the
driver holds little, and what is done survives whoever did it. An exception from a worker would reach the driver as one
of Ray's, without its type: those that a user can mend travel as text and are raised again here.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.storage import AccessDenied, ObjectMissing, StorageError, StorageUnavailable

_EXPECTED = {
    error.__name__: error for error in (AccessDenied, ObjectMissing, StorageUnavailable, StorageError, ValueError)
}
_NO_PROGRESS_TIMEOUT_S = 24 * 3600  # one unit may be a video of hours
_ACTOR_RESTARTS = 100  # of one actor: machines come and go
_TASK_RETRIES = 2  # of one unit: what ends its process three times is no accident


@dataclass(frozen=True)
class WorkerPool:
    """How many processes work, and what Ray reserves for each."""

    num_workers: int | None = None
    """None: as many as the CPUs and GPUs of the cluster allow."""
    cpus_per_worker: float = 1.0
    memory_per_worker_mb: int = 1024
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_workers", "cpus_per_worker", "memory_per_worker_mb"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}={value} must be positive")
        if self.gpus_per_worker < 0:
            raise ValueError(f"gpus_per_worker={self.gpus_per_worker} must be at least 0")


class UnitActor:
    """The callable of an actor pool."""

    def __init__(self, work: type, arguments: dict[str, Any]) -> None:
        self._work = work(**arguments)

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, list[str]]:
        return _answer(block, self._work)


def call_unit(
    block: dict[str, np.ndarray], work: Callable[..., Any], arguments: dict[str, Any]
) -> dict[str, list[str]]:
    """The callable of a task pool."""
    return _answer(block, partial(work, **arguments))


def map_units(
    units: Sequence[Any], work: Callable[..., Any], arguments: dict[str, Any], pool: WorkerPool
) -> Iterator[tuple[Any, Any]]:
    """Yields each unit with its answer, in the order in which they are done. Ray must be up.

    Units and answers are plain JSON values. `work` is importable by name: a class, of which every process makes one
    `work(**arguments)` and calls it with one unit after the other, or a function, called as `work(unit, **arguments)`.

    Raises:
        StorageError, ValueError: the first that `work` raises.
    """
    if not units:
        return
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

    num_workers = min(len(units), pool.num_workers or most_workers(pool, ray.cluster_resources()))
    options: dict[str, Any] = {"num_cpus": pool.cpus_per_worker, "memory": pool.memory_per_worker_mb * 2**20}
    if pool.gpus_per_worker:
        options["num_gpus"] = pool.gpus_per_worker
    if isinstance(work, type):
        options |= {
            "fn_constructor_kwargs": {"work": work, "arguments": arguments},
            "compute": ActorPoolStrategy(min_size=1, initial_size=num_workers, max_size=num_workers),
            "max_restarts": _ACTOR_RESTARTS,
            "max_task_retries": _TASK_RETRIES,
        }
    else:
        options |= {
            "fn_kwargs": {"work": work, "arguments": arguments},
            "compute": TaskPoolStrategy(size=num_workers),
            "max_retries": _TASK_RETRIES,
        }
    context = DataContext.get_current().copy()
    context.execution_no_progress_timeout_s = _NO_PROGRESS_TIMEOUT_S
    context.enable_progress_bars = False
    with DataContext.current(context), warnings.catch_warnings():
        # Named arguments for restarts and retries are announced but not there; their defaults are endless.
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        # A table is one block and a block one task.
        blocks = [pa.table({"unit": [json.dumps(unit)]}) for unit in units]
        function = UnitActor if isinstance(work, type) else call_unit
        answers = ray.data.from_arrow(blocks).map_batches(function, batch_size=None, batch_format="numpy", **options)
    for block in answers.iter_batches(batch_size=None, batch_format="numpy"):
        for unit, answer, error in zip(block["unit"], block["answer"], block["error"], strict=True):
            if error:
                kind, text = json.loads(error)
                raise _EXPECTED[kind](text)
            yield json.loads(unit), json.loads(answer)


def most_workers(pool: WorkerPool, resources: Mapping[str, float]) -> int:
    """How many a cluster with these resources runs at once, at least one."""
    asked = {"CPU": pool.cpus_per_worker, "GPU": pool.gpus_per_worker}
    return max(1, min(int(resources.get(kind, 1) / share) for kind, share in asked.items() if share))


def _answer(block: dict[str, np.ndarray], work: Callable[[Any], Any]) -> dict[str, list[str]]:
    (unit,) = block["unit"]
    answer, error = "", ""
    try:
        answer = json.dumps(work(json.loads(unit)))
    except (StorageError, ValueError) as raised:
        kind = next(name for name, expected in _EXPECTED.items() if isinstance(raised, expected))
        error = json.dumps([kind, str(raised)])
    return {"unit": [unit], "answer": [answer], "error": [error]}

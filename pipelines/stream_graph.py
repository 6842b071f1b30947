"""The Ray Data graph of the stream: plan -> decode, one block per micro-batch from end to end.

How blocks stay exact (Ray 2.60):
- `PlanSource` returns few read tasks but asks for as many blocks as there are micro-batches; Ray then splits what a
  read task returns into that many blocks, one planned micro-batch each, and never fuses such a read with what follows.
- `batch_size=None` gives a decode task one block, that is one planned micro-batch.
- `target_max_block_size=None` makes its output one block, whatever its size.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.block import BlockMetadata

if TYPE_CHECKING:
    from pipelines.stream import MakeReader

logger = logging.getLogger(__name__)

_PLANNED_PER_TASK = 256
_NO_PROGRESS_TIMEOUT_S = 12 * 3600
_ACTOR_RESTARTS = 100  # of one actor in an epoch: machines come and go
_TASK_RETRIES = 2  # of one micro-batch: what ends its process three times is no accident
_SECONDS_PER_STEP = 0.05
_BLOCKS_PER_ACTOR = 2  # one being written, one waiting
_BLOCKS_PER_CONSUMER = 4  # in use, two prefetched, one on its way


@dataclass(frozen=True)
class DecodePool:
    """Size and resources of the pool of decode actors."""

    min_actors: int
    max_actors: int
    cpus_per_actor: float
    memory_per_actor: int


class PlanSource(Datasource):
    """The planned micro-batches, row positions int64 [G, B], one block of one row each."""

    def __init__(self, positions_GB: np.ndarray) -> None:
        self._positions_GB = positions_GB

    @property
    def num_blocks(self) -> int:
        """What to pass as override_num_blocks: every read task is split into the same number of blocks."""
        per_task = min(_PLANNED_PER_TASK, len(self._positions_GB))
        return -(-len(self._positions_GB) // per_task) * per_task

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None) -> list:
        starts = range(0, len(self._positions_GB), _PLANNED_PER_TASK)
        return [_read_task(self._positions_GB[start : start + _PLANNED_PER_TASK]) for start in starts]


def _read_task(positions_GB: np.ndarray) -> ReadTask:
    column = pa.FixedSizeListArray.from_arrays(pa.array(positions_GB.ravel()), positions_GB.shape[1])
    table = pa.table({"positions_B": column})
    metadata = BlockMetadata(num_rows=len(table), size_bytes=table.nbytes, input_files=None, exec_stats=None)
    return ReadTask(lambda: [table], metadata)


class PacedSteps(ExecutionCallback):
    """Lets the steps of Ray Data's scheduler begin at least so far apart.

    A step waits up to 0.1 s until all tasks have news. While decoded blocks wait for a slower consumer all have,
    always, and the scheduler would take a whole CPU for going round, at the very time when training needs it.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def on_execution_step(self, executor: Any) -> None:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + _SECONDS_PER_STEP


class DecodeActor:
    """The callable of the actor pool: one planned micro-batch in, one block out."""

    def __init__(self, rows: ray.ObjectRef, make_reader: MakeReader, **options: Any) -> None:
        self._reader = make_reader(ray.get(rows), **options)

    def __call__(self, planned: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        (positions_B,) = planned["positions_B"]
        return self._reader.read(positions_B)


def build_dataset(
    positions_GB: np.ndarray,
    rows: ray.ObjectRef,
    make_reader: MakeReader,
    *,
    epoch: int,
    same_draws_every: int | None,
    pool: DecodePool,
    sample_bytes: int,
    consumers: int,
    in_order: bool,
) -> ray.data.Dataset:
    """The lazy dataset of the micro-batches `positions_GB` of `rows`, a table in the object store."""
    _warn_of_a_small_object_store(
        block_bytes=positions_GB.shape[1] * sample_bytes,
        blocks=_BLOCKS_PER_ACTOR * pool.min_actors + _BLOCKS_PER_CONSUMER * consumers,
    )
    context = DataContext.get_current().copy()
    context.target_max_block_size = None
    context.execution_options.preserve_order = in_order
    # A consumer may pause for long (checkpoint, evaluation, debugger); the timer counts that as no progress.
    context.execution_no_progress_timeout_s = _NO_PROGRESS_TIMEOUT_S
    context.enable_progress_bars = False
    context.custom_execution_callback_classes = [*context.custom_execution_callback_classes, PacedSteps]
    source = PlanSource(positions_GB)
    options = {"make_reader": make_reader, "epoch": epoch, "same_draws_every": same_draws_every}
    with DataContext.current(context), warnings.catch_warnings():
        # Named arguments for max_restarts and max_task_retries are announced but not there; their defaults are endless.
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        planned = ray.data.read_datasource(source, override_num_blocks=source.num_blocks, num_cpus=0, concurrency=1)
        return planned.map_batches(
            DecodeActor,
            batch_size=None,
            batch_format="numpy",
            compute=ActorPoolStrategy(min_size=pool.min_actors, max_size=pool.max_actors),
            fn_constructor_kwargs={"rows": rows, **options},
            num_cpus=pool.cpus_per_actor,
            memory=pool.memory_per_actor,
            max_restarts=_ACTOR_RESTARTS,
            max_task_retries=_TASK_RETRIES,
        )


def _warn_of_a_small_object_store(*, block_bytes: int, blocks: int) -> None:
    """Ray Data leaves half of the object store to others; with less than it needs the stream crawls, without a word."""
    store = int(ray.cluster_resources().get("object_store_memory", 0))
    if store < 2 * blocks * block_bytes:
        logger.warning(
            "the object store of the cluster holds %d MB; %d micro-batches of %d MB in flight want %d MB: "
            "give Ray more object_store_memory, or take smaller micro-batches",
            store >> 20,
            blocks,
            block_bytes >> 20,
            2 * blocks * block_bytes >> 20,
        )

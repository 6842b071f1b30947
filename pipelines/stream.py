"""The training stream: what is left of an epoch, decoded on many machines, as blocks of exactly one micro-batch.

The order is a permutation drawn from (seed, epoch); what has been consumed is taken out of it; the rest is cut into
micro-batches before anything is read. A row that turns out unusable stays in its batch and says why, so nothing is cut
again and the membership of every batch is a pure function of (seed, epoch, consumed, plan). What a sample is, one video
or several views of a take, is known to the reader alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipelines.order import epoch_order, micro_batches, visits

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data


class Plan(Protocol):
    """How a global batch is dealt out (the loop's BatchPlan)."""

    workers: int
    accumulation: int
    micro_batch: int
    deterministic: bool


class Reader(Protocol):
    """Reads micro-batches of rows in a decode process."""

    def read(self, positions_B: np.ndarray) -> dict[str, np.ndarray]:
        """The batch of the rows at these positions, PADDING for a row without a sample."""
        ...


MakeReader = Callable[..., Reader]
"""Called in a decode process with the rows, `epoch` and `same_draws_every`; picklable."""


@dataclass(frozen=True)
class StreamConfig:
    """Where the videos are, and who decodes."""

    catalog: str
    """Address of the catalog (a local path or s3://bucket/prefix)."""
    split: str = "train"
    min_actors: int = 1
    """Decode actors that are always there; the epoch starts when they do."""
    max_actors: int = 1
    """Decode actors to grow to while training waits for data and the cluster has CPUs."""
    cpus_per_actor: float = 1.0
    """CPUs reserved for each decode actor; decoding itself uses one thread."""
    memory_per_actor_mb: int = 640
    """Heap reserved for each decode actor: a micro-batch of pixels, its encoded videos and the decoder's libraries."""
    fetch_threads: int = 8
    """Videos fetched from object storage at the same time by each decode actor; local files need none."""
    passes_per_epoch: int = 1
    """How often an epoch visits every sample, each time with other random choices and a sample id of its own. Starting
    an epoch takes seconds, so a small corpus wants several."""
    overfit: int | None = None
    """Only so many samples of the split, with the same clips, crops and masks every time."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_actors <= self.max_actors:
            raise ValueError(f"min_actors={self.min_actors} must lie in [1, max_actors={self.max_actors}]")
        for name in ("cpus_per_actor", "memory_per_actor_mb", "fetch_threads", "passes_per_epoch"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if self.overfit is not None and self.overfit < 1:
            raise ValueError(f"overfit={self.overfit} must be at least 1")


class SampleStream:
    """Epochs over the rows of a table; satisfies the loop's Stream protocol."""

    def __init__(
        self,
        config: StreamConfig,
        rows: pa.Table,
        *,
        num_ids: int,
        seed: int,
        make_reader: MakeReader,
        sample_bytes: int,
        fingerprint: str,
        shares_N: np.ndarray | None = None,
    ) -> None:
        """`rows` have a column sample_id, each below `num_ids`; `fingerprint` tells what they and their videos are;
        `sample_bytes` are the pixels of one sample; `shares_N` how often a pass visits each row, None: once."""
        self._config, self._seed, self._num_ids = config, seed, num_ids
        self._make_reader, self._sample_bytes = make_reader, sample_bytes
        rows = rows.slice(0, config.overfit)
        shares_N = np.ones(rows.num_rows) if shares_N is None else shares_N[: rows.num_rows]
        self._shares_N = shares_N * config.passes_per_epoch
        self._num_rows, copies = rows.num_rows, math.ceil(self._shares_N.max())
        self._rows = repeat_rows(rows, copies, ids_per_pass=num_ids)
        self._sample_ids = self._rows["sample_id"].to_numpy()
        self.num_samples = num_ids * copies
        self.samples_per_epoch = len(self._members(0))
        self.fingerprint = f"{fingerprint}:{config.split}:{config.passes_per_epoch}:{config.overfit}"

    def remaining(self, epoch: int, consumed: np.ndarray) -> int:
        """Samples of an epoch not marked in `consumed` (bool [num_samples])."""
        return int(np.count_nonzero(~self._checked(consumed)[self._sample_ids[self._members(epoch)]]))

    def plan(self, epoch: int, consumed: np.ndarray, plan: Plan) -> np.ndarray:
        """Positions of the rows that are left of the epoch, int64 [micro-batches, plan.micro_batch]."""
        order = self._members(epoch)[epoch_order(self.samples_per_epoch, seed=self._seed, epoch=epoch)]
        left = order[~self._checked(consumed)[self._sample_ids[order]]]
        return micro_batches(left, plan.micro_batch, multiple=plan.workers * plan.accumulation)

    def _members(self, epoch: int) -> np.ndarray:
        """Positions of the rows that an epoch visits, each visit a copy of its own, int64."""
        visits_N = visits(self._shares_N, seed=self._seed, epoch=epoch)
        copies = len(self._sample_ids) // self._num_rows
        return np.concatenate([copy * self._num_rows + np.flatnonzero(visits_N > copy) for copy in range(copies)])

    def dataset(self, epoch: int, consumed: np.ndarray, plan: Plan) -> ray.data.Dataset:
        """What is left of the epoch: one block per micro-batch, a multiple of workers x accumulation blocks.

        Raises:
            ValueError: nothing is left, or `consumed` belongs to another catalog.
        """
        from pipelines.stream_graph import DecodePool, build_dataset

        positions_GB = self.plan(epoch, consumed, plan)
        if not len(positions_GB):
            raise ValueError(f"nothing is left of epoch {epoch}: start the next one")
        config = self._config
        is_overfitting = config.overfit is not None
        return build_dataset(
            positions_GB,
            self._rows_ref,
            self._make_reader,
            epoch=0 if is_overfitting else epoch,
            same_draws_every=self._num_ids if is_overfitting else None,
            pool=DecodePool(
                config.min_actors, config.max_actors, config.cpus_per_actor, config.memory_per_actor_mb * 2**20
            ),
            sample_bytes=self._sample_bytes,
            consumers=plan.workers,
            in_order=plan.deterministic,
        )

    @cached_property
    def _rows_ref(self) -> ray.ObjectRef:
        """The rows in the object store: put once, mapped without a copy by every decode actor of a node."""
        import ray

        return ray.put(self._rows)

    def _checked(self, consumed: np.ndarray) -> np.ndarray:
        if consumed.dtype != np.bool_ or consumed.shape != (self.num_samples,):
            found = f"{consumed.dtype} {consumed.shape}"
            raise ValueError(f"consumed is {found}, the catalog needs bool ({self.num_samples},)")
        return consumed


def repeat_rows(rows: pa.Table, passes: int, *, ids_per_pass: int) -> pa.Table:
    """The rows `passes` times over, sample ids raised by `ids_per_pass` from one time to the next."""
    import pyarrow as pa
    import pyarrow.compute as pc

    index = rows.schema.get_field_index("sample_id")
    field = rows.schema.field(index)
    shifted = (rows.set_column(index, field, pc.add(rows["sample_id"], i * ids_per_pass)) for i in range(passes))
    return rows if passes == 1 else pa.concat_tables(shifted).combine_chunks()


def batches(iterator: ray.data.DataIterator, *, prefetch: int = 2) -> Iterator[dict[str, Any]]:
    """The micro-batches of one consumer of `dataset(...).streaming_split(workers, equal=False)`.

    Arrays are read-only views of the object store, valid while the batch is held. Consumers must all iterate; each is
    dealt the same number of batches, in turn where the plan is deterministic.
    """
    return iter(iterator.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=prefetch))

"""The training stream: what is left of an epoch, decoded on many machines, as blocks of exactly one micro-batch.

The order is a permutation drawn from (seed, epoch); what has been consumed is taken out of it; the rest is cut into
micro-batches before anything is read. A row that turns out unusable stays in its batch and says why, so nothing is cut
again and the membership of every batch is a pure function of (seed, epoch, consumed, plan).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from models.tokens import PretrainingBatch
from pipelines.clips import ClipConfig, too_short
from pipelines.order import epoch_order, micro_batches
from pipelines.quarantine import Reason
from pipelines.sample import SampleConfig

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)


class Plan(Protocol):
    """How a global batch is dealt out (the loop's BatchPlan)."""

    workers: int
    accumulation: int
    micro_batch: int
    deterministic: bool


@dataclass(frozen=True)
class StreamConfig:
    """Where the videos are, what a sample looks like and who decodes."""

    catalog: str
    """Address of the catalog (a local path or s3://bucket/prefix)."""
    split: str = "train"
    sample: SampleConfig = field(default_factory=SampleConfig)
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
    """How often an epoch visits every video, each time with other random choices and a sample id of its own. Starting
    an epoch takes seconds, so a small corpus wants several."""
    overfit: int | None = None
    """Only so many videos of the split, with the same clips, crops and masks every time."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_actors <= self.max_actors:
            raise ValueError(f"min_actors={self.min_actors} must lie in [1, max_actors={self.max_actors}]")
        for name in ("cpus_per_actor", "memory_per_actor_mb", "fetch_threads", "passes_per_epoch"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if self.overfit is not None and self.overfit < 1:
            raise ValueError(f"overfit={self.overfit} must be at least 1")


class VideoStream:
    """The stream of one catalog split; satisfies the loop's Stream protocol."""

    def __init__(self, config: StreamConfig, catalog: Catalog) -> None:
        self._config = config
        self._catalog = catalog
        ids_per_pass = catalog.table.num_rows
        videos = eligible_videos(catalog, config.split, config.sample.clip).slice(0, config.overfit)
        self._videos = repeat_videos(videos, config.passes_per_epoch, ids_per_pass=ids_per_pass)
        self._sample_ids = self._videos["sample_id"].to_numpy()
        self._same_draws_every = None if config.overfit is None else ids_per_pass
        self.num_samples = ids_per_pass * config.passes_per_epoch
        self.samples_per_epoch = self._videos.num_rows
        self.fingerprint = f"{catalog.fingerprint}:{config.split}:{config.passes_per_epoch}:{config.overfit}"

    def remaining(self, consumed: np.ndarray) -> int:
        """Samples of an epoch not marked in `consumed` (bool [num_samples])."""
        return int(np.count_nonzero(~self._checked(consumed)[self._sample_ids]))

    def plan(self, epoch: int, consumed: np.ndarray, plan: Plan) -> np.ndarray:
        """Positions in the split of what is left of the epoch, int64 [micro-batches, plan.micro_batch]."""
        order = epoch_order(self.samples_per_epoch, seed=self._config.sample.seed, epoch=epoch)
        left = order[~self._checked(consumed)[self._sample_ids[order]]]
        return micro_batches(left, plan.micro_batch, multiple=plan.workers * plan.accumulation)

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
        memory = config.memory_per_actor_mb * 2**20
        return build_dataset(
            positions_GB,
            self._videos_ref,
            self._catalog.storage,
            config.sample,
            epoch=epoch if config.overfit is None else 0,
            pool=DecodePool(config.min_actors, config.max_actors, config.cpus_per_actor, memory),
            fetch_threads=config.fetch_threads,
            same_draws_every=self._same_draws_every,
            consumers=plan.workers,
            in_order=plan.deterministic,
        )

    @cached_property
    def _videos_ref(self) -> ray.ObjectRef:
        """The split in the object store: put once, mapped without a copy by every decode actor of a node."""
        import ray

        return ray.put(self._videos)

    def _checked(self, consumed: np.ndarray) -> np.ndarray:
        if consumed.dtype != np.bool_ or consumed.shape != (self.num_samples,):
            found = f"{consumed.dtype} {consumed.shape}"
            raise ValueError(f"consumed is {found}, the catalog needs bool ({self.num_samples},)")
        return consumed


def build_stream(config: StreamConfig) -> VideoStream:
    """The stream of the catalog at `config.catalog`.

    Raises:
        ValueError: the split has no usable video.
    """
    from pipelines.catalog import load

    return VideoStream(config, load(config.catalog))


def eligible_videos(catalog: Catalog, split: str, clip: ClipConfig) -> pa.Table:
    """The videos of a split that can be used, in catalog order, with the columns a reader needs.

    Raises:
        ValueError: there is none; lists the splits there are.
    """
    import pyarrow.compute as pc

    from pipelines.batch_reader import VIDEO_COLUMNS
    from pipelines.catalog import OK

    table = judged_videos(catalog, clip)
    usable = pc.and_(pc.equal(table["split"], split), pc.equal(table["status"], OK))
    videos = table.filter(usable).select(VIDEO_COLUMNS).combine_chunks()
    if not videos.num_rows:
        splits = sorted(set(pc.unique(table["split"]).to_pylist()))
        raise ValueError(f"split={split!r} has no usable video; the catalog has the splits {splits}")
    return videos


def judged_videos(catalog: Catalog, clip: ClipConfig) -> pa.Table:
    """The catalog's table, with the status too_short where the file is fine and `clip` drops it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.catalog import OK

    table = catalog.table
    dropped = pa.array(too_short(table["frames"].to_numpy(), table["fps"].to_numpy(), clip))
    dropped = pc.and_(pc.equal(table["status"], OK), dropped)
    found = pc.binary_join_element_wise(pc.cast(table["frames"], pa.string()), "frames", " ")
    for name, value in (("status", str(Reason.too_short)), ("detail", found)):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(name), pc.if_else(dropped, value, table[name]))
    return table


def repeat_videos(videos: pa.Table, passes: int, *, ids_per_pass: int) -> pa.Table:
    """The videos `passes` times over, sample ids raised by `ids_per_pass` from one time to the next."""
    import pyarrow as pa
    import pyarrow.compute as pc

    index = videos.schema.get_field_index("sample_id")
    field = videos.schema.field(index)
    shifted = (videos.set_column(index, field, pc.add(videos["sample_id"], i * ids_per_pass)) for i in range(passes))
    return videos if passes == 1 else pa.concat_tables(shifted).combine_chunks()


def batches(iterator: ray.data.DataIterator, *, prefetch: int = 2) -> Iterator[PretrainingBatch]:
    """The micro-batches of one consumer of `dataset(...).streaming_split(workers, equal=False)`.

    Arrays are read-only views of the object store, valid while the batch is held. Consumers must all iterate; each is
    dealt the same number of batches, in turn where the plan is deterministic.
    """
    return iter(iterator.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=prefetch))

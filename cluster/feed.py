"""Micro-batches for the loop: the epoch's dataset is built once, dealt out to the workers, and copied to the device.

Rank 0 builds the dataset from what is left of the epoch and splits it; the iterators are sent to the ranks. Ray
Train's own `datasets=` would serve the remainder of a resumed epoch again in every later one. Every block is a
micro-batch, kept whole: rows that carry no sample, or a rejected one, weigh nothing instead of being cut out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from cluster.protocols import BatchPlan, Stream
from cluster.ranks import Ranks


@dataclass(frozen=True)
class MicroBatch:
    """One block on the device, with the columns that the loop itself reads on the host."""

    tensors: dict[str, torch.Tensor]
    sample_id_B: np.ndarray
    rejected_B: np.ndarray

    @property
    def real_B(self) -> np.ndarray:
        """Rows with a sample to train on."""
        return (self.sample_id_B >= 0) & (self.rejected_B == "")

    @property
    def num_rejected(self) -> int:
        return int(np.count_nonzero((self.sample_id_B >= 0) & (self.rejected_B != "")))

    def blank(self) -> MicroBatch:
        """The same shapes without any sample: what a rank computes with when only others have samples left."""
        no_id_B, no_text_B = np.full_like(self.sample_id_B, -1), np.full_like(self.rejected_B, "")
        return replace(self, sample_id_B=no_id_B, rejected_B=no_text_B)

    def weighted(self, scale: float) -> dict[str, torch.Tensor]:
        """The tensors with weight_B (float32): `scale` for rows to train on, 0 for the others."""
        device = next(iter(self.tensors.values())).device
        weight_B = torch.from_numpy(self.real_B.astype(np.float32) * np.float32(scale))
        return {**self.tensors, "weight_B": weight_B.to(device, non_blocking=True)}


def to_micro_batch(block: dict[str, np.ndarray], device: torch.device) -> MicroBatch:
    """Copies a block, as Ray Data delivers it, to the device; columns of text stay behind."""
    tensors = {name: _to_device(array, device) for name, array in block.items() if array.dtype.kind in "buif"}
    return MicroBatch(tensors, np.array(block["sample_id_B"]), np.array(block["rejected_B"]))


def _to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    # Blocks are read-only views into the object store: one copy makes them writable, and pinned for a GPU.
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    host = torch.empty(array.shape, dtype=dtype, pin_memory=device.type == "cuda")
    np.copyto(host.numpy(), array)
    return host.to(device, non_blocking=True)


def serve(stream: Stream, epoch: int, consumed: np.ndarray, *, plan: BatchPlan, ranks: Ranks) -> Any:
    """Collective. This rank's iterator over what is left of the epoch."""
    iterators = None
    if ranks.is_first:
        iterators = stream.dataset(epoch, consumed, plan).streaming_split(plan.workers, equal=False)
    return ranks.broadcast(iterators)[ranks.rank]


def groups(
    iterator: Any, *, accumulation: int, device: torch.device, prefetch_blocks: int
) -> Iterator[Sequence[MicroBatch]]:
    """Lists of `accumulation` micro-batches (the last may be shorter); the next one is made while one is used."""
    blocks = iterator.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=prefetch_blocks)
    batches = (to_micro_batch(block, device) for block in blocks)

    def take() -> list[MicroBatch]:
        return list(islice(batches, accumulation))

    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
    try:
        coming = pool.submit(take)
        while group := coming.result():
            coming = pool.submit(take)
            yield group
    finally:
        # Not waited for: when the loop stops inside of an epoch, the next block may never come.
        pool.shutdown(wait=False, cancel_futures=True)

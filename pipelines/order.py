"""The order of an epoch and how what is left of it is cut into micro-batches: pure functions."""

from __future__ import annotations

import numpy as np

from pipelines.randomness import Draw, generator

PADDING = -1
"""Row position, and sample id, of a row that carries no sample."""


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> np.ndarray:
    """The permutation of 0 .. num_rows - 1 in which an epoch visits its rows, int64."""
    return generator(Draw.ORDER, seed=seed, epoch=epoch).permutation(num_rows)


def micro_batches(order: np.ndarray, micro_batch: int, *, multiple: int) -> np.ndarray:
    """Cut `order` (int64 [n], in order) into rows of `micro_batch`, int64 [G, micro_batch].

    The last group, and whole groups after it until G is a multiple of `multiple`, are filled with PADDING.
    G is 0 for an empty order.
    """
    if micro_batch < 1 or multiple < 1:
        raise ValueError(f"micro_batch={micro_batch} and multiple={multiple} must be at least 1")
    groups = -(-len(order) // (micro_batch * multiple)) * multiple
    batches_GB = np.full((groups, micro_batch), PADDING, dtype=np.int64)
    batches_GB.ravel()[: len(order)] = order
    return batches_GB

"""The order of an epoch and how what is left of it is cut into micro-batches: pure functions."""

from __future__ import annotations

import numpy as np

from pipelines.randomness import Draw, generator

PADDING = -1
"""Row position, and sample id, of a row that carries no sample."""


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> np.ndarray:
    """The permutation of 0 .. num_rows - 1 in which an epoch visits its rows, int64."""
    return generator(Draw.ORDER, seed=seed, epoch=epoch).permutation(num_rows)


def visits(shares_N: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """How often an epoch visits each row, int64 [N], where it is to be visited `shares_N` times on the average.

    The epochs walk through the rows of a share, in an order drawn from the seed: a share of a quarter visits every row
    once in four epochs. All epochs are equally long: n rows of a share are visited together round(n * share) times, at
    least once, in each.

    Raises ValueError for a share that is not positive.
    """
    visits_N = np.empty(len(shares_N), np.int64)
    for share in np.unique(shares_N):
        if not 0 < share < np.inf:
            raise ValueError(f"a row is to be visited {share} times in an epoch; shares must be positive")
        (row_M,) = np.nonzero(shares_N == share)
        total, rows = max(1, round(len(row_M) * float(share))), len(row_M)
        if total % rows == 0:
            visits_N[row_M] = total // rows
            continue
        place_M = generator(Draw.VISIT, seed=seed, sample_id=int(row_M[0])).permutation(rows)
        begun_M, ended_M = (total * e + place_M for e in (epoch, epoch + 1))
        visits_N[row_M] = ended_M // rows - begun_M // rows
    return visits_N


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

"""The order of an epoch and the cut into micro-batches."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.order import PADDING, epoch_order, micro_batches


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch_alone():
    order = epoch_order(1000, seed=3, epoch=5)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert np.array_equal(order, epoch_order(1000, seed=3, epoch=5))
    assert not np.array_equal(order, epoch_order(1000, seed=3, epoch=6))
    assert not np.array_equal(order, epoch_order(1000, seed=4, epoch=5))


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 31, 32, 33, 100])
@pytest.mark.parametrize(("micro_batch", "multiple"), [(1, 1), (4, 1), (4, 2), (8, 6), (3, 5)])
def test_groups_hold_every_sample_once_in_order_and_padding_only_at_the_end(samples, micro_batch, multiple):
    order = np.random.default_rng(0).permutation(samples)
    groups_GB = micro_batches(order, micro_batch, multiple=multiple)
    flat = groups_GB.ravel()
    assert np.array_equal(flat[:samples], order) and np.all(flat[samples:] == PADDING)
    assert len(groups_GB) % multiple == 0
    assert len(flat) - samples < micro_batch * multiple, "no more padding than one step needs"


def test_an_empty_order_has_no_groups():
    assert micro_batches(np.array([], dtype=np.int64), 4, multiple=2).shape == (0, 4)

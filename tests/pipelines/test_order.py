"""The order of an epoch and the cut into micro-batches."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.order import PADDING, epoch_order, micro_batches, visits


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


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 1.0, 1.5, 2.0, 3.7])
def test_every_epoch_visits_as_many_rows_and_all_are_visited_equally_often(share):
    shares_N, rows = np.full(37, share), 37
    visits_EN = np.stack([visits(shares_N, seed=3, epoch=epoch) for epoch in range(37)])
    total = max(1, round(rows * share))
    assert (visits_EN.sum(1) == total).all()
    assert (visits_EN.sum(0) == total).all(), "after as many epochs as rows each has had its share exactly"
    assert visits_EN.max() - visits_EN.min() <= 1
    for epochs in range(1, 37):
        so_far_N = visits_EN[:epochs].sum(0)
        assert so_far_N.max() - so_far_N.min() <= 1, "no row is ahead of another by more than a visit"


def test_rows_of_different_shares_are_dealt_apart():
    shares_N = np.repeat([0.5, 2.0], [10, 4])
    visits_N = visits(shares_N, seed=0, epoch=6)
    assert visits_N[:10].sum() == 5 and visits_N[10:].tolist() == [2, 2, 2, 2]
    assert not np.array_equal(visits_N, visits(shares_N, seed=1, epoch=6))


@pytest.mark.parametrize("share", [0.0, -1.0, np.nan, np.inf])
def test_a_share_must_be_positive(share):
    with pytest.raises(ValueError, match="shares must be positive"):
        visits(np.array([1.0, share]), seed=0, epoch=0)

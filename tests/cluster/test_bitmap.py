"""Consumed ids as bits."""

from __future__ import annotations

import numpy as np
import pytest

from cluster.bitmap import pack, unpack


@pytest.mark.parametrize("num_samples", [0, 1, 7, 8, 9, 1000])
def test_a_bitmap_returns_as_it_was_packed(num_samples: int) -> None:
    consumed = np.random.default_rng(num_samples).random(num_samples) < 0.5
    assert np.array_equal(unpack(pack(consumed), num_samples), consumed)


def test_the_ids_of_voxceleb2_take_140_kilobytes() -> None:
    assert len(pack(np.ones(1_092_009, dtype=bool))) == 136_502


def test_a_bitmap_of_another_catalog_is_refused() -> None:
    with pytest.raises(ValueError, match="a bitmap of 17 samples has 3 bytes, not 2"):
        unpack(pack(np.ones(16, dtype=bool)), 17)

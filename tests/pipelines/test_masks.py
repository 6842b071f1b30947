"""Masks: exact counts, balance between regions, tubes, and no set that is empty."""

from __future__ import annotations

import time
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from models.tokens import region_of_tokens
from pipelines.masks import MaskConfig, draw, num_visible

GRIDS = [(8, 10, 10), (8, 14, 14), (4, 6, 8), (2, 4, 4), (1, 5, 3)]
RATIOS = [0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99]
PLAIN = ["tube", "random", "frame"]


def cells(policy: str, grid: tuple[int, int, int], region: tuple[int, int, int]) -> tuple[int, int]:
    """(cells of one draw, tokens a kept cell leaves visible over all draws)."""
    t, h, w = grid
    if policy == "random":
        return t * h * w, 1
    if policy == "frame":
        return t, h * w
    if policy == "tube":
        return h * w, t
    _, rh, rw = region
    return rh * rw, t * (h // rh) * (w // rw)


def regions(grid: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    t, h, w = ([d for d in range(1, size + 1) if size % d == 0] for size in grid)
    return [(a, b, c) for a in t for b in h for c in w]


def config(policy: str, ratio: float, region: tuple[int, int, int]) -> MaskConfig:
    return MaskConfig(policy, ratio, region) if policy == "region_tube" else MaskConfig(policy, ratio)


def all_cases() -> list[tuple[tuple[int, int, int], str, float, tuple[int, int, int]]]:
    cases = [(grid, policy, ratio, (2, 5, 10)) for grid in GRIDS for policy in PLAIN for ratio in RATIOS]
    return cases + [(grid, "region_tube", ratio, r) for grid in GRIDS for r in regions(grid) for ratio in RATIOS]


def test_every_policy_ratio_grid_and_region_keeps_exactly_the_counted_tokens_or_is_refused():
    drawn = 0
    for grid, policy, ratio, region in all_cases():
        per_draw, tokens = cells(policy, grid, region)
        masked = floor(Fraction(str(ratio)) * per_draw)
        chosen = config(policy, ratio, region)
        if masked in (0, per_draw):
            with pytest.raises(ValueError, match="masks nothing|no visible"):
                num_visible(grid, chosen)
            continue
        visible_V = draw(grid, chosen, np.random.default_rng(drawn))
        assert len(visible_V) == num_visible(grid, chosen) == (per_draw - masked) * tokens
        assert visible_V.dtype == np.int32
        assert np.all(np.diff(visible_V) > 0), "ascending, without repetition"
        assert visible_V[0] >= 0 and visible_V[-1] < np.prod(grid)
        drawn += 1
    assert drawn > 1000


def test_the_papers_counts_come_out():
    assert num_visible((8, 10, 10), MaskConfig("region_tube", 0.9, (2, 5, 10))) == 80  # MAE-DFER: 45 of 50 masked
    assert num_visible((8, 14, 14), MaskConfig("tube", 0.9)) == 160  # VideoMAE: 176 of 196 masked


@pytest.mark.parametrize(("ratio", "cells_masked"), [(0.29, 29), (0.57, 57), (0.58, 58)])
def test_a_ratio_counts_as_the_decimal_that_was_written_where_a_float_product_falls_short(ratio, cells_masked):
    assert int(ratio * 100) == cells_masked - 1
    assert num_visible((8, 10, 10), MaskConfig("tube", ratio)) == (100 - cells_masked) * 8


@pytest.mark.parametrize("grid", GRIDS)
def test_every_region_keeps_the_same_number_of_visible_tokens(grid):
    for region in regions(grid):
        chosen = MaskConfig("region_tube", 0.6, region)
        try:
            visible_V = draw(grid, chosen, np.random.default_rng(3))
        except ValueError:
            continue
        counts = np.bincount(region_of_tokens(grid, region)[visible_V])
        assert np.all(counts == counts[0]) and len(counts) == len(set(region_of_tokens(grid, region)))


@pytest.mark.parametrize("policy", ["tube", "region_tube"])
def test_a_tube_shows_the_same_places_at_every_time_step(policy):
    visible_V = draw((8, 10, 10), MaskConfig(policy, 0.9), np.random.default_rng(0))
    places_TV = visible_V.reshape(8, -1) - 100 * np.arange(8)[:, None]
    assert np.all(places_TV == places_TV[0])


def test_regions_draw_masks_of_their_own():
    visible_V = draw((8, 10, 10), MaskConfig("region_tube", 0.5, (2, 5, 10)), np.random.default_rng(0))
    places = visible_V[visible_V < 100]
    assert set(places[places < 50]) != set(places[places >= 50] - 50)


def test_frame_masking_shows_whole_time_steps():
    visible_V = draw((8, 10, 10), MaskConfig("frame", 0.9), np.random.default_rng(0))
    assert len(visible_V) == 100 and visible_V[0] % 100 == 0 and visible_V[-1] - visible_V[0] == 99


@pytest.mark.parametrize("policy", ["tube", "random", "frame", "region_tube"])
def test_every_token_is_seen_equally_often(policy):
    grid, chosen = (4, 4, 4), config(policy, 0.5, (2, 2, 4))
    rng = np.random.default_rng(1)
    counts = np.zeros(64)
    for _ in range(2000):
        counts[draw(grid, chosen, rng)] += 1
    assert np.all(np.abs(counts / 2000 - 0.5) < 0.06)


def test_the_same_generator_state_gives_the_same_mask_and_another_gives_another():
    first, again, other = (draw((8, 10, 10), MaskConfig(), np.random.default_rng(s)) for s in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_ratio_outside_the_open_interval_is_refused(ratio):
    with pytest.raises(ValueError, match="ratio"):
        MaskConfig("tube", ratio)


def test_a_region_that_does_not_tile_the_grid_or_has_no_effect_is_refused():
    with pytest.raises(ValueError, match="does not tile"):
        num_visible((8, 10, 10), MaskConfig("region_tube", 0.9, (3, 5, 10)))
    with pytest.raises(ValueError, match="no effect"):
        MaskConfig("tube", 0.9, (2, 2, 2))


def test_a_mask_is_drawn_in_less_than_a_tenth_of_a_millisecond_of_cpu():
    rng = np.random.default_rng(0)
    for policy in ("tube", "random", "frame", "region_tube"):
        draw((8, 14, 14), config(policy, 0.9, (2, 7, 14)), rng)
        best = min(_cpu_seconds(policy, rng) for _ in range(5))
        assert best < 1e-4


def _cpu_seconds(policy: str, rng: np.random.Generator) -> float:
    start = time.process_time()
    for _ in range(200):
        draw((8, 14, 14), config(policy, 0.9, (2, 7, 14)), rng)
    return (time.process_time() - start) / 200

"""A space is said in words, and what is drawn from it depends on the seed and the number of the trial alone."""

from __future__ import annotations

import pytest

from cluster.search_space import Dimension, draw, draws, edge_points, grid, parse_dimension, parse_space, said

MIXED = parse_space(
    ("mask.ratio=0.5..0.95", "optimizer.base_lr=1e-4..1e-2:log", "region=2x5x10,2x2x10", "flag=True,None")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1,2", Dimension("a", (1, 2))),
        ("a=0.5,1e-3", Dimension("a", (0.5, 1e-3))),
        ("a.b=same,other", Dimension("a.b", ("same", "other"))),
        ("a=2x5x10", Dimension("a", ((2, 5, 10),))),
        ("a=True,None,none", Dimension("a", (True, None, "none"))),
        ("a=-1..1", Dimension("a", low=-1.0, high=1.0)),
        ("a=1e-4..1e-2:log", Dimension("a", low=1e-4, high=1e-2, log=True)),
    ],
)
def test_a_dimension_is_read_from_its_words(text: str, expected: Dimension) -> None:
    found = parse_dimension(text)
    assert (found.name, found.choices, found.log) == (expected.name, expected.choices, expected.log)
    if expected.choices is None:
        assert (found.low, found.high) == (expected.low, expected.high)


@pytest.mark.parametrize("text", ["a", "a=", "=1", "a=2..1", "a=0..1:log", "a=1,1"])
def test_words_that_say_no_dimension_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="="):
        parse_dimension(text)


def test_a_dimension_said_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="different dimensions"):
        parse_space(("a=1,2", "a=3,4"))


def test_a_grid_has_every_combination_once() -> None:
    points = grid(parse_space(("a=1,2,3", "b=x,y")))
    assert len(points) == 6
    assert len({tuple(point.items()) for point in points}) == 6
    assert points[:2] == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}]


def test_a_grid_of_a_range_is_refused() -> None:
    with pytest.raises(ValueError, match="mask.ratio, optimizer.base_lr have no end"):
        grid(MIXED)


def test_a_draw_is_the_same_each_time_and_another_for_each_trial() -> None:
    drawn = [draw(MIXED, seed=3, number=number) for number in range(200)]
    assert drawn == [draw(MIXED, seed=3, number=number) for number in range(200)]
    assert drawn != [draw(MIXED, seed=4, number=number) for number in range(200)]
    assert len({point["mask.ratio"] for point in drawn}) == 200


def test_draws_fill_their_ranges_and_a_logarithmic_one_evenly_in_the_logarithm() -> None:
    drawn = [draw(MIXED, seed=0, number=number) for number in range(2000)]
    ratios, rates = ([point[name] for point in drawn] for name in ("mask.ratio", "optimizer.base_lr"))
    assert 0.5 <= min(ratios) < 0.51 and 0.94 < max(ratios) <= 0.95
    assert 0.45 < sum(rate < 1e-3 for rate in rates) / len(rates) < 0.55
    assert {point["region"] for point in drawn} == {(2, 5, 10), (2, 2, 10)}


def test_no_point_is_drawn_twice_and_a_small_space_is_drawn_whole() -> None:
    space = parse_space(("a=1,2,3", "b=x,y"))
    drawn = draws(space, seed=0, count=6)
    assert sorted(tuple(point.values()) for point in drawn) == sorted(tuple(point.values()) for point in grid(space))
    assert draws(space, seed=0, count=3) == drawn[:3]


def test_the_edges_of_a_space_show_each_choice_and_both_ends_of_a_range() -> None:
    points = edge_points(MIXED)
    assert {point["mask.ratio"] for point in points} == {0.5, 0.95}
    assert {point["region"] for point in points} == {(2, 5, 10), (2, 2, 10)}


def test_values_are_shown_as_they_are_written() -> None:
    assert [said(value) for value in ((2, 5, 10), [2, 5, 10], 0.75, "same", None)] == [
        "2x5x10",
        "2x5x10",
        "0.75",
        "same",
        "None",
    ]

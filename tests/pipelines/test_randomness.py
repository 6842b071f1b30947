"""Streams of random numbers: repeatable, and none moves another."""

from __future__ import annotations

import itertools

import pytest

from pipelines.randomness import Draw, generator


def test_the_same_arguments_give_the_same_stream():
    first, again = (generator(Draw.CLIP, seed=1, epoch=2, sample_id=3, repeat=4) for _ in range(2))
    assert first.integers(2**63, size=8).tolist() == again.integers(2**63, size=8).tolist()


def test_every_argument_and_every_kind_of_draw_gives_another_stream():
    streams = {
        int(generator(draw, seed=seed, epoch=epoch, sample_id=sample_id, repeat=repeat).integers(2**63))
        for draw in Draw
        for seed, epoch, sample_id, repeat in itertools.product(range(3), repeat=4)
    }
    assert len(streams) == len(Draw) * 3**4


@pytest.mark.parametrize("fields", [{"seed": -1}, {"seed": 2**32}, {"seed": 0, "sample_id": -1}])
def test_values_that_could_make_two_streams_coincide_are_refused(fields):
    with pytest.raises(ValueError, match="must lie in"):
        generator(Draw.MASK, **fields)


def test_the_streams_stay_what_they_were():
    """Golden numbers: a change here changes the data of every run that is resumed."""
    values = [int(generator(draw, seed=7, epoch=1, sample_id=5, repeat=0).integers(1000)) for draw in Draw]
    assert values == [790, 264, 316, 234, 873, 254, 639, 687, 683, 115, 982]

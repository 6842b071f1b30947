"""Every random choice about a sample, as a pure function of (seed, epoch, sample, repeat).

Each kind of choice has a stream of its own, so that what one of them draws never moves another.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Draw(IntEnum):
    """What is drawn. The values are part of the streams: changing one changes every run."""

    ORDER = 0
    CLIP = 1
    CROP = 2
    MASK = 3
    HELD_OUT_MASK = 4
    PADDING_MASK = 5
    VIEW = 6
    HELD_OUT_VIEW = 7
    AUGMENT = 8
    VISIT = 9
    CLASS = 10


def generator(draw: Draw, *, seed: int, epoch: int = 0, sample_id: int = 0, repeat: int = 0) -> np.random.Generator:
    """A generator that depends on its arguments and nothing else.

    Raises:
        ValueError: a value is negative or needs more than 32 bits (two words would make streams coincide).
    """
    entropy = (int(seed), int(epoch), int(sample_id), int(repeat))
    for name, value in zip(("seed", "epoch", "sample_id", "repeat"), entropy, strict=True):
        if not 0 <= value < 2**32:
            raise ValueError(f"{name}={value} must lie in [0, 2**32)")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=(int(draw),))))

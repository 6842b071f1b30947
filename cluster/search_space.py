"""What a sweep searches: dimensions said in one word each, and the points that are drawn from them.

mask.ratio=0.6,0.75,0.9           one of these
optimizer.base_lr=1e-4..1e-2:log  anything between, evenly in the logarithm
region=2x5x10,2x2x10              values of several numbers
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Values = dict[str, Any]
"""A point: a value, as JSON has it, by the name of its dimension."""

_WORDS = {"True": True, "False": False, "None": None}  # as Python writes them: "none" is the name of some choices
_DRAWS_PER_POINT = 100
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?", re.IGNORECASE)
_TUPLE = re.compile(r"\d+(x\d+)+")


@dataclass(frozen=True)
class Dimension:
    """One searched value: one of `choices`, or a number from `low` to `high`."""

    name: str
    choices: tuple[Any, ...] | None = None
    low: float = math.nan
    high: float = math.nan
    log: bool = False

    def draw(self, generator: np.random.Generator) -> Any:
        if self.choices is not None:
            return self.choices[generator.integers(len(self.choices))]
        if self.log:
            return float(np.exp(generator.uniform(np.log(self.low), np.log(self.high))))
        return float(generator.uniform(self.low, self.high))

    def edges(self) -> tuple[Any, ...]:
        """Values that have to be possible for all between them to be."""
        return self.choices if self.choices is not None else (self.low, self.high)


def parse_dimension(text: str) -> Dimension:
    """Raises ValueError, with examples, for a text that says no dimension."""
    name, equals, said = text.partition("=")
    if not (name and equals and said):
        raise ValueError(
            f"{text!r} says no dimension: write FIELD=VALUE,VALUE or FIELD=LOW..HIGH or FIELD=LOW..HIGH:log"
        )
    if found := _RANGE.fullmatch(said):
        low, high, log = float(found[1]), float(found[2]), found[3] is not None
        if not low < high or (log and low <= 0):
            raise ValueError(f"{text!r}: the range must rise{', from above 0,' if log else ''} from low to high")
        return Dimension(name, low=low, high=high, log=log)
    choices = tuple(_value(word) for word in said.split(","))
    if len(set(choices)) < len(choices):
        raise ValueError(f"{text!r} names a value twice")
    return Dimension(name, choices)


def parse_space(texts: Sequence[str]) -> tuple[Dimension, ...]:
    """Raises ValueError for no dimension, one that is said twice, or a text that says none."""
    space = tuple(parse_dimension(text) for text in texts)
    names = [dimension.name for dimension in space]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a space has one or more different dimensions, not {names}")
    return space


def grid(space: Sequence[Dimension]) -> list[Values]:
    """All combinations, the last dimension changing fastest. Raises ValueError for a dimension without choices."""
    if endless := [dimension.name for dimension in space if dimension.choices is None]:
        raise ValueError(f"{', '.join(endless)} have no end of values; list some, or search at random or with optuna")
    names = [dimension.name for dimension in space]
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*(one.choices or () for one in space))]


def draw(space: Sequence[Dimension], *, seed: int, number: int) -> Values:
    """The point of a trial, which depends on nothing else."""
    generator = np.random.default_rng((seed, number))
    return {dimension.name: dimension.draw(generator) for dimension in space}


def draws(space: Sequence[Dimension], *, seed: int, count: int) -> list[Values]:
    """So many different points, fewer where there are no more."""
    found: dict[tuple[Any, ...], Values] = {}
    for number in range(_DRAWS_PER_POINT * count):
        point = draw(space, seed=seed, number=number)
        found.setdefault(tuple(point.values()), point)
        if len(found) == count:
            break
    return list(found.values())


def edge_points(space: Sequence[Dimension]) -> list[Values]:
    """One point for each choice and each end of a range, the other dimensions at their first: to see early what cannot
    be."""
    first = {dimension.name: dimension.edges()[0] for dimension in space}
    return [first | {dimension.name: value} for dimension in space for value in dimension.edges()]


def said(value: Any) -> str:
    """A value as it is written in a space, and shown."""
    if isinstance(value, (list, tuple)):
        return "x".join(str(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    if re.fullmatch(r"[-+]?\d+", word):
        return int(word)
    if re.fullmatch(_NUMBER, word, re.IGNORECASE):
        return float(word)
    return tuple(int(part) for part in word.split("x")) if _TUPLE.fullmatch(word) else word

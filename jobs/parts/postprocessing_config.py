"""What becomes of the scores of frames before they are told. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_TASKS = ("expr", "au", "va")


@dataclass(frozen=True)
class PostprocessingConfig:
    """Smoothing over time within a video, and thresholds."""

    smoothing: tuple[str, ...] = ()
    """Filters, one after the other: gaussian:SIGMA, median:WINDOW, average:WINDOW or majority:WINDOW, in frames. Where
    several tasks are learned at once a filter may be for one of them: expr/median:25."""
    candidates: tuple[str, ...] = ()
    """Instead of one smoothing several, each of filters joined by "+" and "none" for none, of which the best on the
    validation videos is taken, for each task by itself."""
    thresholds: Literal["half", "validation"] = "half"
    """From which score on an action unit is there. half: .5; validation: for each unit that of the best F1 on the
    validation videos."""

    def __post_init__(self) -> None:
        from models.smoothing import read_filters

        if self.smoothing and self.candidates:
            raise ValueError("smoothing and candidates exclude each other; give one")
        for words in self._given():
            read_filters([word.rpartition("/")[2] for word in words])
        if unknown := sorted(self.tasks() - set(_TASKS)):
            raise ValueError(f"filters are for {', '.join(_TASKS)} or, without a name, for all; not {unknown}")

    def tasks(self) -> set[str]:
        """Those that filters are named after."""
        return {word.rpartition("/")[0] for words in self._given() for word in words} - {""}

    @property
    def is_chosen(self) -> bool:
        """Whether validation videos decide something."""
        return bool(self.candidates) or self.thresholds != "half"

    def check(self, evaluation: str) -> None:
        """Raises ValueError where what should be chosen on validation videos would be chosen on the test videos."""
        if self.is_chosen and evaluation == "paper":
            raise ValueError(
                "candidates and thresholds are chosen on validation videos, which evaluation=paper takes from the test "
                "set: say evaluation=clean, or smoothing and thresholds=half"
            )

    def chains(self, task: str) -> list[tuple[str, ...]]:
        """The chains of filters of a task (expr, au, va) among which the best is taken, as words; none comes twice."""
        return list(dict.fromkeys(_for_task(words, task) for words in self._given()))

    def _given(self) -> list[tuple[str, ...]]:
        """The chains of filters as they were given, for all tasks."""
        return [_split(words) for words in self.candidates] if self.candidates else [self.smoothing]


def _split(words: str) -> tuple[str, ...]:
    return () if words == "none" else tuple(words.split("+"))


def _for_task(words: tuple[str, ...], task: str) -> tuple[str, ...]:
    placed = [word.rpartition("/")[::2] for word in words]
    return tuple(filter_ for where, filter_ in placed if where in ("", task))

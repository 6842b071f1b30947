"""A person whose expression changes while they speak, and what annotators of affect would say of every frame.

Each expression is played on its segment as elsewhere, only that it fades when the next one begins. Speech, blinks, head
and eyes are drawn without knowledge of the expressions.

Shape letters: T frames; 18 action units of the face, 12 of them annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from pipelines.action_units import ACTION_UNITS
from pipelines.corpora.aff_wild2_files import EXPRESSIONS, UNITS
from pipelines.synthetic.expressions import PROTOTYPES, Prototype, au_index, expression_track, smooth_step
from pipelines.synthetic.performance import Performance, draw_performance, overlay

OTHER = Prototype({2: 0.8, 14: 0.7, 28: 1.0}, {7: 0.4})
"""Pressed lips between dimples under raised outer brows: doubt, which is none of the six emotions."""
LEVEL = 3
"""Expressions are strong, so that small models can learn them from few people."""
PLAYED: dict[str, Prototype] = {
    "Neutral": PROTOTYPES["neutral"],
    "Anger": PROTOTYPES["angry"],
    "Disgust": PROTOTYPES["disgusted"],
    "Fear": PROTOTYPES["fear"],
    "Happiness": PROTOTYPES["happy"],
    "Sadness": PROTOTYPES["sad"],
    "Surprise": PROTOTYPES["surprised"],
    "Other": OTHER,
}
CIRCUMPLEX = {
    "Neutral": (0.0, 0.0),
    "Anger": (-0.6, 0.7),
    "Disgust": (-0.7, 0.3),
    "Fear": (-0.5, 0.8),
    "Happiness": (0.8, 0.45),
    "Sadness": (-0.75, -0.4),
    "Surprise": (0.25, 0.85),
    "Other": (-0.2, -0.25),
}
"""Valence and arousal of an expression at full strength, about where raters put the words (Russell 1980)."""
RIG_UNIT = {24: 28}
"""The face has no lip pressor (24); lips sucked in (28) look most like it and are annotated as it."""
SHOWN = 1.2
"""Intensity of the strongest unit from which an expression is annotated; below it the face is neutral."""
PRESENT = 1.5
"""Intensity from which a unit is annotated as present, whatever it comes from."""
FULL_STRENGTH = 4.0
FADE_SECONDS, LAG_SECONDS = 0.35, 0.25
"""Of an expression when its segment is over; of the hand that rates valence and arousal."""


class Segment(NamedTuple):
    """One expression of a person, in frames."""

    expression: str
    start: int
    stop: int


@dataclass(frozen=True)
class Act:
    """What a person does in a video, and the truth about it."""

    performance: Performance
    expression_T: np.ndarray
    """Indices of EXPRESSIONS."""
    affect_T2: np.ndarray
    """Valence and arousal in [-1, 1]."""
    opening_T: np.ndarray
    """How far speech alone opens the mouth, 0 to 1: the same whatever the expression."""

    @property
    def marks_TK(self) -> np.ndarray:
        """Whether each of UNITS is present, bool [T, 12]."""
        numbers = [int(unit.removeprefix("AU")) for unit in UNITS]
        columns = [au_index(RIG_UNIT.get(number, number)) for number in numbers]
        return self.performance.intensity_T18[:, columns] >= PRESENT


def draw_act(
    seed: np.random.SeedSequence, segments: Sequence[Segment], *, frames: int, fps: float, talking: bool = True
) -> Act:
    """Plays the segments, which follow each other, over a performance of `frames` that knows nothing of them."""
    played_seed, *segment_seeds = seed.spawn(1 + len(segments))
    plain = draw_performance(played_seed, "neutral", 1, frames=frames, fps=fps, talking=talking)
    felt_T18, halves_T218 = np.zeros((frames, len(ACTION_UNITS))), np.ones((frames, 2, len(ACTION_UNITS)))
    strength_T, expression_T = np.zeros(frames), np.zeros(frames, np.int64)
    for segment, child in zip(segments, segment_seeds, strict=True):
        track_S18, halves_218 = _play(np.random.default_rng(child), segment, fps=fps)
        span = slice(segment.start, min(frames, segment.start + len(track_S18)))
        track_S18 = track_S18[: span.stop - span.start]
        leads_S = track_S18.max(1) > strength_T[span]
        halves_T218[span][leads_S] = halves_218
        expression_T[span][leads_S] = EXPRESSIONS.index(segment.expression)
        strength_T[span] = np.maximum(strength_T[span], track_S18.max(1))
        felt_T18[span] = np.maximum(felt_T18[span], track_S18)
    moved_T218 = overlay(felt_T18, halves_T218, plain.intensity_T18)
    return Act(
        performance=replace(plain, intensity_T218=moved_T218),
        expression_T=np.where(strength_T >= SHOWN, expression_T, 0),
        affect_T2=_rated(expression_T, strength_T, fps=fps),
        opening_T=_opening(plain),
    )


def _play(rng: np.random.Generator, segment: Segment, *, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Intensities from the start of a segment until it has faded."""
    length = (segment.stop - segment.start) / fps
    seconds_S = np.arange(segment.stop - segment.start + round(FADE_SECONDS * fps)) / fps
    track_S18, halves_218 = expression_track(rng, PLAYED[segment.expression], LEVEL, seconds_S)
    fading_S = 1 - smooth_step((seconds_S - length) / FADE_SECONDS)
    return track_S18 * fading_S[:, None], halves_218


def _rated(expression_T: np.ndarray, strength_T: np.ndarray, *, fps: float) -> np.ndarray:
    """A hand that follows the shown expression: a delay line of two equal steps, so that it starts smoothly."""
    place_E2 = np.array([CIRCUMPLEX[name] for name in EXPRESSIONS])
    rated_T2 = place_E2[expression_T] * np.minimum(strength_T / FULL_STRENGTH, 1)[:, None]
    keep = np.exp(-2 / (LAG_SECONDS * fps))
    for _ in range(2):
        rated_T2 = lfilter([1 - keep], [1, -keep], rated_T2, axis=0)
    return rated_T2


def _opening(plain: Performance) -> np.ndarray:
    lips_T, jaw_T = (plain.intensity_T18[:, au_index(unit)] for unit in (25, 26))
    return np.clip(0.6 * lips_T / 3.2 + 0.4 * jaw_T / 2.0, 0, 1)

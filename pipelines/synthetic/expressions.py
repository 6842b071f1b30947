"""The eight emotions, and how an emotion is drawn as action units over time.

Prototypes: EMFACS (Friesen & Ekman 1983) and the FACS Investigator's Guide, restricted to the 18 action units that
OpenFace 2 reports. Each clip draws its own subset, intensities and timing, so no two angry clips are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.action_units import ACTION_UNITS

MAX_INTENSITY = 5.0
EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
LEVELS = (1, 2, 3)
WAVES = 4
"""Sinusoids in a smooth noise."""
LEVEL_INTENSITY = {1: (1.4, 2.4), 2: (2.4, 3.6), 3: (3.6, 5.0)}
"""Range of the peak intensity at each of MEAD's three levels."""


@dataclass(frozen=True)
class Prototype:
    """Action units that always come with an emotion, and those that may, each with its share of the peak intensity."""

    core: dict[int, float]
    optional: dict[int, float]
    one_sided: tuple[int, ...] = ()
    """Units shown on one half of the face only (which half is drawn per clip)."""


PROTOTYPES = {
    "angry": Prototype({4: 1.0, 5: 0.55, 7: 0.85, 23: 0.9}, {10: 0.45, 17: 0.6}),
    "contempt": Prototype({12: 0.45, 14: 1.0}, {10: 0.3, 2: 0.25}, one_sided=(12, 14, 10, 2)),
    "disgusted": Prototype({9: 1.0, 10: 0.8}, {4: 0.4, 7: 0.4, 15: 0.5, 17: 0.6, 6: 0.3}),
    "fear": Prototype({1: 1.0, 2: 0.8, 4: 0.65, 5: 0.9, 20: 0.85}, {7: 0.4, 25: 0.6, 26: 0.35}),
    "happy": Prototype({6: 0.9, 12: 1.0}, {25: 0.7, 26: 0.25, 7: 0.25}),
    "neutral": Prototype({}, {}),
    "sad": Prototype({1: 0.95, 4: 0.7, 15: 0.9}, {17: 0.6, 6: 0.25, 7: 0.3}),
    "surprised": Prototype({1: 0.95, 2: 1.0, 5: 0.8, 26: 0.7}, {25: 0.6}),
}


def au_index(unit: int) -> int:
    return ACTION_UNITS.index(unit)


def smooth_step(x: np.ndarray) -> np.ndarray:
    """Minimum-jerk rise from 0 to 1 (Flash & Hogan 1985)."""
    x = np.clip(x, 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x * x)


def bump(seconds_T: np.ndarray, start: float, rise: float, hold: float, fall: float) -> np.ndarray:
    """Onset, apex and offset of one muscle action, 0..1."""
    return smooth_step((seconds_T - start) / rise) * (1 - smooth_step((seconds_T - start - rise - hold) / fall))


def drift(rng: np.random.Generator, seconds_T: np.ndarray, slowest: float, fastest: float) -> np.ndarray:
    """Smooth noise of about unit variance: a few sinusoids between two frequencies in Hz."""
    frequency = np.exp(rng.uniform(np.log(slowest), np.log(fastest), WAVES))
    phase = rng.uniform(0, 2 * np.pi, WAVES)
    weight = rng.uniform(0.5, 1.0, WAVES) * (frequency / slowest) ** -0.5
    weight *= np.sqrt(2 / (weight**2).sum())
    return (weight * np.sin(2 * np.pi * seconds_T[:, None] * frequency + phase)).sum(1)


def expression_track(
    rng: np.random.Generator, prototype: Prototype, level: int, seconds_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intensities float [T,18] of the emotion alone, and the share of each unit on the two halves, float [2,18]."""
    peak = rng.uniform(*LEVEL_INTENSITY[level])
    duration = float(seconds_T[-1])
    onset = rng.uniform(0.0, 0.15) * duration
    leaves = rng.random() < 0.4
    chosen = {unit: share for unit, share in prototype.optional.items() if rng.random() < 0.5} | prototype.core
    intensity_T18 = np.zeros((len(seconds_T), len(ACTION_UNITS)))
    for unit, share in sorted(chosen.items()):
        start = onset + rng.uniform(0.0, 0.15)
        rise = rng.uniform(0.25, 0.7)
        hold = rng.uniform(0.45, 0.65) * duration if leaves else duration
        envelope = bump(seconds_T, start, rise, hold, rng.uniform(0.4, 0.9))
        waver = 1 + 0.10 * drift(rng, seconds_T, 0.3, 1.2)
        intensity_T18[:, au_index(unit)] = peak * share * rng.uniform(0.8, 1.15) * envelope * waver
    balance = np.clip(1 + rng.normal(0, 0.08, len(ACTION_UNITS)), 0.8, 1.2)
    halves_218 = np.stack([balance, 2 - balance])
    weaker = int(rng.random() < 0.5)
    for unit in prototype.one_sided:
        halves_218[weaker, au_index(unit)] = 0.15
        halves_218[1 - weaker, au_index(unit)] = 1.2
    return np.clip(intensity_T18, 0, MAX_INTENSITY), halves_218

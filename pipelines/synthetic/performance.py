"""What a face does over a clip: action units of emotion, speech, blinks and habit; head, eyes and body.

Each of these is drawn from a stream of its own, so speech, blinks, pose and gaze are the same whatever the emotion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.synthetic.expressions import (
    MAX_INTENSITY,
    PROTOTYPES,
    au_index,
    bump,
    drift,
    expression_track,
    smooth_step,
)

MAX_ANGLE = 30.0
"""Largest yaw of the head in degrees; pitch stays within 20, roll within 15."""


@dataclass(frozen=True)
class Pose:
    """One moment of a performance."""

    intensity_218: np.ndarray
    """Intensity 0..5 of the 18 action units on the image-left and the image-right half."""
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    """Degrees; positive: turned to the image right, nodded down, tilted clockwise."""
    gaze: tuple[float, float] = (0.0, 0.0)
    """Degrees relative to the head; positive: to the image right, down."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Movement of head and body across the picture in D."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Performance:
    """Tracks of one clip, T frames at `fps`."""

    fps: float
    intensity_T218: np.ndarray
    angles_T3: np.ndarray
    """Yaw, pitch, roll in degrees."""
    gaze_T2: np.ndarray
    shift_T2: np.ndarray

    def __len__(self) -> int:
        return len(self.intensity_T218)

    @property
    def intensity_T18(self) -> np.ndarray:
        """Intensity as a coder would score it: the stronger half counts."""
        return np.minimum(self.intensity_T218.max(1), MAX_INTENSITY)

    @property
    def apex(self) -> int:
        """Frame of the strongest expression with open eyes."""
        lids = au_index(45)
        expression_T = np.delete(self.intensity_T18, lids, axis=1).sum(1)
        return int(np.where(self.intensity_T18[:, lids] < 0.2, expression_T, -1).argmax())

    def pose(self, frame: int) -> Pose:
        yaw, pitch, roll = (float(a) for a in self.angles_T3[frame])
        return Pose(
            intensity_218=self.intensity_T218[frame],
            yaw=yaw,
            pitch=pitch,
            roll=roll,
            gaze=tuple(float(a) for a in self.gaze_T2[frame]),
            shift=tuple(float(a) for a in self.shift_T2[frame]),
            seconds=frame / self.fps,
        )


def _speech(rng: np.random.Generator, seconds_T: np.ndarray) -> np.ndarray:
    """Intensities [T,18] of a talking mouth: four to six syllables a second, in phrases."""
    track = np.zeros((len(seconds_T), len(ACTION_UNITS)))
    now, loudness = rng.uniform(0.0, 0.4), rng.uniform(0.7, 1.25)
    while now < seconds_T[-1]:
        length = rng.uniform(0.15, 0.25)
        half = length / 2
        mouth = {26: rng.uniform(0.3, 2.0), 25: rng.uniform(1.2, 3.2)}
        kind = rng.random()
        if kind < 0.20:
            mouth[20] = rng.uniform(0.4, 1.3)
        elif kind < 0.40:
            mouth[23] = rng.uniform(0.6, 1.8)
        elif kind < 0.50:
            mouth[17] = rng.uniform(0.5, 1.4)
        elif kind < 0.58:
            mouth[10] = rng.uniform(0.4, 1.0)
        for unit, size in mouth.items():
            syllable = loudness * size * bump(seconds_T, now - 0.04, half + 0.04, 0.02, half + 0.05)
            track[:, au_index(unit)] = np.maximum(track[:, au_index(unit)], syllable)
        now += length + (rng.uniform(0.25, 0.7) if rng.random() < 0.12 else 0.0)
    return track


def _habits(rng: np.random.Generator, seconds_T: np.ndarray) -> np.ndarray:
    """Intensities [T,18] that mean nothing: brows that stress a word, lips sucked in, a passing twitch."""
    track = np.zeros((len(seconds_T), len(ACTION_UNITS)))
    duration = seconds_T[-1]

    def act(units: tuple[int, ...], size: float, hold: float) -> None:
        start = rng.uniform(0, max(duration - 0.6, 0.1))
        envelope = bump(seconds_T, start, rng.uniform(0.15, 0.3), hold, rng.uniform(0.2, 0.4))
        for unit in units:
            track[:, au_index(unit)] += size * envelope

    if rng.random() < 0.5:
        act((1, 2), rng.uniform(0.6, 1.6), rng.uniform(0.1, 0.5))
    if rng.random() < 0.12:
        act((28,), rng.uniform(1.5, 4.0), rng.uniform(0.2, 0.6))
    for unit in (4, 5, 6, 7, 9, 10, 12, 14, 15, 17):
        if rng.random() < 0.10:
            act((unit,), rng.uniform(0.4, 1.3), rng.uniform(0.1, 0.4))
    return track


def _blinks(rng: np.random.Generator, seconds_T: np.ndarray) -> np.ndarray:
    """Intensity [T] of AU45: about one blink in three seconds, a third of a second each."""
    track = np.zeros(len(seconds_T))
    now = rng.exponential(1.6)
    while now < seconds_T[-1]:
        blink = rng.uniform(4.5, 5.0) * bump(seconds_T, now, rng.uniform(0.08, 0.11), 0.05, rng.uniform(0.14, 0.20))
        track = np.maximum(track, blink)
        now += 0.5 + rng.exponential(2.6)
    return track


def _head(rng: np.random.Generator, seconds_T: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll [T,3] in degrees: a direction, a sway, sometimes a turn."""
    base = rng.normal((0.0, 1.0, 0.0), (9.0, 5.0, 4.0))
    sway = np.stack([drift(rng, seconds_T, 0.15, 1.5) for _ in range(3)], 1) * rng.uniform(0.6, 1.4) * (3.2, 1.8, 1.3)
    turn = rng.normal(0, 9) * (rng.random() < 0.5)
    turned = turn * smooth_step((seconds_T - rng.uniform(0, seconds_T[-1])) / rng.uniform(0.6, 1.4))
    angles = base + sway
    angles[:, 0] += turned - turn / 2
    limit = np.array((MAX_ANGLE, 20.0, 15.0))
    return limit * np.tanh(angles / limit)


def _gaze(rng: np.random.Generator, seconds_T: np.ndarray, angles_T3: np.ndarray) -> np.ndarray:
    """Eyes that mostly stay on the camera while the head turns, with saccades, degrees [T,2]."""
    target = np.zeros((len(seconds_T), 2))
    now = 0.0
    while now < seconds_T[-1]:
        looks_away = rng.random() < 0.3
        target[seconds_T >= now] = rng.normal(0, (10.0, 5.0) if looks_away else (2.0, 1.5))
        now += 0.25 + rng.exponential(0.7)
    return np.clip(target - 0.85 * angles_T3[:, :2], (-24, -14), (24, 14))


def overlay(felt_T18: np.ndarray, halves: np.ndarray, others_T18: np.ndarray) -> np.ndarray:
    """Intensities [T,2,18] of both halves of a face: of an emotion, whose share on the halves [2,18] or [T,2,18] may
    differ, and of all else the face does."""
    # Two causes of one movement add up, but never beyond the strongest.
    both = felt_T18 + others_T18 - felt_T18 * np.minimum(others_T18, MAX_INTENSITY) / MAX_INTENSITY
    felt_share = felt_T18 / np.maximum(felt_T18 + others_T18, 1e-9)
    halves_T218 = 1 + felt_share[:, None] * (halves - 1)
    return np.clip(both[:, None] * halves_T218, 0, MAX_INTENSITY)


def draw_performance(
    seed: np.random.SeedSequence, emotion: str, level: int, *, frames: int, fps: float = 25.0, talking: bool = True
) -> Performance:
    """Draws a clip. Only the first of the seed's streams sees `emotion` and `level`.

    Raises ValueError for fewer than two frames.
    """
    if frames < 2:
        raise ValueError(f"frames={frames}: a performance needs at least 2")
    streams = [np.random.Generator(np.random.PCG64(child)) for child in seed.spawn(6)]
    seconds_T = np.arange(frames) / fps
    felt_T18, halves_218 = expression_track(streams[0], PROTOTYPES[emotion], level, seconds_T)
    others_T18 = _habits(streams[1], seconds_T)
    if talking:
        others_T18 = others_T18 + _speech(streams[2], seconds_T)
    others_T18[:, au_index(45)] = _blinks(streams[3], seconds_T)
    angles_T3 = _head(streams[4], seconds_T)
    sway_T2 = np.stack([drift(streams[4], seconds_T, 0.1, 0.8) for _ in range(2)], 1)
    return Performance(
        fps=fps,
        intensity_T218=overlay(felt_T18, halves_218, others_T18),
        angles_T3=angles_T3,
        gaze_T2=_gaze(streams[5], seconds_T, angles_T3),
        shift_T2=sway_T2 * (0.035, 0.025),
    )

"""Speech-like sound of a talking face: pulses of a voice through formants that move with the mouth.

Nothing is said. What is there is what fusion of sight and sound can be measured on: a voice of its own for every
person, syllables in step with the opening mouth, and a manner of speaking (pitch, loudness, rate, brightness) that may
follow an emotion. The changes are those that are found in speech (Juslin & Laukka 2003; Scherer 2003): anger loud and
bright, sadness quiet, low and slow, fear high and fast. The mouth is the same whatever the manner, so that the rate is
that of the swells within a syllable.

Shape letters: T video frames, C control points, S samples.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipelines.synthetic.expressions import drift

SAMPLE_RATE = 16_000
_CONTROL_RATE = 200
"""Times per second at which pitch, formants and loudness are drawn; samples lie between."""
_HIGHEST_HZ = 5000.0
"""Of a harmonic."""
_BANDWIDTHS = (90.0, 120.0, 200.0)
_TURN_SECONDS = 0.08
"""Deviation of the Gaussian over which one manner becomes the next."""
_PEAK = 0.08
"""Root mean square of an ordinary voice while it speaks, of 1."""
_BREATH, _HISS = 0.03, 2e-4


@dataclass(frozen=True)
class Voice:
    """What is constant about how a person sounds."""

    pitch: float
    """Hz."""
    tract: float
    """Formants as multiples of those of a long vocal tract."""


class Manner(NamedTuple):
    """How someone speaks, beside an ordinary way of speaking."""

    pitch: float
    """Multiple of the voice's."""
    loudness: float
    """Decibels."""
    rate: float
    """Swells per second."""
    brightness: float
    """Decibels per octave by which the harmonics fall less."""
    melody: float
    """Deviation of the pitch in semitones."""


MANNERS = {
    "Neutral": Manner(1.0, 0.0, 4.0, 0.0, 1.0),
    "Anger": Manner(1.25, 7.0, 7.0, 4.0, 1.5),
    "Disgust": Manner(0.85, -1.0, 3.0, 1.0, 1.2),
    "Fear": Manner(1.65, 1.0, 10.0, 0.0, 0.6),
    "Happiness": Manner(1.4, 4.0, 6.0, 2.0, 3.0),
    "Sadness": Manner(0.8, -7.0, 2.0, -4.0, 0.6),
    "Surprise": Manner(1.75, 5.0, 4.5, 1.0, 4.0),
    "Other": Manner(0.95, -4.0, 3.0, -1.0, 0.5),
}
"""By Aff-Wild2's expression."""


def draw_voice(rng: np.random.Generator) -> Voice:
    """Low or high, as people are."""
    pitch = rng.normal(115, 12) if rng.random() < 0.5 else rng.normal(205, 18)
    return Voice(pitch=float(pitch), tract=float(1 + 0.17 * (pitch > 160) + rng.normal(0, 0.04)))


def vary(rng: np.random.Generator, manner: Manner) -> Manner:
    """The manner as someone has it this time."""
    return Manner(
        pitch=manner.pitch * float(np.exp(rng.normal(0, 0.06))),
        loudness=manner.loudness + float(rng.normal(0, 1.0)),
        rate=manner.rate * float(np.exp(rng.normal(0, 0.1))),
        brightness=manner.brightness + float(rng.normal(0, 0.5)),
        melody=manner.melody * float(np.exp(rng.normal(0, 0.2))),
    )


def speak(
    rng: np.random.Generator, voice: Voice, manners_T: Sequence[Manner], opening_T: np.ndarray, *, fps: float
) -> np.ndarray:
    """Sound of a video, float32 [S] within -1 to 1, as long as its frames.

    Args:
        manners_T: the manner at each frame.
        opening_T: how far the mouth is open, 0 (silence) to 1.
    """
    seconds = len(opening_T) / fps
    seconds_C = np.arange(round(seconds * _CONTROL_RATE)) / _CONTROL_RATE
    frame_C = np.minimum((seconds_C * fps).astype(int), len(opening_T) - 1)
    smooth = np.array(manners_T)[frame_C]
    pitch_C, loudness_C, rate_C, brightness_C, melody_C = gaussian_filter1d(
        smooth, _TURN_SECONDS * _CONTROL_RATE, axis=0, mode="nearest"
    ).T
    opening_C = np.interp(seconds_C, (np.arange(len(opening_T)) + 0.5) / fps, opening_T)
    tune_C = drift(rng, seconds_C, 0.4, 2.5)
    hz_C = voice.pitch * pitch_C * 2 ** (melody_C * tune_C / 12)
    swell_C = 1 + 0.5 * np.sin(2 * np.pi * np.cumsum(rate_C) / _CONTROL_RATE + rng.uniform(0, 2 * np.pi))
    level_C = np.sqrt(opening_C) * swell_C * 10 ** (loudness_C / 20)
    formants_C3 = _formants(rng, voice, seconds_C, opening_C)
    voiced_S = _harmonics(hz_C, brightness_C, formants_C3, round(seconds * SAMPLE_RATE))
    level_S = _between(level_C, len(voiced_S))
    breath_S = _BREATH * rng.standard_normal(len(voiced_S))
    sound_S = _PEAK * level_S * (voiced_S + breath_S) + _HISS * rng.standard_normal(len(voiced_S))
    return np.clip(sound_S, -1, 1).astype(np.float32)


def _formants(rng: np.random.Generator, voice: Voice, seconds_C: np.ndarray, opening_C: np.ndarray) -> np.ndarray:
    """Hz [C, 3]: the first rises with the jaw, the second moves with a tongue that nobody sees."""
    tongue_C = drift(rng, seconds_C, 1.0, 5.0)
    first_C = 300 + 500 * opening_C
    second_C = 1400 + 350 * np.clip(tongue_C, -1.5, 1.5)
    third_C = 2500 + 120 * np.clip(tongue_C, -1.5, 1.5)
    return voice.tract * np.stack([first_C, second_C, third_C], axis=1)


def _harmonics(hz_C: np.ndarray, brightness_C: np.ndarray, formants_C3: np.ndarray, samples: int) -> np.ndarray:
    """A glottal pulse train as the sum of its harmonics, each as strong as the formants let it be; about unit power."""
    phase_S = 2 * np.pi * np.cumsum(_between(hz_C, samples)) / SAMPLE_RATE
    sound_S = np.zeros(samples)
    power_C = np.zeros(len(hz_C))
    strengths = []
    for harmonic in range(1, int(_HIGHEST_HZ / hz_C.min()) + 1):
        at_C = harmonic * hz_C
        # A pulse falls by 12 dB per octave, and the lips radiate by 6 dB per octave more of the higher ones.
        strength_C = harmonic ** ((brightness_C - 6) / 6.02) * _resonance(at_C, formants_C3) * (at_C < _HIGHEST_HZ)
        strengths.append(strength_C)
        power_C += strength_C**2 / 2
    for harmonic, strength_C in enumerate(strengths, start=1):
        sound_S += _between(strength_C / np.sqrt(power_C), samples) * np.sin(harmonic * phase_S)
    return sound_S


def _resonance(hz_C: np.ndarray, formants_C3: np.ndarray) -> np.ndarray:
    """Magnitude of the formants in cascade, 1 at 0 Hz (Fant 1960)."""
    gain_C = np.ones(len(hz_C))
    for formant_C, width in zip(formants_C3.T, _BANDWIDTHS, strict=True):
        squared = formant_C**2 + (width / 2) ** 2
        low, high = (np.hypot(width / 2, hz_C + sign * formant_C) for sign in (-1, 1))
        gain_C *= squared / (low * high)
    return gain_C


def _between(value_C: np.ndarray, samples: int) -> np.ndarray:
    return np.interp(np.arange(samples) / SAMPLE_RATE, np.arange(len(value_C)) / _CONTROL_RATE, value_C)


def add_sound(video: bytes, sound_S: np.ndarray) -> bytes:
    """The MP4 file with the sound beside its pictures, which stay as they are: AAC, mono, 16 kHz."""
    import av

    file = io.BytesIO()
    with av.open(io.BytesIO(video)) as source, av.open(file, mode="w", format="mp4") as target:
        pictures = source.streams.video[0]
        copy = target.add_stream_from_template(pictures)
        stream = target.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 64_000
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
        frame = av.AudioFrame.from_ndarray(sound_S[None].astype(np.float32), format="fltp", layout="mono")
        # With a time the encoder tells of the samples that it puts before the sound, so that players leave them out.
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return file.getvalue()

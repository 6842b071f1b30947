"""Emotion must be readable from the action units and from nothing else."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.action_units import ACTION_UNITS
from pipelines.synthetic.clip_rendering import identity_of, performance_of, scene_of
from pipelines.synthetic.clip_specs import ClipSpec, list_clips
from pipelines.synthetic.config import SyntheticConfig
from pipelines.synthetic.expressions import EMOTIONS, PROTOTYPES, au_index
from pipelines.synthetic.hair import STYLES
from pipelines.synthetic.performance import draw_performance

CHANCE = 1 / len(EMOTIONS)
PEOPLE = 300


@pytest.fixture(scope="module")
def clips() -> list[ClipSpec]:
    """300 people, 2400 clips: accuracy at chance on the held-out third has a standard error of 1.2 points."""
    config = SyntheticConfig(
        speakers_dev=PEOPLE, speakers_test=0, clips_per_speaker=8, min_seconds=2.0, max_seconds=2.4
    )
    return list_clips(config)


def numbers(values: dict) -> list[float]:
    row: list[float] = []
    for value in values.values():
        if isinstance(value, str):
            row += [float(value == style) for style in STYLES]
        else:
            row += np.ravel(value).astype(float).tolist()
    return row


def nuisance(spec: ClipSpec, identity_row: list[float]) -> list[float]:
    """Everything drawn about a clip besides its action units: colour, light, background, identity, pose, gaze."""
    played = performance_of(spec)
    tracks = np.concatenate([played.angles_T3, played.gaze_T2, played.shift_T2], axis=1)
    motion = np.concatenate([tracks.mean(0), tracks.std(0), np.abs(np.diff(tracks, axis=0)).mean(0)])
    blinks = played.intensity_T18[:, au_index(45)]
    return [*identity_row, *numbers(asdict(scene_of(spec))), *motion, blinks.mean(), spec.frames]


def held_out_accuracy(features: np.ndarray, clips: list[ClipSpec]) -> float:
    """Of a linear classifier trained on two thirds of the people and asked about the others."""
    labels = np.array([EMOTIONS.index(spec.emotion) for spec in clips])
    train = np.array([spec.speaker % 3 > 0 for spec in clips])
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=10.0))
    return float(model.fit(features[train], labels[train]).score(features[~train], labels[~train]))


def test_emotion_cannot_be_decoded_from_colour_identity_light_background_or_motion(clips: list[ClipSpec]) -> None:
    identities = {}
    for spec in clips:
        if spec.speaker not in identities:
            identities[spec.speaker] = numbers(asdict(identity_of(spec)))
    features = np.array([nuisance(spec, identities[spec.speaker]) for spec in clips])
    assert features.shape[1] > 80
    assert held_out_accuracy(features, clips) < CHANCE + 0.05


def test_emotion_cannot_be_decoded_from_who_was_seen_with_which_emotion_before(clips: list[ClipSpec]) -> None:
    labels = np.array([EMOTIONS.index(spec.emotion) for spec in clips])
    speaker = np.array([spec.speaker for spec in clips])
    later = np.array([spec.clip >= 4 for spec in clips])
    seen = np.stack([np.bincount(labels[~later & (speaker == s)], minlength=8) for s in range(PEOPLE)])
    most, least = seen[speaker[later]].argmax(1), seen[speaker[later]].argmin(1)
    assert (most == labels[later]).mean() < CHANCE + 0.05
    assert (least == labels[later]).mean() < CHANCE + 0.05


def test_emotion_is_decoded_from_the_action_units(clips: list[ClipSpec]) -> None:
    features = []
    for spec in clips[::3]:
        track = performance_of(spec).intensity_T18
        features.append(np.concatenate([track.mean(0), np.median(track, 0), track.max(0)]))
    assert held_out_accuracy(np.array(features), clips[::3]) > 0.85


def test_speech_blinks_pose_and_gaze_are_the_same_whatever_the_emotion() -> None:
    plays = [draw_performance(np.random.SeedSequence(5), emotion, 3, frames=80) for emotion in ("happy", "angry")]
    for name in ("angles_T3", "gaze_T2", "shift_T2"):
        np.testing.assert_array_equal(getattr(plays[0], name), getattr(plays[1], name))
    blink = au_index(45)
    np.testing.assert_array_equal(plays[0].intensity_T18[:, blink], plays[1].intensity_T18[:, blink])


@pytest.mark.parametrize("emotion", [name for name in EMOTIONS if name != "neutral"])
def test_an_emotion_shows_its_core_units_and_shows_them_more_at_a_higher_level(emotion: str) -> None:
    core = [au_index(unit) for unit in PROTOTYPES[emotion].core]
    peaks = []
    for level in (1, 2, 3):
        plays = [
            draw_performance(np.random.SeedSequence((level, k)), emotion, level, frames=75, talking=False)
            for k in range(12)
        ]
        peaks.append(np.mean([play.intensity_T18[:, core].max(0) for play in plays], axis=0))
    assert (peaks[0] > 0.7).all()
    assert (np.diff(peaks, axis=0) > 0.2).all()


def test_a_performance_keeps_its_limits_and_uses_every_unit(clips: list[ClipSpec]) -> None:
    strongest = np.zeros(len(ACTION_UNITS))
    for spec in clips[:200]:
        played = performance_of(spec)
        assert len(played) == spec.frames
        assert np.abs(played.angles_T3).max(0).tolist() <= [30, 20, 15]
        assert played.intensity_T218.min() >= 0 and played.intensity_T18.max() <= 5
        strongest = np.maximum(strongest, played.intensity_T18.max(0))
    assert (strongest > 1.5).all()


def test_a_mouth_that_talks_opens_several_times_a_second() -> None:
    jaw = au_index(26)
    talk, rest = (
        draw_performance(np.random.SeedSequence(3), "neutral", 1, frames=100, talking=talking).intensity_T18[:, jaw]
        for talking in (True, False)
    )
    turning_points = (np.diff(np.sign(np.diff(talk))) < 0).sum()
    assert 8 <= turning_points <= 26 and talk.max() > 1
    assert rest.max() == 0


def test_a_performance_of_one_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="frames=1"):
        draw_performance(np.random.SeedSequence(0), "happy", 1, frames=1)

"""Commands of the extraction of features, and what of them has no effect."""

from __future__ import annotations

import sys

import pytest

from jobs.config import from_json, to_json
from jobs.parts.command_line import Command, parse
from jobs.parts.feature_config import AudioConfig, ForeignConfig, VisionConfig
from jobs.parts.feature_run import extract_features
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.recipes.features import RECIPES
from models.audio_config import SpeechConfig, VggishConfig
from pipelines.audio import LogMelConfig


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str):
    monkeypatch.setattr(sys, "argv", ["extract_features.py", *arguments])
    return parse(RECIPES, default="log_mel", description="").config


def test_the_first_word_says_what_kind_of_feature_and_none_is_what_needs_no_weights(monkeypatch) -> None:
    assert command(monkeypatch) == AudioConfig("log_mel", encoder=LogMelConfig())
    assert command(monkeypatch).corpus == LabelledCorpusConfig("aff_wild2")
    found = command(monkeypatch, "vision", "--init-from", "runs/a", "--corpus.root", "/data", "--output", "scores")
    assert (found.init_from, found.corpus.root, found.output) == ("runs/a", "/data", "scores")
    found = command(monkeypatch, "hubert", "--encoder.weights", "w", "--encoder.layer", "9", "--recordings", "v")
    assert found.encoder == SpeechConfig("hubert", "w", 9) and found.recordings == "v"
    assert command(monkeypatch, "wav2vec2").encoder.architecture == "wav2vec2"
    assert command(monkeypatch, "vggish", "--encoder.hop-seconds", "0.96").encoder == VggishConfig(hop_seconds=0.96)
    assert command(monkeypatch, "foreign", "--folder", "f").folder == "f"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_config_survives_json(recipe: str) -> None:
    config = RECIPES[recipe]()
    assert config.recipe == recipe
    assert from_json(type(config), to_json(config)) == config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VisionConfig("x", LabelledCorpusConfig("aff_wild2", protocol="expr")), "protocol has no effect"),
        (lambda: VisionConfig("x", LabelledCorpusConfig("aff_wild2", "/d", annotations="/a")), "annotations has no"),
        (lambda: VisionConfig("x", output="scores", untrained=0), "untrained=0"),
        (lambda: AudioConfig("x", fps=0.0), "fps=0.0"),
        (lambda: ForeignConfig("x", fps=-25.0), "fps=-25.0"),
    ],
)
def test_what_has_no_effect_or_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("recipe", "option"),
    [
        ("vision", "--init-from RUN"),
        ("hubert", "--encoder.weights PATH"),
        ("vggish", "--encoder.weights PATH"),
        ("foreign", "--folder FOLDER"),
    ],
)
def test_what_only_the_user_has_is_asked_for_before_anything_is_started(recipe: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"give {option}"):
        extract_features(Command(RECIPES[recipe]()))
    RECIPES["log_mel"]().check_given()

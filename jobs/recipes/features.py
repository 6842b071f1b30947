"""Recipes of feature extraction: what is to be known of every frame of Aff-Wild2.

NetEase's nine sets of features (ABAW5, Table 8) are `vision` of a model fine-tuned on the task, with `hubert`,
`wav2vec2` and `vggish` beside it, or a foreign one; CtyunAI (ABAW6) takes `vision` of a model fine-tuned on expressions
alone.
Every recipe is run once for a corpus; heads put the stores side by side.
"""

from __future__ import annotations

from collections.abc import Callable

from jobs.parts.feature_config import AudioConfig, FeatureConfig, ForeignConfig, VisionConfig
from models.audio_config import SpeechConfig, VggishConfig


def log_mel() -> AudioConfig:
    """Log-mel bands of the sound around each frame: mean and deviation over 0.4 s, 128 numbers. Needs no weights.

    Cost: seconds for an hour of sound on one core, beside decoding it.
    `python jobs/extract_features.py --corpus.root ...`
    """
    return AudioConfig(recipe="log_mel")


def vision() -> VisionConfig:
    """What an image or video encoder makes of each frame. NetEase and CtyunAI: ViT-B/16, 768 numbers.

    Cost: one forward pass for each of the 2.8 million images.
    `python jobs/extract_features.py vision --init-from RUN --corpus.root ...`
    """
    return VisionConfig(recipe="vision")


def hubert() -> AudioConfig:
    """HuBERT's last layer (NetEase 3.2), with your weights: 768 numbers of a base model. Cost: 12 minutes
    for an hour of sound on one core.
    `python jobs/extract_features.py hubert --encoder.weights ~/hubert-base-ls960 --corpus.root ...`
    """
    return AudioConfig(recipe="hubert", encoder=SpeechConfig("hubert"))


def wav2vec2() -> AudioConfig:
    """wav2vec 2.0's last layer (NetEase 3.2), with your weights: 768 numbers of a base model. Cost: as hubert.
    `python jobs/extract_features.py wav2vec2 --encoder.weights ~/wav2vec2-base --corpus.root ...`"""
    return AudioConfig(recipe="wav2vec2", encoder=SpeechConfig("wav2vec2"))


def vggish() -> AudioConfig:
    """VGGish (NetEase 3.2), with your weights: 128 numbers over 0.96 s. Cost: 4 minutes for an hour of sound on one
    core. `python jobs/extract_features.py vggish --encoder.weights ~/vggish-10086976.pth --corpus.root ...`"""
    return AudioConfig(recipe="vggish", encoder=VggishConfig())


def foreign() -> ForeignConfig:
    """Tables of features that were computed elsewhere, .npy or Parquet, by frames or by times. Cost: reading them.
    `python jobs/extract_features.py foreign --folder ~/openface --corpus.root ...`"""
    return ForeignConfig(recipe="foreign")


RECIPES: dict[str, Callable[[], FeatureConfig]] = {
    recipe.__name__: recipe for recipe in (log_mel, vision, hubert, wav2vec2, vggish, foreign)
}

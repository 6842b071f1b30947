"""The configs of `jobs/extract_features.py`: one for each kind of feature. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import tyro

from jobs.parts.labelled_config import LabelledCorpusConfig
from models.audio_config import SpeechConfig, VggishConfig
from pipelines.audio import LogMelConfig

AudioEncoder = LogMelConfig | SpeechConfig | VggishConfig


@dataclass(frozen=True)
class FeatureConfig:
    """Features of every frame of the videos of a corpus."""

    JOB: ClassVar[str] = "extract_features"

    recipe: tyro.conf.Suppress[str]
    """Name of the recipe these values come from."""
    corpus: LabelledCorpusConfig = field(default_factory=lambda: LabelledCorpusConfig(name="aff_wild2"))
    """One that is kept frame by frame. Features are of all its frames, whatever protocol labels them."""

    def __post_init__(self) -> None:
        for name in ("protocol", "annotations"):
            if getattr(self.corpus, name) is not None:
                raise ValueError(f"corpus.{name} has no effect on features of frames; leave it out")

    def check_given(self) -> None:
        """Raises ValueError, naming the option, where something is to be given that a recipe cannot know."""


@dataclass(frozen=True)
class VisionConfig(FeatureConfig):
    """What a trained model makes of every frame."""

    init_from: str | None = None
    """Pre-trained or fine-tuned run, checkpoint or exported file."""
    output: Literal["features", "scores"] = "features"
    """features: what the head of a classifier reads; scores: what a fine-tuned model says, probabilities or values."""
    untrained: int | None = None
    """Seed of fresh weights of the same architecture that are taken instead, to compare with; None: the trained."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.untrained is not None and self.output == "scores":
            raise ValueError(f"untrained={self.untrained} makes scores that mean nothing; take output=features")

    def check_given(self) -> None:
        if self.init_from is None:
            raise ValueError("vision features need a model: give --init-from RUN")


@dataclass(frozen=True)
class RecordedConfig(FeatureConfig):
    """Features that belong to the recordings, of which the images of a video were cut."""

    recordings: str | None = None
    """Folder or s3://bucket/prefix of the video files, at any depth, named as the videos; a name without _left or
    _right serves both. None: videos/ below the root of the corpus."""
    fps: float | None = None
    """Frames a second of the videos whose recording has no pictures, or is not there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps={self.fps} must lie in 0 to 1000")


@dataclass(frozen=True)
class AudioConfig(RecordedConfig):
    """What is heard at every frame."""

    encoder: AudioEncoder = field(default_factory=LogMelConfig)

    def check_given(self) -> None:
        if not isinstance(self.encoder, LogMelConfig) and self.encoder.weights is None:
            raise ValueError(f"{self.recipe} needs your weights: give --encoder.weights PATH")


@dataclass(frozen=True)
class ForeignConfig(RecordedConfig):
    """Features that were computed elsewhere (pipelines/foreign_features.py tells the form of the tables). Recordings
    are needed where tables tell times instead of frames."""

    folder: str | None = None
    """Folder or s3://bucket/prefix of the tables, named as the videos or as the recordings."""

    def check_given(self) -> None:
        if self.folder is None:
            raise ValueError("foreign features need their tables: give --folder FOLDER")

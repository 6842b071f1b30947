"""What the synthetic corpora consist of. Importable without anything heavy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from pipelines.corpora.registry import ImageName

SYNTHETIC_VERSION = 1
"""Raised whenever the same config would give other pictures or other truth."""
FPS = 25
_FEWEST_SECONDS = 0.2

TwinName = Literal["dfew", "ferv39k", "mafw", "crema_d", "ravdess", "enterface05", "mfa", "cmu_mosei", "table"]
"""Labelled corpora that have a synthetic twin; MEAD's is MeadConfig. Their order is part of what is drawn."""
_MOST_CLIPS_PER_CLASS = {"ferv39k": 285, "crema_d": 216, "ravdess": 16, "enterface05": 35}
"""What official names have room for, in numbers of four digits or in the sentences of a fold's actors; else 999."""


@dataclass(frozen=True)
class SyntheticConfig:
    """A VoxCeleb2-like corpus of procedural faces; the default renders within a minute on two cores."""

    speakers_dev: int = 15
    speakers_test: int = 3
    clips_per_speaker: int = 4
    clips_per_video: int = 2
    """Clips that share light, background and clothes, as VoxCeleb2's utterances share a video."""
    min_seconds: float = 2.6
    max_seconds: float = 3.4
    size: int = 224
    """Height and width in pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("speakers_dev", "clips_per_speaker", "clips_per_video"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.speakers_test:
            raise ValueError(f"speakers_test={self.speakers_test} must not be negative")
        if self.speakers_dev + self.speakers_test > 99_999:
            raise ValueError(f"{self.speakers_dev} + {self.speakers_test} speakers do not fit idNNNNN; at most 99999")
        _check_clips(self, most_seconds=60)
        _check_picture(self, largest=1024)

    @property
    def fingerprint(self) -> str:
        """Identifies generator and config: equal fingerprints mean equal corpora. 16 hexadecimal digits."""
        return _fingerprint({"version": SYNTHETIC_VERSION, **asdict(self)})


@dataclass(frozen=True)
class MeadConfig:
    """A MEAD-like corpus of procedural faces: seven cameras film every take. The default renders within a minute on two
    cores."""

    actors: int = 6
    takes_per_actor: int = 4
    """Eight show every emotion once, 24 at all three levels (neutral three times at its only one)."""
    min_seconds: float = 1.3
    """The 16 frames of a clip at every second frame last 1.24 seconds."""
    max_seconds: float = 1.5
    size: int = 224
    """Height and width in pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, most in (("actors", 999), ("takes_per_actor", 999)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)} must lie in 1..{most}: names have three digits")
        _check_clips(self, most_seconds=10)
        _check_picture(self, largest=480)

    @property
    def fingerprint(self) -> str:
        """As SyntheticConfig's."""
        return _fingerprint({"layout": "mead", "version": SYNTHETIC_VERSION, **asdict(self)})


@dataclass(frozen=True)
class TwinConfig:
    """A miniature of a labelled corpus in its official layout, of procedural faces that fill the picture. The default
    renders within half a minute on one core, MAFW's 43 classes within one."""

    corpus: TwinName = "dfew"
    clips_per_class: int = 2
    """Of every class in every fold; where parts are fixed in the test set, with three or four times as many to train
    on."""
    seconds: float = 0.64
    """How long every clip lasts, at 25 frames a second."""
    size: int = 96
    """Height and width in pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.corpus not in get_args(TwinName):
            raise ValueError(f"corpus={self.corpus!r} has no twin; there are: {', '.join(get_args(TwinName))}")
        most = _MOST_CLIPS_PER_CLASS.get(self.corpus, 999)
        if not 1 <= self.clips_per_class <= most:
            raise ValueError(f"clips_per_class={self.clips_per_class} must lie in 1..{most} for {self.corpus}")
        if not _FEWEST_SECONDS <= self.seconds <= 60:
            raise ValueError(f"seconds={self.seconds} must lie in {_FEWEST_SECONDS}..60")
        _check_picture(self, largest=1024)

    @property
    def fingerprint(self) -> str:
        """As SyntheticConfig's."""
        return _fingerprint({"layout": "twin", "version": SYNTHETIC_VERSION, **asdict(self)})


@dataclass(frozen=True)
class ImageTwinConfig:
    """A miniature of a corpus of face images in its official layout, of procedural faces. The default renders within
    ten seconds on one core."""

    corpus: ImageName = "affectnet"
    images: int = 96
    """Eight of each person, of RAF-DB seven: one of each of its emotions. CASIA-WebFace has three bad files more."""
    size: int = 112
    """Height in pixels, and width but for CelebA, whose images are upright. FER2013 and FER+ have 48 pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.corpus not in get_args(ImageName):
            raise ValueError(f"corpus={self.corpus!r} has no images; there are: {', '.join(get_args(ImageName))}")
        if not 16 <= self.images <= 20_000:
            raise ValueError(f"images={self.images} must lie in 16..20000")
        if self.corpus in ("fer2013", "fer_plus") and self.size != type(self).size:
            raise ValueError(f"size={self.size} has no effect on {self.corpus}, whose images have 48 pixels; leave it")
        _check_picture(self, largest=480)

    @property
    def fingerprint(self) -> str:
        """As SyntheticConfig's."""
        return _fingerprint({"layout": "images", "version": SYNTHETIC_VERSION, **asdict(self)})


@dataclass(frozen=True)
class AffWild2Config:
    """A miniature of Aff-Wild2: videos of people who talk and change their expression, annotated frame by frame. The
    default renders within half a minute on two cores."""

    videos: int = 24
    """Each of another person. The last two are the halves of one recording."""
    seconds: float = 5.0
    """How long every video lasts, at 25 frames a second; about 1.7 of them for an expression."""
    size: int = 112
    """Height and width of the faces in pixels."""
    audio: Literal["emotional", "neutral"] = "emotional"
    """Whether the way people speak follows their expression, or is drawn without knowledge of it. Pictures and labels
    are the same."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 12 <= self.videos <= 999:
            raise ValueError(f"videos={self.videos} must lie in 12..999: fewer do not fill the parts and five folds")
        if not 2 <= self.seconds <= 600:
            raise ValueError(f"seconds={self.seconds} must lie in 2..600")
        if self.audio not in ("emotional", "neutral"):
            raise ValueError(f"audio={self.audio!r} must be emotional or neutral")
        _check_picture(self, largest=480)

    @property
    def fingerprint(self) -> str:
        """As SyntheticConfig's."""
        return _fingerprint({"layout": "aff_wild2", "version": SYNTHETIC_VERSION, **asdict(self)})


def _check_clips(config: SyntheticConfig | MeadConfig, *, most_seconds: float) -> None:
    if not _FEWEST_SECONDS <= config.min_seconds <= config.max_seconds <= most_seconds:
        raise ValueError(
            f"min_seconds={config.min_seconds}, max_seconds={config.max_seconds} must ascend and lie in "
            f"{_FEWEST_SECONDS}..{most_seconds}"
        )


def _check_picture(
    config: SyntheticConfig | MeadConfig | TwinConfig | ImageTwinConfig | AffWild2Config, *, largest: int
) -> None:
    if not 64 <= config.size <= largest or config.size % 2:
        raise ValueError(f"size={config.size} must be even and lie in 64..{largest}")
    if not 0 <= config.seed < 2**32:
        raise ValueError(f"seed={config.seed} must lie in [0, 2**32)")


def _fingerprint(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

"""What the synthetic corpora consist of. Importable without anything heavy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

SYNTHETIC_VERSION = 1
"""Raised whenever the same config would give other pictures or other truth."""
FPS = 25
_FEWEST_SECONDS = 0.2


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
        _check_clips(self, most_seconds=60, largest=1024)

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
        _check_clips(self, most_seconds=10, largest=480)

    @property
    def fingerprint(self) -> str:
        """As SyntheticConfig's."""
        return _fingerprint({"layout": "mead", "version": SYNTHETIC_VERSION, **asdict(self)})


def _check_clips(config: SyntheticConfig | MeadConfig, *, most_seconds: float, largest: int) -> None:
    if not _FEWEST_SECONDS <= config.min_seconds <= config.max_seconds <= most_seconds:
        raise ValueError(
            f"min_seconds={config.min_seconds}, max_seconds={config.max_seconds} must ascend and lie in "
            f"{_FEWEST_SECONDS}..{most_seconds}"
        )
    if not 64 <= config.size <= largest or config.size % 2:
        raise ValueError(f"size={config.size} must be even and lie in 64..{largest}")
    if not 0 <= config.seed < 2**32:
        raise ValueError(f"seed={config.seed} must lie in [0, 2**32)")


def _fingerprint(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

"""What a synthetic corpus consists of. Importable without anything heavy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

SYNTHETIC_VERSION = 1
"""Raised whenever the same config would give other pictures or other truth."""
FPS = 25


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
        if not 0.2 <= self.min_seconds <= self.max_seconds <= 60:
            raise ValueError(
                f"min_seconds={self.min_seconds}, max_seconds={self.max_seconds} must ascend and lie in 0.2..60"
            )
        if not 64 <= self.size <= 1024 or self.size % 2:
            raise ValueError(f"size={self.size} must be even and lie in 64..1024")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must lie in [0, 2**32)")

    @property
    def fingerprint(self) -> str:
        """Identifies generator and config: equal fingerprints mean equal corpora. 16 hexadecimal digits."""
        content = json.dumps({"version": SYNTHETIC_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

"""Configs of pre-trained encoders of sound, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Architecture = Literal["hubert", "wav2vec2"]


@dataclass(frozen=True)
class SpeechConfig:
    """HuBERT or wav2vec 2.0, with your weights."""

    architecture: Architecture = "hubert"
    weights: str | None = None
    """Local folder with config.json and model.safetensors, or pytorch_model.bin, as transformers saves models."""
    layer: int | None = None
    """Transformer layer whose states are taken, from 1 on, 0 for its input; None: the last, with its norm."""

    def __post_init__(self) -> None:
        if self.layer is not None and self.layer < 0:
            raise ValueError(f"layer={self.layer} must be at least 0")


@dataclass(frozen=True)
class VggishConfig:
    """VGGish, with your weights."""

    weights: str | None = None
    """Local .pth or .safetensors with the names of torchvggish."""
    hop_seconds: float = 0.24
    """From one window of 0.96 s to the next; 0.96: they do not overlap, as in VGGish's own code."""

    def __post_init__(self) -> None:
        if not 0.01 <= self.hop_seconds <= 0.96:
            raise ValueError(f"hop_seconds={self.hop_seconds} must lie in 0.01 to 0.96")

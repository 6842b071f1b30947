"""The config of `jobs/probe.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jobs.parts.labelled_config import LabelledCorpusConfig

Kind = Literal["linear", "knn", "attentive"]


@dataclass(frozen=True)
class ProbeJobConfig:
    """Which frozen encoders are asked what, on which labelled videos."""

    checkpoints: tuple[str, ...] = ()
    """Pre-trained or fine-tuned runs, checkpoints or exported files; the others are compared with the first."""
    random: bool = False
    """Also an encoder like the first with weights that were never trained."""
    units: bool = False
    """Also a small Transformer over action units and landmarks instead of pixels (models/au_sequence.py); needs
    annotations."""
    corpus: LabelledCorpusConfig = field(default_factory=LabelledCorpusConfig)
    probes: tuple[Kind, ...] = ("linear", "knn")
    """How features are read (models/probes.py)."""
    clips: int = 2
    """Uniformly spaced clips of each video, over which its features are averaged; equal ones are computed once."""
    stride: int | None = None
    """Distance between the frames of a clip; None: as each encoder was trained."""
    seeds: int = 1
    """Repetitions of what is trained here, seeds 0, 1, ...; features are the same for all."""
    output: str | None = None
    """Folder or s3://bucket/prefix of the result. None: probes/ in the home, under a name made of these values."""
    home: str | None = None
    """Local folder or s3://bucket/prefix below which corpora, catalogs and features are kept. None: $SEMBLANCE_HOME, or
    ~/semblance."""

    def __post_init__(self) -> None:
        for name in ("clips", "seeds", "stride"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        for name in ("checkpoints", "probes"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)} must be different from each other")
        if not self.checkpoints and not self.units:
            raise ValueError("nothing to probe: give --checkpoints RUN, or --units")
        if not self.checkpoints and (self.random or self.stride is not None):
            raise ValueError("random and stride have no effect without checkpoints; leave them out")
        if self.checkpoints and not self.probes:
            raise ValueError("probes=() reads nothing off the checkpoints; give at least one")

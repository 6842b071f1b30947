"""Which labelled corpus a job reads, as its config says. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.corpora.registry import LabelledName


@dataclass(frozen=True)
class LabelledCorpusConfig:
    """Which labelled videos, and what of them is predicted."""

    name: LabelledName = "crema_d"
    """How its files are named and labelled; table: your own videos, with labels.csv beside them
    (pipelines/corpora/table.py)."""
    root: str | None = None
    """Directory or s3://bucket/prefix of the corpus in its official layout. None: its synthetic twin, a miniature of
    procedural faces in that layout, rendered on first use."""
    protocol: str | None = None
    """One of the corpus's protocols (its module in pipelines/corpora lists them); None: the first."""
    clips_per_class: int = 2
    """Synthetic only: clips of each class in every fold, or in the test part; of MEAD half as many for each actor, of
    single images forty-eight times as many altogether, of Aff-Wild2 twelve times as many videos."""
    audio: Literal["emotional", "neutral"] = "emotional"
    """Synthetic aff_wild2 only: whether the way people speak follows their expression."""
    exclude: str | None = None
    """Text file of subjects or videos to leave out, one per line."""
    annotations: str | None = None
    """Address of the annotations, made by jobs/annotate_faces.py, for crops that follow the face. None: where that job
    puts them; those of a synthetic twin are made of its ground truth."""

    def __post_init__(self) -> None:
        if self.is_synthetic and (self.exclude or self.annotations):
            raise ValueError(
                "corpus.exclude and corpus.annotations have no effect on a synthetic twin; leave them, or give "
                f"--corpus.root of {self.name}"
            )
        if not self.is_synthetic and self.clips_per_class != type(self).clips_per_class:
            raise ValueError(f"corpus.clips_per_class={self.clips_per_class} has no effect with a root; leave it")
        if self.audio != type(self).audio and not (self.is_synthetic and self.name == "aff_wild2"):
            raise ValueError(f"corpus.audio={self.audio} has an effect on the synthetic aff_wild2 alone; leave it")

    @property
    def is_synthetic(self) -> bool:
        return self.root is None

    @property
    def title(self) -> str:
        """For results: a synthetic corpus says so."""
        return f"synthetic {self.name}" if self.is_synthetic else self.name

"""The part of a pre-training config that says how transfer is measured. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pipelines.corpora.registry import LabelledName


@dataclass(frozen=True)
class TransferConfig:
    """A linear probe on labelled videos while the encoder trains, as often as the held-out loss: a falling loss does
    not say that expressions can be read off the features. It changes nothing of what is learned."""

    corpus: LabelledName | None = None
    """Labelled corpus whose classes are predicted, as in jobs/finetune.py; None: transfer is not measured."""
    root: str | None = None
    """Directory or s3://bucket/prefix of that corpus. None: its synthetic twin, rendered on first use."""
    exclude: str | None = None
    """Text file of subjects or videos of that corpus to leave out, one per line."""
    protocol: str | None = None
    """One of its protocols that have classes; None: the first."""
    clips: int = 120
    """Videos, one clip of each, spread evenly over classes and subjects; of fewer all. They stay in memory, shared by
    the workers: 1.2 MB each at 16 frames of 160x160."""

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise ValueError(f"transfer.clips={self.clips} must be at least 1; transfer.corpus=None measures nothing")
        if self.corpus is None:
            changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
            if changed:
                raise ValueError(f"transfer.{changed[0]} has no effect without a corpus; name one by transfer.corpus")
        elif self.root is None and self.exclude is not None:
            raise ValueError("transfer.exclude has no effect on a synthetic twin; leave it, or give transfer.root")

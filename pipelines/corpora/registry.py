"""The corpora by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast, get_args

if TYPE_CHECKING:
    import pyarrow as pa

CorpusName = Literal["voxceleb2", "mead", "folder"]


class Labels(NamedTuple):
    """What the name of an object tells."""

    split: str
    subject: str
    """The person. Splits never share one."""
    video: str
    """The recording, of which there may be several clips."""


class Corpus(Protocol):
    """What the module of a corpus offers."""

    LAYOUT: str  # how the names look, for messages

    def parse(self, name: str) -> Labels | None:
        """Labels of an object by its name relative to the root; None where it is no video of the corpus."""
        ...

    def settle(self, table: pa.Table) -> pa.Table:
        """The table of all videos (columns uri, split, subject, video and others) with what only the whole decides.
        Raises ValueError for a corpus that must not be used."""
        ...


def find(name: str) -> Corpus:
    """Raises ValueError listing the names there are."""
    if name not in get_args(CorpusName):
        raise ValueError(f"there is no corpus {name!r}; there are: {', '.join(get_args(CorpusName))}")
    return cast(Corpus, importlib.import_module(f"pipelines.corpora.{name}"))


def check_disjoint(table: pa.Table) -> None:
    """Raises ValueError naming subjects that are in more than one split: what is measured on them would be memory."""
    splits = table.group_by("subject").aggregate([("split", "count_distinct")])
    shared = sorted(row["subject"] for row in splits.to_pylist() if row["split_count_distinct"] > 1)
    if shared:
        names = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        raise ValueError(f"{len(shared)} subjects are in more than one split: {names}; keep each person in one split")

"""The corpora by name."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast, get_args

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.labels import EvaluationProtocol
    from pipelines.storage import Storage

LabelledVideoName = Literal[
    "dfew", "ferv39k", "mafw", "crema_d", "ravdess", "enterface05", "mfa", "cmu_mosei", "mead", "table"
]
LabelledImageName = Literal["affectnet", "raf_db", "fer2013", "fer_plus"]
LabelledName = Literal[LabelledVideoName, LabelledImageName, "aff_wild2"]
ImageName = Literal["affectnet", "casia_webface", "celeba", "imdb_wiki", "raf_db", "fer2013", "fer_plus"]
"""Corpora of single images: each is a row of its own. They may lie in archives (READS_ARCHIVES in their modules)."""
CorpusName = Literal["voxceleb2", "folder", LabelledName, ImageName]


class Labels(NamedTuple):
    """What the name of an object tells."""

    split: str
    subject: str
    """The person. Splits never share one."""
    video: str
    """The recording, of which there may be several clips."""
    folder: str = ""
    """Where the object is one frame of a video that is kept as images: their folder, which then is the video's uri."""


class Labelled(NamedTuple):
    """A table of videos with its labels, and what these mean."""

    table: pa.Table
    protocols: tuple[EvaluationProtocol, ...]


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


class LabelledCorpus(Corpus, Protocol):
    """A corpus with something to predict, or with lists that tell its people and splits."""

    def label(self, table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
        """The settled table with its labels (pipelines.labels.with_labels), read from names and from the lists that
        come with the corpus, below the root `storage`. Subjects and splits that only these know are set too.
        `withdrawn` are uris that an exclusion list took out, which a list may go on naming.

        Raises ValueError for lists that are missing or contradict each other, the files or the layout.
        """
        ...


def find(name: str) -> Corpus:
    """Raises ValueError listing the names there are."""
    known = names(CorpusName)
    if name not in known:
        raise ValueError(f"there is no corpus {name!r}; there are: {', '.join(known)}")
    return cast(Corpus, importlib.import_module(f"pipelines.corpora.{name}"))


def find_labelled(name: str) -> LabelledCorpus | None:
    """The corpus where it has labels or lists of people, else None."""
    corpus = find(name)
    return cast(LabelledCorpus, corpus) if hasattr(corpus, "label") else None


def names(of: object) -> tuple[str, ...]:
    """The values of a Literal."""
    return get_args(of)


def check_disjoint(table: pa.Table) -> None:
    """Raises ValueError naming subjects that are in more than one split: what is measured on them would be memory."""
    splits = table.group_by("subject").aggregate([("split", "count_distinct")])
    shared = sorted(row["subject"] for row in splits.to_pylist() if row["split_count_distinct"] > 1)
    if shared:
        names = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        raise ValueError(f"{len(shared)} subjects are in more than one split: {names}; keep each person in one split")

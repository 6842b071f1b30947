"""Folders of small files, and what the reader of a corpus makes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType

from pipelines.corpora.registry import Labelled
from pipelines.labels import check_labels
from pipelines.storage import Storage
from tests.pipelines.listed_table import listed_table


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def touch(root: Path, *names: str) -> None:
    write(root, dict.fromkeys(names, ""))


def labelled(corpus: ModuleType, root: Path, *, without: Collection[str] = ()) -> Labelled:
    """The tree as a catalog is built from it; `without` are the uris or subjects of an exclusion list."""
    kept, withdrawn = [], set()
    for item in Storage(root).list():
        labels = corpus.parse(item.name)
        if labels and {labels.folder or item.name, labels.subject} & set(without):
            withdrawn.add(labels.folder or item.name)
        else:
            kept.append(item.name)
    found = corpus.label(corpus.settle(listed_table(corpus, kept)), Storage(root), withdrawn)
    check_labels(found.table, found.protocols)
    return found


def told(found: Labelled, protocol: str) -> dict[str, tuple[str, str]]:
    """The classes with a share, and the part, of each video that the protocol labels."""
    classes = next(known.classes for known in found.protocols if known.name == protocol)
    return {
        uri: ("+".join(name for name, share in zip(classes, target, strict=True) if share), part)
        for uri, (target, part) in _targets_and_parts(found, protocol).items()
    }


def targets(found: Labelled, protocol: str) -> dict[str, list[float]]:
    """The target of each video that the protocol labels, to six digits."""
    pairs = _targets_and_parts(found, protocol).items()
    return {uri: [round(share, 6) for share in target] for uri, (target, _) in pairs}


def _targets_and_parts(found: Labelled, protocol: str) -> dict[str, tuple[list[float], str]]:
    return {
        row["uri"]: (label["target"], label["part"])
        for row in found.table.to_pylist()
        for label in row["labels"]
        if label["protocol"] == protocol
    }

"""What is there of a corpus, by names alone: videos, folders of frames and images, those in archives among them, less
what an exclusion list names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archives import Member, expand
from pipelines.catalog import IMAGE, SCHEMA
from pipelines.corpora.registry import Corpus, Labelled, Labels, find, find_labelled
from pipelines.frame_folder import signature
from pipelines.label_columns import with_label_columns
from pipelines.labels import listed
from pipelines.still_image import is_still_image
from pipelines.storage import ObjectInfo, Storage

LISTED = ("uri", "kind", "size", "etag", "split", "subject", "video", "archive_offset", "archive_bytes")
LABELLED = ("labels", "attributes")
_ROWS = 10_000  # converted at once


@dataclass(frozen=True)
class Listing:
    """The videos of a corpus and what became of the other objects below its root."""

    table: pa.Table
    """Columns LISTED, by uri."""
    withdrawn: frozenset[str]
    """Uris of the videos that the exclusion list takes out."""
    ignored: int
    """Objects that are no videos of the corpus by their name."""
    unmatched: tuple[str, ...]
    """Entries of the exclusion list that match no video."""


def list_corpus(storage: Storage, rules: Corpus, exclusions: tuple[str, ...]) -> Listing:
    """Raises ArchiveError (a ValueError) for a damaged archive, ValueError for a name that is there twice, and as
    Storage does."""
    schema = pa.schema([SCHEMA.field(name) for name in LISTED])
    entries = frozenset(exclusions)
    matched: set[str] = set()
    withdrawn: set[str] = set()
    ignored = 0

    def objects() -> Iterator[tuple[ObjectInfo, Labels]]:
        nonlocal ignored
        found = storage.list()
        for item in expand(found, storage) if getattr(rules, "READS_ARCHIVES", False) else found:
            labels = rules.parse(item.name)
            if labels is None:
                ignored += 1
            else:
                yield item, labels

    def rows() -> Iterator[tuple]:
        for (uri, kind, size, etag, *place), (split, subject, video, _) in _samples(objects()):
            if found := entries & {uri, subject, f"{subject}/{video}"}:
                withdrawn.add(uri)
                matched.update(found)
            else:
                yield uri, kind, size, etag, split, subject, video, *place

    remaining, batches = rows(), []
    while chunk := list(islice(remaining, _ROWS)):
        batches.append(pa.record_batch(list(map(list, zip(*chunk, strict=True))), schema=schema))
    table = pa.Table.from_batches(batches, schema).sort_by("uri")
    _check_names(table["uri"].combine_chunks(), storage)
    return Listing(table, frozenset(withdrawn), ignored, tuple(sorted(entries - matched)))


def settle(corpus: str, listing: Listing, storage: Storage) -> tuple[Labelled, Listing]:
    """The listing with what only the whole decides, its labels among them; and without people whom the exclusion list
    names and only the lists of the corpus know."""
    settled, labelled = find(corpus).settle(listing.table), find_labelled(corpus)
    if labelled is None:
        return Labelled(with_label_columns(settled), ()), listing
    found = labelled.label(settled, storage, listing.withdrawn)
    people = pc.is_in(found.table["subject"], value_set=pa.array(listing.unmatched, pa.string()))
    withdrawn = found.table.filter(people)
    if not withdrawn.num_rows:
        return found, listing
    uris = withdrawn["uri"].combine_chunks()
    listing = replace(
        listing,
        table=listing.table.filter(pc.invert(pc.is_in(listing.table["uri"], value_set=uris))),
        withdrawn=listing.withdrawn | set(uris.to_pylist()),
        unmatched=tuple(sorted(set(listing.unmatched) - set(withdrawn["subject"].to_pylist()))),
    )
    return settle(corpus, listing, storage)


def _samples(objects: Iterable[tuple[ObjectInfo, Labels]]) -> Iterator[tuple[tuple, Labels]]:
    """Uri, kind, size, etag and place in an archive of each video, and what its name tells. The images of a folder are
    one; they follow each other, for a listing ascends."""
    for folder, group in groupby(objects, key=lambda pair: pair[1].folder):
        if folder:
            items, labels = zip(*group, strict=True)
            if isinstance(items[0], Member):
                raise ValueError(f"{folder} is a video in an archive, which only images may lie in; unpack it")
            yield (folder, "frames", sum(item.size for item in items), signature(items), -1, 0), labels[0]
            continue
        for item, labels in group:
            kind = IMAGE if is_still_image(item.name) else "video"
            place = (item.offset, item.stored_bytes) if isinstance(item, Member) else (-1, 0)
            if kind != IMAGE and isinstance(item, Member):
                raise ValueError(f"{item.name} is a video in an archive, which only images may lie in; unpack it")
            yield (item.name, kind, item.size, item.etag, *place), labels


def _check_names(uri: pa.Array, storage: Storage) -> None:
    """An archive may hold a name twice."""
    if len(uri) > 1:
        repeated = pc.equal(uri[1:], uri[:-1])
        if pc.any(repeated).as_py():
            names = listed(uri[1:].filter(repeated).to_pylist())
            raise ValueError(f"{storage.uri} holds more than one file named {names}; pack the archive anew")

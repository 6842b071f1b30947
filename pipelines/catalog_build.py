"""Building a catalog: list the objects, take over what is known, decode the rest on all CPUs.

Known rows are those of a previous catalog whose uri, size and entity tag are unchanged, so that a corpus that grows by
a day of recordings costs the decoding of a day. Videos of people who withdrew are named in an exclusion list: they
lose their rows, and the list becomes part of the fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.catalog import OK, SCHEMA, Catalog, make_catalog
from pipelines.corpora.registry import Corpus, Labelled, Labels, find, find_labelled
from pipelines.frame_folder import probe_folder, signature
from pipelines.labels import with_labels
from pipelines.probe import Limits, probe
from pipelines.progress import progress
from pipelines.quarantine import Reason, SampleError, short_detail
from pipelines.storage import (
    AccessDenied,
    ObjectInfo,
    ObjectMissing,
    Storage,
    StorageError,
    StorageUnavailable,
    content_digest,
)

_LISTED = ("uri", "kind", "size", "etag", "split", "subject", "video")
_LABELLED = ("labels", "attributes")
_PROBED = ("digest", "width", "height", "fps", "frames", "seconds", "status", "detail")
_LISTING_ROWS = 10_000  # rows converted at once while listing
_LARGEST_BLOCK = 256  # videos of one task: some ten seconds of decoding
_TASKS_PER_CPU = 4  # at least, while there are videos enough, so that no CPU waits for the last task
_NOT_REUSED = (Reason.missing, Reason.changed, Reason.timeout)  # may be different the next time
_UNREAD = {"digest": "", "width": 0, "height": 0, "fps": 0.0, "frames": 0, "seconds": 0.0, "status": OK, "detail": ""}


@dataclass(frozen=True)
class Built:
    """A catalog and what building it took."""

    catalog: Catalog
    probed: int
    reused: int
    excluded: int
    """Videos without a row because of the exclusion list."""
    ignored: int
    """Objects that are no videos of the corpus by their name."""
    unmatched_exclusions: tuple[str, ...]


def read_exclusions(text: str) -> tuple[str, ...]:
    """One subject, subject/video or uri per line; what follows # is a comment."""
    entries = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return tuple(sorted({entry for entry in entries if entry}))


def build(
    corpus: str, root: str, *, previous: Catalog | None = None, exclusions: Iterable[str] = (), cpus: float = 1.0
) -> Built:
    """The catalog of the corpus at `root`, a local folder or s3://bucket/prefix. Ray must be running.

    `cpus` are reserved for each decoding task; less than one lets tasks wait for a remote store side by side.
    Raises ValueError where there is no video or the corpus must not be used, StorageError where it cannot be read.
    """
    storage, rules, entries = Storage(root), find(corpus), tuple(sorted(set(exclusions)))
    listing = _list(storage, rules, entries)
    if not listing.table.num_rows and not listing.withdrawn:
        raise ValueError(f"no video in {storage.uri}: names like {rules.LAYOUT} are expected below it")
    (listed, protocols), listing = _settle(corpus, listing, storage)
    reused = _reuse(listed, previous)
    positions = np.setdiff1d(np.arange(listed.num_rows), reused["position"].to_numpy())
    pending = listed.select(["uri", "kind", "size"]).take(pa.array(positions))
    pending = pending.append_column("position", pa.array(positions))
    probed = pa.concat_tables([reused, *_probe_all(pending, storage, cpus=cpus)]).sort_by("position")
    if not np.array_equal(probed["position"].to_numpy(), np.arange(listed.num_rows)):
        raise RuntimeError(f"{listed.num_rows} videos were listed, {probed.num_rows} came back from probing")
    columns = {name: listed[name] for name in _LISTED + _LABELLED} | {name: probed[name] for name in _PROBED}
    columns["sample_id"] = pa.array(np.arange(listed.num_rows))
    table = pa.table({name: columns[name] for name in SCHEMA.names})
    catalog = make_catalog(table, corpus=corpus, root=storage.uri, exclusions=entries, protocols=protocols)
    counts = len(positions), reused.num_rows, len(listing.withdrawn), listing.ignored
    return Built(catalog, *counts, listing.unmatched)


@dataclass(frozen=True)
class _Listing:
    table: pa.Table
    withdrawn: frozenset[str]
    """Uris of the videos that the exclusion list takes out."""
    ignored: int
    unmatched: tuple[str, ...]


class _Sample(NamedTuple):
    """A file, or a folder of images, and what its name tells."""

    uri: str
    kind: str
    size: int
    etag: str
    labels: Labels


def _list(storage: Storage, rules: Corpus, exclusions: tuple[str, ...]) -> _Listing:
    schema = pa.schema([SCHEMA.field(name) for name in _LISTED])
    entries = frozenset(exclusions)
    matched: set[str] = set()
    withdrawn: set[str] = set()
    ignored = 0

    def objects() -> Iterator[tuple[ObjectInfo, Labels]]:
        nonlocal ignored
        for item in storage.list():
            labels = rules.parse(item.name)
            if labels is None:
                ignored += 1
            else:
                yield item, labels

    def rows() -> Iterator[tuple]:
        for sample in _samples(objects()):
            split, subject, video, _ = sample.labels
            if found := entries & {sample.uri, subject, f"{subject}/{video}"}:
                withdrawn.add(sample.uri)
                matched.update(found)
            else:
                yield *sample[:4], split, subject, video

    remaining, batches = rows(), []
    while chunk := list(islice(remaining, _LISTING_ROWS)):
        batches.append(pa.record_batch(list(map(list, zip(*chunk, strict=True))), schema=schema))
    table = pa.Table.from_batches(batches, schema).sort_by("uri")
    return _Listing(table, frozenset(withdrawn), ignored, tuple(sorted(entries - matched)))


def _samples(objects: Iterable[tuple[ObjectInfo, Labels]]) -> Iterator[_Sample]:
    """The images of a folder as one; they follow each other, for a listing ascends."""
    for (folder, name), group in groupby(objects, key=lambda pair: (pair[1].folder, pair[1].folder or pair[0].name)):
        items, labels = zip(*group, strict=True)
        if folder:
            size = sum(item.size for item in items)
            yield _Sample(folder, "frames", size, signature(items), labels[0])
        else:
            yield _Sample(name, "video", items[0].size, items[0].etag, labels[0])


def _settle(corpus: str, listing: _Listing, storage: Storage) -> tuple[Labelled, _Listing]:
    """The listing with what only the whole decides, its labels among them; and without people whom the exclusion list
    names and only the lists of the corpus know."""
    settled, labelled = find(corpus).settle(listing.table), find_labelled(corpus)
    if labelled is None:
        return Labelled(with_labels(settled, [()] * settled.num_rows), ()), listing
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
    return _settle(corpus, listing, storage)


def _reuse(listed: pa.Table, previous: Catalog | None) -> pa.Table:
    """Probed columns of the listed videos that `previous` knows, with their position in the listing."""
    if previous is None:
        return _probed_schema().empty_table()
    known = previous.table.filter(pc.invert(pc.is_in(previous.table["status"], value_set=pa.array(list(_NOT_REUSED)))))
    row = pc.index_in(listed["uri"], value_set=known["uri"].combine_chunks()).combine_chunks()
    is_same = pc.not_equal(listed["etag"], "")  # there is none where a link pointed at nothing
    for name in ("size", "etag"):
        is_same = pc.and_kleene(is_same, pc.equal(listed[name], known[name].combine_chunks().take(row)))
    positions = np.flatnonzero(pc.fill_null(is_same, False).to_numpy())
    reused = known.select(_PROBED).take(row.take(pa.array(positions)))
    return reused.append_column("position", pa.array(positions)).cast(_probed_schema())


def _probed_schema() -> pa.Schema:
    return pa.schema([SCHEMA.field(name) for name in _PROBED] + [pa.field("position", pa.int64(), nullable=False)])


def _probe_all(pending: pa.Table, storage: Storage, *, cpus: float) -> list[pa.Table]:
    if not pending.num_rows:
        return []
    import ray.data

    # A table is one block and a block one task: uncut, one CPU would do it all.
    tasks = max(1, int(_TASKS_PER_CPU * ray.cluster_resources().get("CPU", 1) / cpus))
    rows = max(1, min(_LARGEST_BLOCK, pending.num_rows // tasks))
    blocks = [pending.slice(start, rows) for start in range(0, pending.num_rows, rows)]
    dataset = ray.data.from_arrow(blocks).map_batches(
        probe_block, batch_size=None, batch_format="pyarrow", num_cpus=cpus, fn_kwargs={"storage": storage}
    )
    dataset.context.enable_progress_bars = False  # ours counts videos instead of blocks
    found = []
    with progress("probing", pending.num_rows) as advance:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            _raise_failure(table)
            found.append(table.cast(_probed_schema()))
            advance(table.num_rows)
    return found


def probe_block(block: pa.Table, storage: Storage) -> pa.Table:
    """Runs in a worker: probed columns for a block with the columns uri, kind, size and position.

    Where the store fails, the table ends with a row that has the name of the error as status. An exception would reach
    the driver as one of Ray's, without its type.
    """
    rows = []
    for video in block.to_pylist():
        try:
            rows.append(_probe_one(storage, video))
        except StorageError as error:
            rows.append(_UNREAD | {"status": type(error).__name__, "detail": str(error)})
            break
    table = pa.Table.from_pylist(rows, schema=pa.schema([SCHEMA.field(name) for name in _PROBED]))
    return table.append_column("position", block["position"].slice(0, len(rows)))


def _raise_failure(table: pa.Table) -> None:
    last = table.slice(table.num_rows - 1).to_pylist()[0]
    for error in (AccessDenied, StorageUnavailable, StorageError):
        if last["status"] == error.__name__:
            raise error(last["detail"])


def _probe_one(storage: Storage, video: dict[str, Any]) -> dict[str, Any]:
    row = dict(_UNREAD)
    try:
        if video["size"] > Limits().bytes:
            raise SampleError(Reason.too_large, f"{video['size']} bytes, the limit is {Limits().bytes}")
        if video["kind"] == "frames":
            info, row["digest"] = probe_folder(storage, video["uri"])
        else:
            data = storage.read(video["uri"])
            if len(data) != video["size"]:
                raise SampleError(Reason.changed, f"{video['size']} bytes when listed, {len(data)} when read")
            row["digest"] = content_digest(data)
            info = probe(data)
        row |= {name: getattr(info, name) for name in ("width", "height", "fps", "frames", "seconds")}
    except ObjectMissing as error:
        row |= {"status": Reason.missing.value, "detail": short_detail(str(error))}
    except SampleError as error:
        row |= {"status": error.reason.value, "detail": short_detail(error.detail)}
    return row

"""The catalog of a corpus: one row per video, and everything that is known about it without opening it again.

All that comes later starts from this table: no folder is walked and no header is trusted at training time. Rows are
sorted by uri and numbered 0, 1, 2, ...; unusable videos keep their row, with the reason as status. The fingerprint is
a hash of what the rows say and of what was excluded. It does not depend on where the videos or the table are kept, so a
corpus that is moved keeps it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.labels import ATTRIBUTES_TYPE, LABELS_TYPE, EvaluationProtocol, check_labels
from pipelines.quarantine import Reason
from pipelines.storage import Storage

OK = "ok"
KINDS = ("video", "frames")
UNLABELLED = {"kind": "video", "labels": [], "attributes": []}
"""Values of a video file of a corpus without labels."""

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in {
            "sample_id": pa.int64(),
            "uri": pa.string(),  # relative to the root of the corpus
            "kind": pa.string(),  # "video": a file; "frames": a folder of images
            "size": pa.int64(),  # bytes
            "etag": pa.string(),  # of the store; locally the time of modification
            "digest": pa.string(),  # of the bytes (storage.content_digest); empty where they were not read
            "split": pa.string(),
            "subject": pa.string(),
            "video": pa.string(),
            "width": pa.int32(),  # of the upright frame
            "height": pa.int32(),
            "fps": pa.float64(),  # mean
            "frames": pa.int32(),  # as decoded
            "seconds": pa.float64(),
            "status": pa.string(),  # "ok" or a Reason
            "detail": pa.string(),
            "labels": LABELS_TYPE,
            "attributes": ATTRIBUTES_TYPE,
        }.items()
    ]
)

_VERSION = 2
_METADATA_KEY = b"semblance.catalog"
_NOT_IN_FINGERPRINT = ("etag", "detail")  # they differ between stores and library versions
_UNSAFE_URI = r"(^|/)\.{0,2}(/|$)|\\|://|\x00"


@dataclass(frozen=True)
class Catalog:
    """A validated table and what it is of."""

    table: pa.Table
    fingerprint: str
    corpus: str
    root: str
    """Local folder or s3://bucket/prefix that the uris are relative to."""
    exclusions: tuple[str, ...] = ()
    protocols: tuple[EvaluationProtocol, ...] = ()
    """What the labels mean; none where a corpus has no labels."""

    def protocol(self, name: str) -> EvaluationProtocol:
        """Raises ValueError listing the protocols there are."""
        found = {protocol.name: protocol for protocol in self.protocols}
        if name not in found:
            there = f"it has {', '.join(found)}" if found else "it has no labels"
            raise ValueError(f"the corpus {self.corpus} has no protocol {name!r}; {there}")
        return found[name]

    def subjects(self, split: str) -> list[str]:
        """The people in the usable videos of a split, sorted."""
        chosen = pc.and_(pc.equal(self.table["split"], split), pc.equal(self.table["status"], OK))
        return sorted(pc.unique(self.table["subject"].filter(chosen)).to_pylist())

    @property
    def storage(self) -> Storage:
        """Where the videos are."""
        return Storage(self.root)

    def counts(self) -> dict[str, int]:
        """Rows by status, "ok" first, then by how many."""
        counted = sorted(pc.value_counts(self.table["status"]).to_pylist(), key=lambda c: (-c["counts"], c["values"]))
        return {OK: 0} | {c["values"]: c["counts"] for c in counted}


def make_catalog(
    table: pa.Table,
    *,
    corpus: str,
    root: str,
    exclusions: tuple[str, ...] = (),
    protocols: tuple[EvaluationProtocol, ...] = (),
) -> Catalog:
    """A catalog of rows in the form of SCHEMA. Raises ValueError, naming the row, for one that breaks a rule."""
    _validate(table)
    table = table.select(SCHEMA.names).cast(SCHEMA).combine_chunks()
    check_labels(table, protocols)
    fingerprint = _fingerprint(table, corpus, exclusions, protocols)
    return Catalog(table, fingerprint, corpus, root, exclusions, protocols)


def save(catalog: Catalog, uri: str) -> None:
    """Writes a catalog as one Parquet file, atomically."""
    metadata = {
        "version": _VERSION,
        "corpus": catalog.corpus,
        "root": catalog.root,
        "exclusions": catalog.exclusions,
        "protocols": [asdict(protocol) for protocol in catalog.protocols],
        "fingerprint": catalog.fingerprint,
    }
    table = catalog.table.replace_schema_metadata({_METADATA_KEY: json.dumps(metadata)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    storage, name = _locate(uri)
    storage.write(name, sink.getvalue().to_pybytes())


def load(uri: str, *, root: str | None = None) -> Catalog:
    """Reads a catalog; `root` says where the videos are now, if they were moved.

    Raises ValueError for a file that is no catalog, is damaged or breaks a rule, and StorageError.
    """
    storage, name = _locate(uri)
    data = storage.read(name)
    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{uri} is no Parquet file: {error}") from None
    metadata = _metadata(table, uri)
    try:
        catalog = make_catalog(
            table.replace_schema_metadata(None),
            corpus=metadata["corpus"],
            root=root or metadata["root"],
            exclusions=tuple(metadata["exclusions"]),
            protocols=tuple(_protocol(values) for values in metadata["protocols"]),
        )
    except ValueError as error:
        raise ValueError(f"catalog {uri}: {error}") from None
    if catalog.fingerprint != metadata["fingerprint"]:
        raise ValueError(f"catalog {uri} was changed after it was built: its rows do not match its fingerprint")
    return catalog


def _locate(uri: str) -> tuple[Storage, str]:
    if "://" not in uri:
        uri = os.path.abspath(os.path.expanduser(uri))
    folder, _, name = uri.rpartition("/")
    return Storage(folder or "/"), name


def _metadata(table: pa.Table, uri: str) -> dict[str, Any]:
    text = (table.schema.metadata or {}).get(_METADATA_KEY)
    if text is None:
        raise ValueError(f"{uri} is a Parquet file but no catalog; build one with jobs/build_catalog.py")
    metadata = json.loads(text)
    if metadata.get("version") != _VERSION:
        raise ValueError(f"catalog {uri} has version {metadata.get('version')}, this is {_VERSION}; build it again")
    return metadata


def _protocol(values: dict[str, Any]) -> EvaluationProtocol:
    return EvaluationProtocol(**{**values, "classes": tuple(values["classes"])})


def _fingerprint(
    table: pa.Table, corpus: str, exclusions: tuple[str, ...], protocols: tuple[EvaluationProtocol, ...]
) -> str:
    """SHA-256 over the columns, each as its values in a fixed form."""
    meanings = [asdict(protocol) for protocol in protocols]
    sha = hashlib.sha256(json.dumps([_VERSION, corpus, sorted(exclusions), meanings]).encode())
    for field in table.schema:
        if field.name in _NOT_IN_FINGERPRINT:
            continue
        sha.update(f"\n{field.name}\n".encode())
        column = table[field.name]
        if pa.types.is_string(field.type):
            sha.update(pc.binary_length(column).to_numpy().astype("<i4").tobytes())
            for chunk in column.to_pylist():
                sha.update(chunk.encode())
        elif pa.types.is_list(field.type):
            if protocols:
                sha.update(json.dumps(column.to_pylist()).encode())
        else:
            numbers = column.to_numpy()
            sha.update(numbers.astype("<f8" if np.issubdtype(numbers.dtype, np.floating) else "<i8").tobytes())
    return sha.hexdigest()


def _validate(table: pa.Table) -> None:
    found = {field.name: field.type for field in table.schema}
    wanted = {field.name: field.type for field in SCHEMA}
    if found != wanted:
        wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise ValueError(f"columns {wrong} are missing, unknown or of another type; a catalog has {SCHEMA.names}")
    nulls = [name for name in SCHEMA.names if table[name].null_count]
    if nulls:
        raise ValueError(f"columns {nulls} have empty cells")
    if not np.array_equal(table["sample_id"].to_numpy(), np.arange(table.num_rows)):
        raise ValueError("sample_id must count the rows: 0, 1, 2, ...")
    uri = table["uri"].combine_chunks()
    if table.num_rows > 1 and not pc.all(pc.greater(uri[1:], uri[:-1])).as_py():
        raise ValueError("uri must ascend without repeats")
    is_ok = pc.equal(table["status"], OK)
    known = pa.array([OK, *Reason])
    _refuse(table, pc.match_substring_regex(table["uri"], _UNSAFE_URI), "has a uri that may leave the root")
    _refuse(table, pc.invert(pc.is_in(table["kind"], value_set=pa.array(KINDS))), f"has a kind that is none of {KINDS}")
    _refuse(table, pc.invert(pc.is_in(table["status"], value_set=known)), "has an unknown status")
    _refuse(table, pc.and_(is_ok, pc.less(table["frames"], 2)), "is ok with fewer than two frames")
    rate = pc.and_(pc.is_finite(table["fps"]), pc.greater(table["fps"], 0))
    _refuse(table, pc.and_(is_ok, pc.invert(rate)), "is ok without a frame rate")
    for name in ("size", "width", "height"):
        _refuse(table, pc.and_(is_ok, pc.less_equal(table[name], 0)), f"is ok without a {name}")


def _refuse(table: pa.Table, is_wrong: pa.ChunkedArray, problem: str) -> None:
    if pc.any(is_wrong).as_py():
        row = table.filter(is_wrong).slice(0, 1).to_pylist()[0]
        raise ValueError(f"row {row['sample_id']} ({row['uri']!r}) {problem}")

"""The catalog of a corpus: one row per video, and everything that is known about it without opening it again.

All that comes later starts from this table: no folder is walked and no header is trusted at training time. Rows are
sorted by uri and numbered 0, 1, 2, ...; unusable videos keep their row, with the reason as status. The fingerprint is
a hash of what the rows say, of what was excluded and of how images were cleaned. It does not depend on where the videos
or the table are kept, nor on where in an archive, so a corpus that is moved keeps it.

An image is a video of one frame, which takes no time; its frame rate is nominal. It may lie in an archive, whose name
then is part of its uri (pipelines.archives). A union of corpora (pipelines.catalog_union) is a catalog too: its uris
begin with the name of a corpus.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.catalog_fingerprint import fingerprint as hash_of
from pipelines.image_cleaning import CleaningConfig
from pipelines.joined_storage import JoinedStorage
from pipelines.labels import ATTRIBUTES_TYPE, LABELS_TYPE, EvaluationProtocol, check_labels
from pipelines.parquet import read_table
from pipelines.quarantine import Reason
from pipelines.storage import Storage

OK = "ok"
IMAGE = "image"
KINDS = ("video", "frames", IMAGE)
UNLABELLED = {"kind": "video", "archive_offset": -1, "archive_bytes": 0, "labels": [], "attributes": []}
"""Values of a video file of a corpus without labels."""

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in {
            "sample_id": pa.int64(),
            "uri": pa.string(),  # relative to the root of the corpus
            "kind": pa.string(),  # "video": a file; "frames": a folder of images; "image": one
            "size": pa.int64(),  # bytes
            "etag": pa.string(),  # of the store; locally the time of modification
            "digest": pa.string(),  # of the bytes, of an image of its pixels; empty where they were not read
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
            "archive_offset": pa.int64(),  # where in its archive a member begins; -1: an object of its own
            "archive_bytes": pa.int64(),  # and how far it goes; 0: an object of its own
        }.items()
    ]
)

_VERSION = 3
_METADATA_KEY = b"semblance.catalog"
# They differ between stores, library versions and archives that are packed anew.
_NOT_IN_FINGERPRINT = ("etag", "detail", "archive_offset", "archive_bytes")
_IN_ARCHIVE = r"(?i)\.(zip|tar)/"
_UNSAFE_URI = r"(^|/)\.{0,2}(/|$)|\\|://|\x00"


@dataclass(frozen=True)
class Catalog:
    """A validated table and what it is of."""

    table: pa.Table
    fingerprint: str
    corpus: str
    root: str
    """Local folder or s3://bucket/prefix that the uris are relative to; "" for a union."""
    exclusions: tuple[str, ...] = ()
    protocols: tuple[EvaluationProtocol, ...] = ()
    """What the labels mean; none where a corpus has no labels."""
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    """How the images of the corpus were judged."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """Of a union: the root of each corpus by its name, with which uris begin."""

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
    def storage(self) -> Storage | JoinedStorage:
        """Where the videos are."""
        return JoinedStorage(self.roots) if self.roots else Storage(self.root)

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
    cleaning: CleaningConfig | None = None,
    roots: Mapping[str, str] | None = None,
) -> Catalog:
    """A catalog of rows in the form of SCHEMA. Raises ValueError, naming the row, for one that breaks a rule."""
    _validate(table)
    table = table.select(SCHEMA.names).cast(SCHEMA).combine_chunks()
    check_labels(table, protocols)
    cleaning = cleaning or CleaningConfig()
    settings = [corpus, sorted(exclusions), [asdict(protocol) for protocol in protocols]]
    settings += [asdict(cleaning)] if cleaning.is_on else []
    fingerprint = hash_of(table, settings, leave_out=_NOT_IN_FINGERPRINT, with_labels=bool(protocols))
    return Catalog(table, fingerprint, corpus, root, exclusions, protocols, cleaning, roots or {})


def save(catalog: Catalog, uri: str) -> None:
    """Writes a catalog as one Parquet file, atomically."""
    metadata = {
        "version": _VERSION,
        "corpus": catalog.corpus,
        "root": catalog.root,
        "exclusions": catalog.exclusions,
        "protocols": [asdict(protocol) for protocol in catalog.protocols],
        "cleaning": asdict(catalog.cleaning),
        "roots": dict(catalog.roots),
        "fingerprint": catalog.fingerprint,
    }
    table = catalog.table.replace_schema_metadata({_METADATA_KEY: json.dumps(metadata)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    storage, name = _locate(uri)
    storage.write(name, sink.getvalue().to_pybytes())


def load(uri: str, *, root: str | None = None) -> Catalog:
    """Reads a catalog; `root` says where the videos are now, if they were moved.

    Raises ValueError for a file that is no catalog, is damaged or breaks a rule, and for the root of a union, which has
    several; and StorageError.
    """
    storage, name = _locate(uri)
    data = storage.read(name)
    table = read_table(data, name=uri)
    metadata = _metadata(table, uri)
    if root and metadata["roots"]:
        raise ValueError(f"root={root!r}: catalog {uri} is a union; load its corpora with their roots and unite them")
    try:
        catalog = make_catalog(
            table.replace_schema_metadata(None),
            corpus=metadata["corpus"],
            root=root or metadata["root"],
            exclusions=tuple(metadata["exclusions"]),
            protocols=tuple(_protocol(values) for values in metadata["protocols"]),
            cleaning=CleaningConfig(**metadata["cleaning"]),
            roots=metadata["roots"],
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
    is_image = pc.equal(table["kind"], IMAGE)
    fewer, one = pc.less(table["frames"], 2), pc.equal(table["frames"], 1)
    _refuse(table, pc.and_(is_ok, pc.and_not(fewer, is_image)), "is ok with fewer than two frames")
    _refuse(table, pc.and_(is_ok, pc.and_not(is_image, one)), "is an image and ok, but not with one frame")
    alone = pc.and_(pc.equal(table["archive_offset"], -1), pc.equal(table["archive_bytes"], 0))
    placed = pc.and_(pc.greater_equal(table["archive_offset"], 0), pc.greater_equal(table["archive_bytes"], 0))
    packed = pc.and_(pc.match_substring_regex(table["uri"], _IN_ARCHIVE), pc.and_(is_image, placed))
    _refuse(table, pc.invert(pc.or_(packed, alone)), "has a place in an archive that cannot be")
    rate = pc.and_(pc.is_finite(table["fps"]), pc.greater(table["fps"], 0))
    _refuse(table, pc.and_(is_ok, pc.invert(rate)), "is ok without a frame rate")
    for name in ("size", "width", "height"):
        _refuse(table, pc.and_(is_ok, pc.less_equal(table[name], 0)), f"is ok without a {name}")


def _refuse(table: pa.Table, is_wrong: pa.ChunkedArray, problem: str) -> None:
    if pc.any(is_wrong).as_py():
        row = table.filter(is_wrong).slice(0, 1).to_pylist()[0]
        raise ValueError(f"row {row['sample_id']} ({row['uri']!r}) {problem}")

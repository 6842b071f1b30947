"""The annotations of a catalog: the faces of every usable video, in shards beside the catalog, each read by itself.

    claim.json             what is annotated and how; written first
    parts/NNNNN.parquet    faces before they are scored; gone when all is done
    shards/NNNNN.parquet   some 256 videos each, in the order of the catalog (pipelines.track_file)
    baselines.parquet      the neutral face of every subject and view
    videos.parquet         one row per usable video: what became of it and where its faces are
    manifest.json          fingerprint, versions and settings; written last: complete

The fingerprint is a hash of what was found in which video. It does not depend on shards, compression or place.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.catalog import OK, Catalog
from pipelines.face_tracks import FaceTrack
from pipelines.parquet import read_table
from pipelines.storage import ObjectMissing, Storage
from pipelines.track_file import VideoFaces, digest, footer_bytes, group_range, read_footer, read_group, write_file

MANIFEST_FILE, INDEX_FILE, SHARDS = "manifest.json", "videos.parquet", "shards"
INDEX = pa.schema(
    [
        ("uri", pa.string()),  # as in the catalog
        ("subject", pa.string()),
        ("view", pa.string()),  # empty for a corpus without views
        ("frames", pa.int32()),
        ("status", pa.string()),  # OK, NO_FACE or a Reason
        ("detail", pa.string()),
        ("source", pa.string()),  # of the tracks; empty where there is none
        ("faces", pa.int32()),
        ("frames_with_face", pa.int32()),
        ("shard", pa.int32()),
        ("row_group", pa.int32()),  # -1 where there is no face
        ("digest", pa.string()),  # track_file.digest
    ]
)

_VERSION = 1
_CACHED_FOOTERS = 32  # of some 180 KB; a parsed one holds about a megabyte


class Annotations:
    """Finished annotations, read one video at a time.

    Picklable: a copy carries the address and the manifest and reads the index again where it is used.
    """

    def __init__(self, place: Storage, manifest: dict[str, Any]) -> None:
        self.place = place
        self.manifest = manifest
        self._footer = lru_cache(maxsize=_CACHED_FOOTERS)(self._read_footer)

    def __reduce__(self) -> tuple:
        return Annotations, (self.place, self.manifest)

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]

    @property
    def catalog_fingerprint(self) -> str:
        """Of the catalog whose videos these are."""
        return self.manifest["catalog"]

    @cached_property
    def videos(self) -> pa.Table:
        """One row per usable video of the catalog, by uri, in the form of INDEX."""
        data = self.place.read(INDEX_FILE)
        table = read_table(data, name=self.place.full(INDEX_FILE)).cast(INDEX).combine_chunks()
        if _fingerprint(self.catalog_fingerprint, table) != self.fingerprint:
            raise ValueError(f"{self.place.full(INDEX_FILE)} does not match the manifest; annotate again")
        return table

    def tracks(self, video_uri: str) -> list[FaceTrack]:
        """The faces of a video by its uri in the catalog, the longest largest first; [] where none was found.

        Reads one range of one file, and the footer of the file if it is not among the last ones used.

        Raises:
            ValueError: the catalog of these annotations has no such usable video, or the file is damaged.
        """
        row = self.video(video_uri)
        if row["status"] != OK:
            return []
        name, footer = _shard_name(row["shard"]), self._footer(row["shard"])
        data = self.place.read_range(name, *group_range(footer, row["row_group"]))
        try:
            uri, tracks = read_group(footer, row["row_group"], data, name=self.place.full(name))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.place.full(name)} is damaged: {error}; annotate again") from None
        if uri != video_uri or digest(tracks) != row["digest"]:
            raise ValueError(f"{self.place.full(name)} does not hold what was found in {video_uri}; annotate again")
        return tracks

    def video(self, video_uri: str) -> dict[str, Any]:
        """The row of a video in `videos`. Raises ValueError if there is none."""
        uris = self.videos["uri"]
        row = bisect_left(range(len(uris)), video_uri, key=lambda i: uris[i].as_py())
        if row == len(uris) or uris[row].as_py() != video_uri:
            raise ValueError(f"no usable video {video_uri!r} in the catalog that {self.place.uri} annotates")
        return self.videos.slice(row, 1).to_pylist()[0]

    def _read_footer(self, shard: int) -> pq.FileMetaData:
        size, footer = self.manifest["shards"][shard]
        return read_footer(self.place.read_range(_shard_name(shard), size - footer, size))


def open_annotations(uri: str) -> Annotations:
    """The annotations at a local folder or s3://bucket/prefix.

    Raises ValueError where there are none, they are not complete or of another version, and StorageError.
    """
    place = Storage(uri)
    try:
        manifest = json.loads(place.read(MANIFEST_FILE))
    except ObjectMissing:
        raise ValueError(
            f"{place.uri} holds no finished annotations; make them with jobs/annotate_faces.py --output {place.uri}"
        ) from None
    if manifest.get("version") != _VERSION:
        raise ValueError(f"the annotations in {place.uri} have version {manifest.get('version')}, this is {_VERSION}")
    return Annotations(place, manifest)


def fingerprint_of(catalog: Catalog, annotations: Annotations | None) -> str:
    """Of the data that samples are made of."""
    return catalog.fingerprint if annotations is None else f"{catalog.fingerprint}:{annotations.fingerprint}"


def check_annotations(catalog: Catalog, annotations: Annotations) -> None:
    """Raises ValueError unless these are the annotations of this catalog."""
    if annotations.catalog_fingerprint != catalog.fingerprint:
        raise ValueError(
            f"the annotations in {annotations.place.uri} are of catalog {annotations.catalog_fingerprint}, not of "
            f"{catalog.fingerprint}; run jobs/annotate_faces.py for this catalog"
        )


def write_shard(place: Storage, shard: int, videos: Iterable[VideoFaces]) -> dict[str, Any]:
    """Writes one shard and returns what `publish` must know of it, as plain JSON values."""
    kept, rows, groups = list(videos), [], 0
    for video in kept:
        valid = [track.valid_T for track in video.tracks]
        rows.append(
            {
                "uri": video.uri,
                "status": video.status,
                "detail": video.detail,
                "source": video.tracks[0].source if video.tracks else "",
                "faces": len(video.tracks),
                "frames_with_face": int(np.any(valid, axis=0).sum()) if valid else 0,
                "shard": shard,
                "row_group": groups if video.tracks else -1,
                "digest": digest(video.tracks),
            }
        )
        groups += bool(video.tracks)
    data = write_file(kept)
    place.write(_shard_name(shard), data)
    return {"shard": shard, "sizes": [len(data), footer_bytes(data)], "rows": rows}


def publish(
    place: Storage,
    shards: Iterable[dict[str, Any]],
    videos: pa.Table,
    *,
    catalog_fingerprint: str,
    settings: dict[str, Any],
) -> Annotations:
    """Writes the index and then the manifest, with which the annotations exist for a reader.

    `shards` are all answers of `write_shard`; `videos` has the columns uri, subject, view and frames of the usable
    videos of the catalog, in its order; `settings` is recorded as it is.

    Raises ValueError where the shards hold other videos than these.
    """
    ordered = sorted(shards, key=lambda shard: shard["shard"])
    found = pa.Table.from_pylist([row for shard in ordered for row in shard["rows"]], schema=_found_schema())
    if found["uri"].to_pylist() != videos["uri"].to_pylist():
        raise ValueError(f"the shards hold {found.num_rows} videos that are not the {videos.num_rows} of the catalog")
    index = pa.table({name: (found if name in found.column_names else videos)[name] for name in INDEX.names})
    index = index.cast(INDEX).combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(index, sink, compression="zstd")
    place.write(INDEX_FILE, sink.getvalue().to_pybytes())
    manifest = {
        "version": _VERSION,
        "catalog": catalog_fingerprint,
        "fingerprint": _fingerprint(catalog_fingerprint, index),
        "settings": settings,
        "shards": [shard["sizes"] for shard in ordered],
    }
    place.write(MANIFEST_FILE, json.dumps(manifest).encode())
    return Annotations(place, manifest)


def _found_schema() -> pa.Schema:
    return pa.schema([field for field in INDEX if field.name not in ("subject", "view", "frames")])


def _fingerprint(catalog_fingerprint: str, index: pa.Table) -> str:
    sha = hashlib.sha256(json.dumps([_VERSION, catalog_fingerprint]).encode())
    for row in index.select(["uri", "status", "digest"]).to_pylist():
        sha.update(json.dumps(list(row.values())).encode())
    return sha.hexdigest()


def _shard_name(shard: int) -> str:
    return f"{SHARDS}/{shard:05d}.parquet"

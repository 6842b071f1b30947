"""Face tracks in a Parquet file: one row per face, one row group per video with a face.

A video is read by two ranges of the file: the footer, which whoever reads many videos keeps, and its row group. What
became of every video, those without a face among them, is in the metadata of the file. Arrays come back to the bit:

- landmarks are float32 pixels, for at x = 1500 the neighbours of a float16 are a whole pixel apart;
- NaN of frames without a face is kept, it costs nothing once compressed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.catalog import OK
from pipelines.face_tracks import FaceTrack
from pipelines.parquet import open_table

NO_FACE = "no_face"
"""Status of a video that was read from end to end and shows no face."""

_METADATA_KEY = b"semblance.videos"
_ARRAYS = {
    "landmarks": ("landmarks_T682", (68, 2)),
    "box": ("box_T4", (4,)),
    "score": ("score_T18", (18,)),
    "yaw": ("yaw_T", ()),
    "pitch": ("pitch_T", ()),
    "features": ("features_TF", (17,)),
}
"""Column -> field of FaceTrack and shape of one frame; float32."""
_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("face_id", pa.int32()),
        ("source", pa.string()),
        ("version", pa.string()),
        ("valid", pa.list_(pa.bool_())),
        *((name, pa.list_(pa.float32())) for name in _ARRAYS),
    ]
)
_SPLIT_BYTES = {f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in _ARRAYS}  # a tenth smaller


class VideoFaces(NamedTuple):
    """What was found in one video."""

    uri: str
    status: str
    """OK, NO_FACE or the Reason for which the video cannot be read."""
    detail: str
    tracks: list[FaceTrack]
    """By face_id; empty unless the status is OK."""


def digest(tracks: Iterable[FaceTrack]) -> str:
    """BLAKE2b of everything the tracks hold, 32 hexadecimal digits; the same whatever the file around them."""
    blake = hashlib.blake2b(digest_size=16)
    for track in tracks:
        names = [name for name, (field, _) in _ARRAYS.items() if getattr(track, field) is not None]
        blake.update(json.dumps([track.face_id, track.source, track.version, len(track), names]).encode())
        blake.update(track.valid_T.tobytes())
        for name in names:
            blake.update(getattr(track, _ARRAYS[name][0]).astype("<f4", copy=False).tobytes())
    return blake.hexdigest()


def write_file(videos: Iterable[VideoFaces]) -> bytes:
    """The content of a file. Raises ValueError, naming the video, for arrays of another type or shape."""
    sink, written = pa.BufferOutputStream(), []
    # Neither statistics nor dictionaries: nobody filters by them, and they would double the footer.
    options = {"use_dictionary": False, "write_statistics": False, "column_encoding": _SPLIT_BYTES}
    with pq.ParquetWriter(sink, _SCHEMA, compression="zstd", store_schema=False, **options) as writer:
        for video in videos:
            if (video.status == OK) != bool(video.tracks):
                raise ValueError(f"{video.uri} has status {video.status} and {len(video.tracks)} tracks")
            if video.tracks:
                writer.write_table(_to_rows(video), row_group_size=len(video.tracks))
            written.append([video.uri, video.status, video.detail])
        writer.add_key_value_metadata({_METADATA_KEY: json.dumps(written)})
    return sink.getvalue().to_pybytes()


def read_file(data: bytes, *, name: str) -> Iterator[VideoFaces]:
    """The videos of a whole file, one after the other. Raises TableRefused (pipelines.parquet), naming the file."""
    file = open_table(pa.BufferReader(data), name=name)
    group = 0
    for uri, status, detail in json.loads(file.metadata.metadata[_METADATA_KEY]):
        tracks = []
        if status == OK:
            tracks = _from_rows(file.read_row_group(group))
            group += 1
        yield VideoFaces(uri, status, detail, tracks)


def footer_bytes(data: bytes) -> int:
    """How many bytes at the end of a file are its footer, the mark and the length behind it counted."""
    return int.from_bytes(data[-8:-4], "little") + 8


def read_footer(data: bytes) -> pq.FileMetaData:
    """Of the last `footer_bytes` of a file."""
    return pq.read_metadata(pa.BufferReader(data))


def group_range(footer: pq.FileMetaData, group: int) -> tuple[int, int]:
    """Where in the file the bytes of a row group begin and end; its columns follow each other."""
    row_group = footer.row_group(group)
    columns = [row_group.column(i) for i in range(row_group.num_columns)]
    return columns[0].data_page_offset, columns[-1].data_page_offset + columns[-1].total_compressed_size


def read_group(footer: pq.FileMetaData, group: int, data: bytes, *, name: str) -> tuple[str, list[FaceTrack]]:
    """The uri and the tracks of the video whose row group has the bytes `data`. Raises TableRefused
    (pipelines.parquet), naming the file."""
    start, _ = group_range(footer, group)
    with open_table(pa.PythonFile(_Window(data, start), mode="r"), name=name, footer=footer) as file:
        table = file.read_row_group(group)
    return table["uri"][0].as_py(), _from_rows(table)


class _Window(io.BytesIO):
    """A part of a file that is read by the offsets of the whole."""

    def __init__(self, data: bytes, start: int) -> None:
        super().__init__(data)
        self._start = start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._start + super().seek(offset - self._start if whence == io.SEEK_SET else offset, whence)

    def tell(self) -> int:
        return self._start + super().tell()


def _to_rows(video: VideoFaces) -> pa.Table:
    tracks, length = video.tracks, len(video.tracks[0])
    for track in tracks:
        _check(video.uri, track, length)
    columns = {
        "uri": pa.array([video.uri] * len(tracks)),
        "face_id": pa.array([track.face_id for track in tracks], pa.int32()),
        "source": pa.array([track.source for track in tracks]),
        "version": pa.array([track.version for track in tracks]),
        "valid": _list_column([track.valid_T for track in tracks]),
    }
    columns |= {name: _list_column([getattr(track, field) for track in tracks]) for name, (field, _) in _ARRAYS.items()}
    return pa.table(columns, schema=_SCHEMA)


def _list_column(arrays: list[np.ndarray | None]) -> pa.Array:
    kind = pa.bool_() if arrays[0] is not None and arrays[0].dtype == np.bool_ else pa.float32()
    values = [np.empty(0, kind.to_pandas_dtype()) if array is None else array.ravel() for array in arrays]
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
    absent = pa.array([array is None for array in arrays])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values), kind), mask=absent)


def _from_rows(table: pa.Table) -> list[FaceTrack]:
    tracks = []
    for row in range(table.num_rows):
        valid_T = _values(table["valid"][row])
        arrays = {
            field: None if (values := _values(table[name][row])) is None else values.reshape(len(valid_T), *shape)
            for name, (field, shape) in _ARRAYS.items()
        }
        texts = {name: table[name][row].as_py() for name in ("source", "version", "face_id")}
        tracks.append(FaceTrack(valid_T=valid_T, **arrays, **texts))
    return tracks


def _values(cell: pa.ListScalar) -> np.ndarray | None:
    return cell.values.to_numpy(zero_copy_only=False) if cell.is_valid else None


def _check(uri: str, track: FaceTrack, length: int) -> None:
    if track.valid_T.dtype != np.bool_ or track.valid_T.shape != (length,):
        raise ValueError(f"{uri}: valid_T is {track.valid_T.dtype} {track.valid_T.shape}, not bool ({length},)")
    for field, shape in _ARRAYS.values():
        array = getattr(track, field)
        if array is None and field == "features_TF":
            continue
        if array.dtype != np.float32 or array.shape != (length, *shape):
            raise ValueError(f"{uri}: {field} is {array.dtype} {array.shape}, not float32 {(length, *shape)}")

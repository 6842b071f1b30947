"""Features that someone else computed: a table for each video, in a folder or below a prefix.

NAME.npy            float [N, D]; row i is frame i, or of the time that NAME.times.npy (float [N], seconds) says
NAME.parquet        columns frame (counted from 0) or time (seconds), and feature (a list of D) or f0, f1, ..., fD-1

NAME is that of a video of the catalog. Arrays with Python objects in them are refused: to read them runs code.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.audio import at_frames, frame_edges
from pipelines.feature_store import FrameFeatures
from pipelines.quarantine import Reason, SampleError
from pipelines.storage import ObjectMissing, Storage

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BYTES = 1 << 32
"""Of a table; a longer one is refused."""
_ARRAY, _TIMES, _TABLE = ".npy", ".times.npy", ".parquet"


class ForeignTable(NamedTuple):
    """Rows in the order of their frames or times, those with values that are not finite left out."""

    frame_M: np.ndarray | None
    """int64; None: the table tells times."""
    time_M: np.ndarray | None
    """float64, seconds; None: the table tells frames."""
    feature_MD: np.ndarray
    """float32."""
    left_out: int
    """Rows with values that are not finite."""


def list_tables(folder: Storage) -> dict[str, str]:
    """Objects by the name of their video. Raises ValueError for two tables of one video, and where there is none."""
    found: dict[str, str] = {}
    for item in folder.list():
        suffix = next((end for end in (_TIMES, _ARRAY, _TABLE) if item.name.endswith(end)), _TIMES)
        if suffix == _TIMES:
            continue
        video = item.name.removesuffix(suffix)
        if video in found:
            raise ValueError(f"{folder.uri} has two tables of {video}: {found[video]} and {item.name}; leave one")
        found[video] = item.name
    if not found:
        raise ValueError(f"{folder.uri} holds neither NAME.npy nor NAME.parquet of any video")
    return found


def read_table(folder: Storage, name: str) -> ForeignTable:
    """Raises SampleError: missing, too_large, format (what is wrong with the table)."""
    try:
        if folder.size(name) > MOST_BYTES:
            raise SampleError(Reason.too_large, f"{name} has more than {MOST_BYTES} bytes")
        data = folder.read(name)
    except ObjectMissing as error:
        raise SampleError(Reason.missing, str(error)) from None
    if name.endswith(_ARRAY):
        frame_M, time_M, feature_MD = _read_array(folder, name, data)
    else:
        frame_M, time_M, feature_MD = _read_parquet(name, data)
    if feature_MD.ndim != 2 or feature_MD.shape[1] < 1 or feature_MD.dtype.kind not in "fiu":
        raise SampleError(Reason.format, f"{name} is {feature_MD.dtype} {feature_MD.shape}, not numbers [N, D]")
    return _in_order(name, frame_M, time_M, feature_MD)


def at_frames_of(table: ForeignTable, time_N: np.ndarray) -> FrameFeatures:
    """A table as the features of a video whose frames are shown from these times on (seconds). What is of times is
    averaged over each frame, or the nearest (pipelines.audio.at_frames); frames beyond the video are left out."""
    if table.time_M is not None:
        frame_M, feature_MD = at_frames(table.time_M, table.feature_MD, *frame_edges(time_N))
    else:
        inside_M = table.frame_M < len(time_N)
        frame_M, feature_MD = table.frame_M[inside_M], table.feature_MD[inside_M]
    return FrameFeatures(frame_M.astype(np.int32), time_N[frame_M], feature_MD)


Rows = tuple[np.ndarray | None, np.ndarray | None, np.ndarray]


def _read_array(folder: Storage, name: str, data: bytes) -> Rows:
    feature_MD = _load(name, data)
    times = name.removesuffix(_ARRAY) + _TIMES
    try:
        time_M = _load(times, folder.read(times))
    except ObjectMissing:
        return np.arange(len(feature_MD)), None, feature_MD
    if time_M.shape != feature_MD.shape[:1]:
        raise SampleError(Reason.format, f"{times} is {time_M.shape}, {name} {feature_MD.shape}")
    return None, time_M, feature_MD


def _load(name: str, data: bytes) -> np.ndarray:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SampleError(Reason.format, f"{name} is no array of numbers: {error}") from None
    if not isinstance(array, np.ndarray) or not array.ndim:
        raise SampleError(Reason.format, f"{name} is not one array of rows")
    return array


def _read_parquet(name: str, data: bytes) -> Rows:
    from pipelines import parquet

    try:
        table = parquet.read_table(data, name=name).combine_chunks()
    except parquet.TableRefused as error:
        raise SampleError(Reason.format, str(error)) from None
    clock = [column for column in ("frame", "time") if column in table.column_names]
    if len(clock) != 1:
        raise SampleError(Reason.format, f"{name} has the columns {table.column_names}; it needs either frame or time")
    if table[clock[0]].null_count:
        raise SampleError(Reason.format, f"{name} has rows without a {clock[0]}")
    number_M = table[clock[0]].to_numpy()
    if number_M.dtype.kind not in ("iu" if clock[0] == "frame" else "fiu"):
        raise SampleError(Reason.format, f"column {clock[0]} of {name} is {number_M.dtype}")
    feature_MD = _columns(name, table)
    return (number_M, None, feature_MD) if clock[0] == "frame" else (None, number_M, feature_MD)


def _columns(name: str, table: pa.Table) -> np.ndarray:
    import pyarrow as pa

    if "feature" in table.column_names:
        try:
            return np.stack([np.asarray(row, np.float32) for row in table["feature"].to_pylist()])
        except (TypeError, ValueError) as error:
            raise SampleError(Reason.format, f"column feature of {name} is no list of D numbers: {error}") from None
    names = [column for column in table.column_names if re.fullmatch(r"f[0-9]+", column)]
    if not names or set(names) != {f"f{index}" for index in range(len(names))}:
        raise SampleError(Reason.format, f"{name} has neither a column feature nor f0, f1, ... without gaps")
    try:
        columns = [table[f"f{index}"].cast(pa.float32(), safe=False).to_numpy() for index in range(len(names))]
    except pa.ArrowException as error:
        raise SampleError(Reason.format, f"columns f0, f1, ... of {name} are no numbers: {error}") from None
    return np.stack(columns, axis=1)


def _in_order(name: str, frame_M: np.ndarray | None, time_M: np.ndarray | None, feature_MD: np.ndarray) -> ForeignTable:
    feature_MD = feature_MD.astype(np.float32)
    number_M = frame_M.astype(np.int64) if frame_M is not None else time_M.astype(np.float64)
    if not np.isfinite(number_M).all() or (number_M < 0).any():
        raise SampleError(Reason.format, f"frames or times of {name} are below 0 or not finite")
    order_M = np.argsort(number_M, kind="stable")
    order_M = order_M[np.isfinite(feature_MD[order_M]).all(1)]
    number_M, left_out = number_M[order_M], len(feature_MD) - len(order_M)
    if (np.diff(number_M) == 0).any():
        raise SampleError(Reason.format, f"{name} has two rows of the same frame or time")
    is_frames = frame_M is not None
    return ForeignTable(number_M if is_frames else None, None if is_frames else number_M, feature_MD[order_M], left_out)

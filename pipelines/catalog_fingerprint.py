"""The hash of what a catalog says: its columns in a fixed form, each as a few large pieces, for a corpus of images has
millions of rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_VERSION = 2


def fingerprint(table: pa.Table, settings: list[Any], *, leave_out: Collection[str], with_labels: bool) -> str:
    """SHA-256 of settings, as JSON, and of the columns but for `leave_out`, those of lists only `with_labels`.

    It depends neither on chunks nor on the file that the table is from. Without labels it is that of version 2 of the
    file.
    """
    sha = hashlib.sha256(json.dumps([_VERSION, *settings]).encode())
    for field in table.schema:
        if field.name in leave_out:
            continue
        sha.update(f"\n{field.name}\n".encode())
        if not pa.types.is_list(field.type):
            _add(sha, table[field.name])
        elif with_labels:
            _add_nested(sha, table[field.name].combine_chunks())
    return sha.hexdigest()


def _add(sha: Any, column: pa.ChunkedArray) -> None:
    if pa.types.is_string(column.type):
        sha.update(pc.binary_length(column).to_numpy().astype("<i4").tobytes())
        for chunk in column.chunks:
            sha.update(_characters(chunk))
    else:
        numbers = column.to_numpy()
        sha.update(numbers.astype("<f8" if np.issubdtype(numbers.dtype, np.floating) else "<i8").tobytes())


def _add_nested(sha: Any, array: pa.Array) -> None:
    if pa.types.is_list(array.type):
        sha.update(pc.list_value_length(array).to_numpy().astype("<i4").tobytes())
        _add_nested(sha, array.flatten())
    elif pa.types.is_struct(array.type):
        for field in array.type:
            _add_nested(sha, pc.struct_field(array, field.name))
    elif pa.types.is_floating(array.type):
        numbers = array.to_numpy().astype("<f4")
        numbers[np.isnan(numbers)] = np.nan  # whatever made them, all are the same
        sha.update(numbers.tobytes())
    else:
        _add(sha, pa.chunked_array([array]))


def _characters(array: pa.StringArray) -> bytes | memoryview:
    """All strings one after the other, UTF-8."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return b""
    edges = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[edges[0] : edges[-1]]

"""The one way in for Parquet tables: columns of plain values alone, looked at before any value is.

An extension type brings its own code. `import ray.data` registers one whose values are unpickled when they are read,
and a table from outside decides by its schema which types it has. So whatever is no plain type is refused, whether or
not its extension happens to be registered in this process.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

_EXTENSION = b"ARROW:extension:name"  # left in the metadata of a field whose extension type nobody has registered
_PLAIN = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_temporal,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


class TableRefused(ValueError):
    """A file that is no Parquet table, or one with a column that is not read; the message names both."""


def read_table(data: bytes, *, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in `data`, or some of its columns. Raises TableRefused; `name` is the file's, for its message."""
    with open_table(pa.BufferReader(data), name=name) as file:
        try:
            return file.read(columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError) as error:
            raise TableRefused(f"{name} is damaged: {error}") from None


def open_table(source: pa.NativeFile, *, name: str, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """A file to be read in parts; `footer`, where it has been read before. Raises TableRefused."""
    try:
        file = pq.ParquetFile(source, metadata=footer)
        fields = list(file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise TableRefused(f"{name} is no Parquet file: {error}") from None
    for field in fields:
        if (kind := _foreign(field)) is not None:
            raise TableRefused(
                f"column {field.name!r} of {name} has the type {kind}, whose values may run code when they are read; "
                "write numbers, text, or lists of them"
            )
    return file


def _foreign(field: pa.Field) -> str | None:
    """The first type in a field, however deep, that is not plain."""
    if _EXTENSION in (field.metadata or {}):
        return field.metadata[_EXTENSION].decode(errors="replace")
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name
    if pa.types.is_dictionary(kind):
        return _foreign(pa.field(field.name, kind.value_type))
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        return next((found for i in range(kind.num_fields) if (found := _foreign(kind.field(i)))), None)
    return None if any(is_kind(kind) for is_kind in _PLAIN) else str(kind)

"""Files that run code where they are unpickled: the code writes the file `sprung`."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Trap:
    """Pickled as a call that writes a file."""

    def __init__(self, sprung: Path) -> None:
        self._sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path(self._sprung).write_text, ("executed",))


def column(sprung: Path, rows: int = 1) -> pa.Array:
    """Of the type that Ray Data registers for Python objects."""
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

    storage = pa.array([pickle.dumps(Trap(sprung))] * rows, pa.large_binary())
    return pa.ExtensionArray.from_storage(ArrowPythonObjectType(), storage)


def with_trap(table: pa.Table, name: str, sprung: Path) -> bytes:
    """A Parquet file of `table` where the column `name` is a trap."""
    index = table.column_names.index(name)
    return parquet(table.set_column(index, name, column(sprung, table.num_rows)))


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def npy(sprung: Path) -> bytes:
    """An array of Python objects."""
    file = io.BytesIO()
    np.save(file, np.array([Trap(sprung)], object), allow_pickle=True)
    return file.getvalue()


def npz(name: str, sprung: Path, **arrays: np.ndarray) -> bytes:
    """An archive of the arrays given and of a trap called `name`."""
    file = io.BytesIO()
    np.savez(file, **{name: np.array([Trap(sprung)], object)}, **arrays)
    return file.getvalue()

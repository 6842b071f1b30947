"""The columns `labels` and `attributes` of millions of rows, made of arrays: a list of objects for each row of a corpus
of images would take minutes and gigabytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.labels import ATTRIBUTES_TYPE, LABELS_TYPE


class ProtocolLabels(NamedTuple):
    """What one protocol says of the rows that it labels: what `pipelines.labels.label_rows` reads."""

    protocol: str
    row_N: np.ndarray
    """Integers, in any order, each at most once."""
    target_NK: np.ndarray
    part_N: np.ndarray | Sequence[str] | pa.Array


def with_label_columns(
    table: pa.Table,
    labels: Sequence[ProtocolLabels] = (),
    attributes: Mapping[str, np.ndarray | Sequence[str] | pa.Array] | None = None,
) -> pa.Table:
    """As `pipelines.labels.with_labels`, of arrays. `attributes` have a value for every row, "" where it is not known.

    Raises:
        ValueError: arrays of one protocol or attribute differ in length, or from the number of rows; a row that is not
            in the table.
    """
    columns = (("labels", _labels(table.num_rows, labels)), ("attributes", _attributes(table.num_rows, attributes)))
    for name, column in columns:
        if name in table.column_names:
            table = table.drop_columns(name)
        table = table.append_column(name, column)
    return table


def _labels(rows: int, labels: Sequence[ProtocolLabels]) -> pa.ListArray:
    entries, row_L = [], []
    for protocol, row_N, target_NK, part_N in labels:
        if not len(row_N) == len(target_NK) == len(part_N):
            sizes = f"{len(row_N)} rows, {len(target_NK)} targets and {len(part_N)} parts"
            raise ValueError(f"protocol {protocol} has {sizes}; give one of each")
        count, classes = target_NK.shape
        values = pa.array(np.ascontiguousarray(target_NK, np.float32).ravel())
        targets = pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * classes, pa.int32()), values)
        parts = _text(part_N)
        names = pa.repeat(pa.scalar(protocol, pa.string()), count)
        entries.append(pa.StructArray.from_arrays([names, targets, parts], fields=list(LABELS_TYPE.value_type)))
        row_L.append(row_N)
    return _lists(rows, row_L, entries, LABELS_TYPE)


def _attributes(rows: int, attributes: Mapping[str, np.ndarray | Sequence[str] | pa.Array] | None) -> pa.ListArray:
    entries, row_L = [], []
    for name, given in sorted((attributes or {}).items()):
        values = _text(given)
        if len(values) != rows:
            raise ValueError(f"attribute {name} has {len(values)} values for {rows} rows")
        row_N = np.flatnonzero(pc.not_equal(values, "").to_numpy(zero_copy_only=False))
        names = pa.repeat(pa.scalar(name, pa.string()), len(row_N))
        known = [names, values.take(pa.array(row_N))]
        entries.append(pa.StructArray.from_arrays(known, fields=list(ATTRIBUTES_TYPE.value_type)))
        row_L.append(row_N)
    return _lists(rows, row_L, entries, ATTRIBUTES_TYPE)


def _lists(rows: int, row_L: list[np.ndarray], entries: list[pa.StructArray], kind: pa.ListType) -> pa.ListArray:
    """One list per row: its entries, in the order in which they are given."""
    row_N = np.concatenate([np.zeros(0, np.int64), *row_L]).astype(np.int64)
    if len(row_N) and not 0 <= row_N.min() <= row_N.max() < rows:
        raise ValueError(f"rows {row_N.min()} to {row_N.max()} are labelled in a table of {rows}")
    flat = pa.concat_arrays([pa.array([], kind.value_type), *entries])
    flat = flat.take(pa.array(np.argsort(row_N, kind="stable")))
    stops_R = np.cumsum(np.bincount(row_N, minlength=rows))
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], stops_R]), pa.int32()), flat).cast(kind)


def _text(values: np.ndarray | Sequence[str] | pa.Array) -> pa.Array:
    found = pa.array(values, pa.string())
    # Arrow cuts a long array of numpy's strings into chunks.
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

"""The file that labels a user's own corpus, labels.csv or labels.parquet, as lines of text that know where they stand.

CSV: commas, UTF-8, a header line, double quotes around a cell that holds a comma. Blank lines are skipped.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pipelines.storage import Storage

CSV, PARQUET = "labels.csv", "labels.parquet"


class Line(NamedTuple):
    """One line; cells without the blanks around them."""

    where: str
    """For messages."""
    cells: dict[str, str]

    def number(self, column: str) -> float:
        """Raises ValueError for a cell that is no finite number."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{self.where}: {column} is {self.cells[column]!r}; write a number")
        return value

    def text(self, column: str) -> str:
        """Raises ValueError for an empty cell."""
        if not self.cells[column]:
            raise ValueError(f"{self.where}: {column} is empty; fill it in, or remove the line")
        return self.cells[column]


class LabelFile(NamedTuple):
    """What the file says."""

    name: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


def read_label_file(storage: Storage) -> LabelFile:
    """Raises ValueError, naming the line, for a file that is missing, there in both forms, empty or damaged."""
    present = [name for name in (CSV, PARQUET) if storage.exists(name)]
    if len(present) != 1:
        raise ValueError(f"{storage.uri} holds {' and '.join(present) or 'no labels'}; it needs {CSV} or {PARQUET}")
    name = present[0]
    columns, rows = (_read_csv if name == CSV else _read_parquet)(name, storage.read(name))
    if "" in columns or len(set(columns)) < len(columns):
        raise ValueError(f"{name} has the columns {', '.join(map(repr, columns))}; each needs a name of its own")
    lines = []
    for where, cells in rows:
        if len(cells) != len(columns):
            raise ValueError(f"{where} has {len(cells)} cells for {len(columns)} columns; put commas between cells")
        lines.append(Line(where, dict(zip(columns, cells, strict=True))))
    if not lines:
        raise ValueError(f"{name} has no line below its header")
    return LabelFile(name, columns, tuple(lines))


def _read_csv(name: str, data: bytes) -> tuple[tuple[str, ...], Iterator[tuple[str, list[str]]]]:
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(f"{name}, line {reader.line_num}", [cell.strip() for cell in row]) for row in reader if row]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 ({error}); save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: {error}") from None
    header = tuple(rows[0][1]) if rows else ()
    return header, iter(rows[1:])


def _read_parquet(name: str, data: bytes) -> tuple[tuple[str, ...], Iterator[tuple[str, list[str]]]]:
    import pyarrow as pa

    from pipelines.parquet import read_table

    table = read_table(data, name=name)
    if nested := [field.name for field in table.schema if pa.types.is_nested(field.type)]:
        raise ValueError(f"{name} has lists or structures in the columns {', '.join(nested)}; each cell is one value")
    rows = zip(*(map(_as_text, column.to_pylist()) for column in table.columns), strict=True)
    return tuple(table.column_names), ((f"{name}, row {row}", list(cells)) for row, cells in enumerate(rows, start=1))


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip()

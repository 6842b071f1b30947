"""Tables of the papers as data (jobs/recipes/published/PAPER.csv), to be set beside what is measured.

A line is a cell: table, row, column, unit, the value as it is printed (none where the paper has none, so that what is
measured has a place), and a note where the cell is doubtful or needs one. A line without a row is a remark on a whole
column, one without both on the whole table. Of other people's methods the tables of MAE-DFER and MAURA hold the best,
those of the three ABAW systems all.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, get_args

Paper = Literal["mae_dfer", "maura", "netease_abaw5", "ctyunai_abaw6", "emotic_mae"]


@dataclass(frozen=True)
class PublishedCell:
    """One cell of a paper's table."""

    printed: str
    """As the paper prints it; "" where it has no value."""
    unit: str
    """%, M (millions of parameters), G (GFLOPs, a multiply-add is one), # (a rank); "" of a CCC, and of scores that are
    printed as shares of 1."""
    note: str

    @property
    def value(self) -> float | None:
        return float(self.printed) if self.printed else None


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper; rows and columns in its order."""

    paper: str
    name: str
    cells: dict[tuple[str, str], PublishedCell]
    """By row and column."""
    remarks: tuple[tuple[str, str], ...]
    """Column ("" for the whole table) and text."""

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for _, column in self.cells))

    def cell(self, row: str, column: str) -> PublishedCell:
        """Raises ValueError, listing what there is, for a cell that the table has not."""
        for kind, name, known in (("row", row, self.rows), ("column", column, self.columns)):
            if name not in known:
                raise ValueError(f"{self.name} of {self.paper} has no {kind} {name!r}; there are: {', '.join(known)}")
        if (row, column) not in self.cells:
            known = [other for one, other in self.cells if one == row]
            raise ValueError(f"{self.name} of {self.paper} has {', '.join(known)} of {row!r}, not {column!r}")
        return self.cells[row, column]


def read_published(paper: str, table: str) -> PublishedTable:
    """Raises ValueError, listing what there is, for a paper or a table without data."""
    lines = [line for line in _read(paper) if line["table"] == table]
    if not lines:
        raise ValueError(f"no {table!r} of {paper} is kept; there are: {', '.join(table_names(paper))}")
    cells = {
        (line["row"], line["column"]): PublishedCell(line["value"], line["unit"], line["note"])
        for line in lines
        if line["row"]
    }
    remarks = tuple((line["column"], line["note"]) for line in lines if not line["row"])
    return PublishedTable(paper, table, cells, remarks)


def table_names(paper: str) -> list[str]:
    """In the order of the data. Raises ValueError for a paper without data."""
    return list(dict.fromkeys(line["table"] for line in _read(paper)))


def _read(paper: str) -> list[dict[str, str]]:
    if paper not in get_args(Paper):
        raise ValueError(f"no tables of {paper!r} are kept; there are: {', '.join(get_args(Paper))}")
    text = (files("jobs.recipes") / "published" / f"{paper}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))

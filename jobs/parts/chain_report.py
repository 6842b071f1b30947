"""The stages of a chain as a table on a terminal: what would become of them, or what became of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.parts.chain import Outcome
    from jobs.parts.chain_config import Stage
    from jobs.parts.chain_plan import Planned

_LOG_COLUMNS = 140  # where there is no terminal, Rich takes 80, and the table does not fit


def show_plan(rows: Sequence[Planned], *, title: str) -> None:
    """Draws the plan on stderr."""
    columns = ("stage", "job", "state", "after", "size")
    _draw(columns, ((row.stage, row.job, row.words, ", ".join(row.after), row.size) for row in rows), title)


def show_outcomes(stages: Sequence[Stage], outcomes: Mapping[str, Outcome], *, title: str) -> None:
    """Draws what became of the stages on stderr."""
    rows = []
    for stage in stages:
        outcome = outcomes[stage.name]
        seconds = "" if outcome.seconds is None else f"{outcome.seconds:.0f}"
        rows.append((stage.name, stage.job, outcome.state, seconds, outcome.detail))
    _draw(("stage", "job", "state", "seconds", "detail"), rows, title)


def show_tables(texts: Sequence[str]) -> None:
    """Draws finished tables, given as Markdown, on stderr."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(stderr=True, width=None if sys.stderr.isatty() else _LOG_COLUMNS)
    for text in texts:
        console.print(Markdown(text))


def _draw(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="right" if name == "seconds" else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # errors may hold what Rich takes for markup
    Console(stderr=True, width=None if sys.stderr.isatty() else _LOG_COLUMNS).print(table)

"""The rows of a soak as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = {
    "seed": lambda row: str(row["seed"]),
    "stage": lambda row: str(row["zero_stage"]),
    "workers": lambda row: " > ".join(map(str, row["workers"])),
    "planned": lambda row: str(row["planned"]),
    "fired": lambda row: str(row["fired"]),
    "commands": lambda row: str(row["commands"]),
    "attempts": lambda row: str(row["attempts"]),
    "steps": lambda row: str(row["steps"]),
    "consumed": lambda row: str(row["consumed"]),
    "twice": lambda row: str(row["twice"]),
    "missing": lambda row: str(row["missing"]),
    "loss": lambda row: _loss(row["loss"]),
    "undisturbed": lambda row: _loss(row["undisturbed_loss"]),
    "gap": lambda row: "-" if row["largest_gap"] is None else f"{row['largest_gap']:.1g}",
    "seconds": lambda row: str(row["seconds"]),
    "verdict": lambda row: "; ".join(row["wrong"]) or "well",
}


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Attempts are lives of the worker group; consumed, twice and missing count ids over all epochs; the
    gap is the largest between the losses of a step."""
    table = Table(title="What disturbed runs did, beside undisturbed ones")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("workers", "verdict") else "right", no_wrap=name != "verdict")
    for row in rows:
        table.add_row(*(cell(row) for cell in COLUMNS.values()))
    console.print(table)


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"

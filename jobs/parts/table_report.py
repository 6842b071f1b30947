"""Numbers of fine-tunings as a table, measured beside published: JSON to read by program, Markdown to read by eye.

Values are in the unit that the papers print: percent, millions of parameters, GFLOPs (a multiply-add is one).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.parts.chain_config import Cell, TableConfig
from jobs.parts.published import PublishedTable, read_published
from jobs.parts.score_report import ABSOLUTE

COST = {"parameters": (1e-6, "M"), "gflops": (1.0, "G")}
PERCENT = (100.0, "%")
NOTHING = "-"


def make_table(config: TableConfig, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The table as plain JSON: "rows" and "columns" in their order, and "cells" with the value measured, the ends of
    its 95 % interval (of several seeds the deviation), the published value, how far the first lies above the second,
    and the note of a doubtful cell; "remarks" on columns and the whole, and "measured_on", what the numbers rest on.

    A published table is shown whole; what has no result has no value.

    Args:
        results: by stage, what a fine-tuning left (`fold_runs.score`: metrics.json).

    Raises:
        ValueError: a cell that the published table has not, a metric that a result has not, or one in another unit.
    """
    published = read_published(config.paper, config.table) if config.paper else None
    measured = {(cell.row, cell.column): cell for cell in config.cells}
    if published:
        for place in measured:
            published.cell(*place)
    places = list(published.cells if published else measured)
    cells = [_cell(place, measured.get(place), results, published) for place in places]
    stages = dict.fromkeys(cell.stage for cell in config.cells)
    return {
        "title": config.title,
        "paper": config.paper,
        "table": config.table,
        "rows": list(dict.fromkeys(row for row, _ in places)),
        "columns": list(dict.fromkeys(column for _, column in places)),
        "cells": cells,
        "remarks": [{"column": column, "note": note} for column, note in (published.remarks if published else ())],
        "measured_on": [{"stage": stage, **_ground(results[stage])} for stage in stages if stage in results],
        "without_result": [stage for stage in stages if stage not in results],
    }


def to_markdown(table: Mapping[str, Any]) -> str:
    """What `make_table` returned, "62.1 [60.8, 63.4] (paper 62.59)" in a cell, notes below."""
    cells, notes = {(cell["row"], cell["column"]): cell for cell in table["cells"]}, _Notes()
    units = {
        column: {cell["unit"] for cell in cells.values() if cell["column"] == column} for column in table["columns"]
    }
    head = [
        " ".join([column, *(f"({unit})" for unit in sorted(units[column]) if unit)])
        + "".join(notes.mark(remark["note"]) for remark in table["remarks"] if remark["column"] == column)
        for column in table["columns"]
    ]
    body = [[row, *(_words(cells.get((row, column)), notes) for column in table["columns"])] for row in table["rows"]]
    lines = [["", *head], ["---"] + ["---:"] * len(head), *body]
    parts = [
        f"# {table['title']}",
        "\n".join(f"| {' | '.join(line)} |" for line in lines),
        " ".join(_sentence(remark["note"]) for remark in table["remarks"] if not remark["column"]),
        _grounds(table),
        notes.text(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def measure(result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Value, ends of the interval, deviation and number of seeds of one metric, as `Cell.metric` names it, in the
    unit of reports; None for what is not known.

    Raises ValueError, listing what there is, for a metric that the result has not.
    """
    value, interval = _find(result, metric)
    factor, unit = _scale(result, metric)
    deviation = None
    if isinstance(value, Mapping):  # several seeds
        value, deviation = value["mean"], value["deviation"]
    return {
        "measured": None if value is None else factor * value,
        "interval_95": [factor * end for end in interval] if interval else None,
        "deviation": None if deviation is None else factor * deviation,
        "seeds": result.get("seeds", 1),
        "unit": unit,
    }


def _cell(
    place: tuple[str, str],
    cell: Cell | None,
    results: Mapping[str, Mapping[str, Any]],
    published: PublishedTable | None,
) -> dict[str, Any]:
    row, column = place
    paper = published.cells[place] if published else None
    found: dict[str, Any] = dict.fromkeys(("measured", "interval_95", "deviation", "seeds")) | {"unit": ""}
    if cell is not None and cell.stage in results:
        found = measure(results[cell.stage], cell.metric)
        if paper and not paper.unit and found["unit"] == PERCENT[1]:
            found = _as_share(found)
        if paper and found["unit"] != paper.unit:
            units = [unit or "no unit" for unit in (paper.unit, found["unit"])]
            raise ValueError(f"row {row}, column {column} is published in {units[0]}, {cell.metric} is in {units[1]}")
    value = paper.value if paper else None
    known = found["measured"] is not None and value is not None
    return {
        "row": row,
        "column": column,
        "stage": cell.stage if cell else None,
        "metric": cell.metric if cell else None,
        **found,
        **({"unit": paper.unit} if paper else {}),
        "published": value,
        "printed": paper.printed if paper else "",
        "difference": found["measured"] - value if known else None,
        "note": paper.note if paper else "",
    }


def _as_share(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured in percent as shares of 1, which some papers print."""
    ends = found["interval_95"]
    scaled = {name: found[name] and found[name] / PERCENT[0] for name in ("measured", "deviation")}
    return {**found, **scaled, "interval_95": ends and [end / PERCENT[0] for end in ends], "unit": ""}


def _find(result: Mapping[str, Any], metric: str) -> tuple[Any, list[float] | None]:
    if metric == "headline":
        return result["headline"], result.get("headline_interval_95")
    if metric in COST:
        return _taken(result, metric), None
    *where, name = metric.split("/")
    if len(where) == 2:
        attribute, value = where
        return _taken(result, "per_attribute", attribute, value, name), None
    if len(where) == 1:
        measure_of_class, of_class = where[0], name
        return _taken(result, "per_class", of_class, measure_of_class), None
    return _taken(result, "metrics", name), (result.get("metrics_interval_95") or {}).get(name)


def _taken(values: Mapping[str, Any], *path: str) -> Any:
    for name in path:
        if name not in values:
            raise ValueError(f"the result has no {'/'.join(path)}: {name!r} is none of {', '.join(values)}")
        values = values[name]
    return values


def _scale(result: Mapping[str, Any], metric: str) -> tuple[float, str]:
    if metric in COST:
        return COST[metric]
    names = {metric.rpartition("/")[2], metric.partition("/")[0]} if metric != "headline" else {result["metric"]}
    return (1.0, "") if names & set(ABSOLUTE) else PERCENT


def _ground(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers of one result rest on."""
    names = ("corpus", "protocol", "evaluation", "setting", "videos", "averaged_over")
    return {
        **{name: result[name] for name in names},
        "unit": result.get("unit", "videos"),
        "seeds": result.get("seeds", 1),
        "folds": result.get("folds", 1),
        "is_synthetic": result["corpus"].startswith("synthetic "),
    }


def _words(cell: Mapping[str, Any] | None, notes: _Notes) -> str:
    if cell is None:
        return ""
    text = NOTHING if cell["measured"] is None else _number(cell["measured"], cell)
    if cell["interval_95"]:
        text += f" [{', '.join(_number(end, cell) for end in cell['interval_95'])}]"
    elif cell["deviation"] is not None:
        text += f" ± {_number(cell['deviation'], cell)}"
    if cell["printed"]:
        text += f" (paper {cell['printed']})"
    return text + (notes.mark(cell["note"]) if cell["note"] else "")


def _number(value: float, cell: Mapping[str, Any]) -> str:
    return f"{value:.1f}" if cell["unit"] else f"{value:.3f}"


def _grounds(table: Mapping[str, Any]) -> str:
    """What was measured on what, a line for each kind; synthetic corpora first of all."""
    synthetic = sorted({ground["corpus"] for ground in table["measured_on"] if ground["is_synthetic"]})
    lines = (
        [f"{', '.join(synthetic)}: procedural faces in that layout; no number here is about people."]
        if synthetic
        else []
    )
    told: dict[str, list[str]] = {}
    for ground in table["measured_on"]:
        told.setdefault(_ground_words(ground), []).append(ground["stage"])
    lines += [f"{words} ({', '.join(stages)})." for words, stages in told.items()]
    if table["without_result"]:
        lines.append(f"Without a result: {', '.join(table['without_result'])}.")
    return "\n".join(f"- {line}" for line in lines)


def _ground_words(ground: Mapping[str, Any]) -> str:
    several = [f"{ground[name]} {name}" for name in ("folds", "seeds") if ground[name] > 1]
    averaged = [f"headline the mean over {ground['averaged_over']}"] if ground["averaged_over"] else []
    parts = [f"{ground['videos']} {ground['unit']}", *averaged, *several, f"{ground['evaluation']} evaluation"]
    return f"{ground['corpus']}, {ground['protocol']}: {', '.join(parts)}, {ground['setting'] or 'not pre-trained'}"


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


class _Notes:
    """Footnotes, each text once, numbered as they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, note: str) -> str:
        return f"[^{self._numbers.setdefault(note, len(self._numbers) + 1)}]"

    def text(self) -> str:
        return "\n".join(f"[^{number}]: {_sentence(note)}" for note, number in self._numbers.items())

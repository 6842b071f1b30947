"""What probes reached, as a table on a terminal."""

from __future__ import annotations

import sys
from typing import Any

from jobs.parts.score_report import ends, number, words

_LOG_COLUMNS = 160  # where there is no terminal, Rich takes 80, and the table does not fit
_REPEATED = "accuracy"  # of classes: WAR by its other name


def show(result: dict[str, Any]) -> None:
    """Draws the table of a result of `probe_run.summary` on stderr."""
    from rich.console import Console
    from rich.table import Table

    metric, arms = result["metric"], result["arms"]
    others = [name for name in arms[0]["metrics"] if name not in (metric, _REPEATED)]
    over = f", mean over {arms[0]['averaged_over']}" if arms[0]["averaged_over"] else ""
    table = Table(title=f"{result['corpus']}, {result['protocol']}: {words(metric)}{over}", caption=_caption(result))
    for name in ("model", "probe"):
        table.add_column(name)
    for name in (words(metric), "95 %", f"above {result['baseline']}", *map(words, others)):
        table.add_column(name, justify="right")
    for arm in arms:
        interval = ends(metric, arm["headline_interval_95"])
        cells = (number(name, arm["metrics"][name]["mean"]) for name in others)
        table.add_row(
            arm["model"], arm["probe"], _headline(metric, arm["headline"]), interval, _above(result, arm), *cells
        )
    Console(stderr=True, width=None if sys.stderr.isatty() else _LOG_COLUMNS).print(table)


def _headline(metric: str, spread: dict[str, Any]) -> str:
    deviation = "" if spread["deviation"] is None else f" ± {number(metric, spread['deviation'])}"
    return number(metric, spread["mean"]) + deviation


def _above(result: dict[str, Any], arm: dict[str, Any]) -> str:
    """How far above the first model by the same probe; what is no encoder has none of these probes and is compared with
    the first."""
    by_probe = result["above_baseline"]
    apart = by_probe.get(arm["probe"], next(iter(by_probe.values()))).get(arm["model"])
    return "" if apart is None else f"{number(result['metric'], apart[0])} {ends(result['metric'], apart[1:])}"


def _caption(result: dict[str, Any]) -> str:
    seeds = result["arms"][0]["seeds"]
    return (
        f"{result['videos']} videos of {result['subjects']} subjects, each scored by what was trained on others"
        + (f"; mean and deviation of {seeds} seeds" if seeds > 1 else "")
        + "; differences are paired over subjects"
    )

"""The trials of a sweep as a table on the terminal, and the words that its page shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.search_space import said
from jobs.parts.score_report import words

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {"running": "bold yellow", "finished": "", "stopped": "dim", "failed": "red"}


def trial_table(report: dict[str, Any]) -> Table:
    """Trials that are running first, then the others from the best on."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(headline(report)), caption=Text(counts(report)), title_justify="left")
    for name in ("trial", "state", *(one["name"] for one in report["space"]), metric_name(report), "samples"):
        is_number = name in ("trial", "samples", metric_name(report))
        table.add_column(Text(name), justify="right" if is_number else "left")
    best = best_number(report)
    for trial in sorted(ranked(report), key=lambda trial: trial["state"] != "running"):
        values = (said(trial["values"].get(one["name"], "")) for one in report["space"])
        cells = (str(trial["number"]), trial["state"], *values, percent(trial["score"]), f"{trial['samples']:,}")
        style = "bold green" if trial["number"] == best else _STYLES[trial["state"]]
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def ranked(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The trials from the highest score down, then those without one; of equal ones the first first."""
    return sorted(report["trials"], key=lambda trial: (trial["score"] is None, -(trial["score"] or 0), trial["number"]))


def best_number(report: dict[str, Any]) -> int | None:
    return report["best"] and report["best"]["number"]


def headline(report: dict[str, Any]) -> str:
    return f"{report['title']}: {metric_name(report)} on {report['corpus']}"


def counts(report: dict[str, Any]) -> str:
    """How many trials there are in each state, and what guessing scores."""
    states = [trial["state"] for trial in report["trials"]]
    told = [f"{states.count(state)} {state}" for state in _STYLES if state in states]
    chance = "" if report["chance"] is None else f"; chance {percent(report['chance'])}"
    return f"{len(states)} trial{'s' * (len(states) != 1)}" + (f": {', '.join(told)}" if told else "") + chance


def metric_name(report: dict[str, Any]) -> str:
    return " ".join(map(words, report["metric"].split("/"))) + ", %"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"

"""What a sweep found, as one page: sweep.html, a file that needs no other and no network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from typing import Any

from cluster.search_space import said
from jobs.parts.curves import INK, ORANGE
from jobs.parts.sweep_charts import draw_learning, draw_parallel, draw_values
from jobs.parts.sweep_table import best_number, counts, headline, metric_name, percent, ranked

_STYLE = f"""
body {{ font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: {INK}; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem }}
h1 {{ font-size: 1.5rem; margin-bottom: 0 }}
h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .4rem }}
.faded {{ color: #777 }}
.wide {{ overflow-x: auto }}
img {{ width: 100% }}
pre {{ background: #f4f4f2; border-left: 4px solid {ORANGE}; padding: .8rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; user-select: all; margin: .4rem 0 0 }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #e3e3e3; vertical-align: top }}
td.number, th.number {{ text-align: right }}
td.run {{ white-space: nowrap }}
tr.best {{ background: #fdf1dd; font-weight: bold }}
tr.stopped, tr.running {{ color: #777 }}
tr.failed {{ color: #d1495b }}
"""


def sweep_page(report: dict[str, Any]) -> bytes:
    """HTML of the sweep's report: what was searched, the best trial and its command, charts, a table of all trials."""
    parts = [
        f"<h1>{escape(report['title'])}</h1>",
        f'<p class="faded">{escape(metric_name(report))}, on {escape(report["corpus"])}. {escape(counts(report))}.</p>',
        *_best(report),
        "<h2>What was searched</h2>",
        _space(report["space"]),
        *_charts(report),
        "<h2>All trials</h2>",
        _trials(report),
        *(f'<p class="faded">{escape(note)}</p>' for note in report["notes"]),
    ]
    head = f'<meta charset="utf-8"><title>{escape(headline(report))}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'.encode()


def _best(report: dict[str, Any]) -> list[str]:
    best = report["best"]
    if best is None:
        return ["<h2>Best</h2>", "<p>No trial was finished, so there is no best one yet.</p>"]
    values = ", ".join(f"{name} {said(value)}" for name, value in best["values"].items())
    return [
        f"<h2>Best: trial {best['number']}, {percent(best['score'])} %</h2>",
        f"<p>{escape(values)}. A click selects its command:</p>",
        f"<pre>{escape(best['command'])}</pre>",
    ]


def _space(space: list[dict[str, Any]]) -> str:
    rows = []
    for one in space:
        if one["choices"] is not None:
            searched = ", ".join(map(said, one["choices"]))
        else:
            searched = f"{said(one['low'])} to {said(one['high'])}" + (
                ", evenly in the logarithm" if one["log"] else ""
            )
        rows.append(f"<tr><td>{escape(one['name'])}</td><td>{escape(searched)}</td></tr>")
    return _table(rows)


def _charts(report: dict[str, Any]) -> list[str]:
    if not any(trial["rows"] or trial["score"] is not None for trial in report["trials"]):
        return ["<p>No trial has been measured.</p>"]
    charts = [
        ("Score by searched value", draw_values, "Trials of one choice stand beside one another."),
        (
            "Values and score of every trial",
            draw_parallel,
            "Orange: the best; darker: better; dotted: without a score.",
        ),
        ("Learning curves", draw_learning, "Coloured as above."),
    ]
    return [
        f'<h2>{title}</h2>{_image(draw(report), title)}<p class="faded">{caption}</p>'
        for title, draw, caption in charts
    ]


def _image(svg: bytes, title: str) -> str:
    return f'<img alt="{title}" src="data:image/svg+xml;base64,{b64encode(svg).decode()}">'


def _trials(report: dict[str, Any]) -> str:
    names = [one["name"] for one in report["space"]]
    score = metric_name(report)
    numeric = {"trial", score, "samples"}
    heads = ("trial", score, "state", *names, "samples", "run, or why it failed")
    cells = "".join(f"<th{_NUMBER if head in numeric else ''}>{escape(head)}</th>" for head in heads)
    rows, best = [f"<tr>{cells}</tr>"], best_number(report)
    for trial in ranked(report):
        values = "".join(f"<td>{escape(said(trial['values'].get(name, '')))}</td>" for name in names)
        kind = "best" if trial["number"] == best else trial["state"]
        rows.append(
            f'<tr class="{kind}"><td{_NUMBER}>{trial["number"]}</td><td{_NUMBER}>{percent(trial["score"])}</td>'
            f"<td>{trial['state']}</td>{values}<td{_NUMBER}>{trial['samples']:,}</td>"
            f"{_outcome(trial)}</tr>"
        )
    return _table(rows)


def _outcome(trial: dict[str, Any]) -> str:
    """Why it failed, or the name of its run, whose address shows under the pointer."""
    if trial["detail"]:
        return f"<td>{escape(trial['detail'])}</td>"
    run = escape(trial["run_directory"] or "")
    return f'<td class="run" title="{run}">{run.rstrip("/").rsplit("/", 1)[-1]}</td>'


def _table(rows: Iterable[str]) -> str:
    return '<div class="wide"><table>' + "\n".join(rows) + "</table></div>"


_NUMBER = ' class="number"'

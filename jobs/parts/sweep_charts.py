"""What a sweep found, drawn: the metric against each searched value, parallel coordinates, the trials' curves.

Every chart is SVG as bytes; scores are drawn in percent. The best trial is orange and on top, the others are darker the
better they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.search_space import said
from jobs.parts.curves import BLUE, GREY, INK, ORANGE, RED
from jobs.parts.sweep_table import best_number, metric_name, ranked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 11.0
"""Inches of every chart."""
_COLUMNS = 3
_LETTERS = 105  # that fit below panels, together
_DECADES = 500  # from this ratio on powers of ten are ticks enough
_PALEST = 0.3
_GOLDEN = 0.618  # steps that spread any number of points evenly
_NO_SCORE = "#bbbbbb"


def draw_values(report: dict[str, Any]) -> bytes:
    """A panel for each searched value: the score of every trial over it; crosses at the foot failed without one."""
    space = report["space"]
    columns = min(_COLUMNS, len(space))
    rows = ceil(len(space) / columns)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, dimension in zip(panels.flat, space, strict=False):
            _draw_value(axes, dimension, report, most_letters=_LETTERS // columns)
        for axes in panels.flat[len(space) :]:
            axes.set_visible(False)
        for axes in panels[:, 0]:
            axes.set_ylabel(metric_name(report))
        figure.legend(*_entries(panels), loc="outside upper right", ncols=6, frameon=False, fontsize=9)

    return _svg(draw, height=0.5 + 3.2 * rows)


def draw_parallel(report: dict[str, Any]) -> bytes:
    """Every trial a line through its values to its score; dotted without one."""
    space, scores = report["space"], [trial["score"] for trial in report["trials"] if trial["score"] is not None]
    low, high = _ends(scores)
    colour, best = _colours(report), best_number(report)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for trial in ranked(report)[::-1]:
            heights = [_height(dimension, trial, _spread(report)) for dimension in space]
            is_best = trial["number"] == best
            if trial["score"] is None:
                style = {"color": _NO_SCORE, "linewidth": 0.8, "linestyle": ":", "zorder": 1}
            else:
                heights.append((trial["score"] - low) / (high - low))
                style = {"color": ORANGE if is_best else colour(trial), "linewidth": 2.8 if is_best else 1.2}
                style["zorder"] = 3 if is_best else 2
            axes.plot(range(len(heights)), heights, marker="o", markersize=3, **style)
        for column, dimension in enumerate(space):
            _draw_scale(axes, column, _ticks(dimension))
        shares = np.linspace(0, 1, 5)
        _draw_scale(axes, len(space), [(share, f"{100 * (low + share * (high - low)):.1f}") for share in shares])
        names = [*(dimension["name"] for dimension in space), metric_name(report)]
        axes.set_xticks(range(len(names)), [".\n".join(name.rsplit(".", 1)) for name in names])
        axes.set_xlim(-0.25, len(space) + 0.45)
        axes.set_ylim(-0.06, 1.06)
        axes.set_yticks([])
        axes.tick_params(length=0, labelcolor=INK, labelsize=10)
        axes.spines[:].set_visible(False)

    return _svg(draw, height=4.6)


def draw_learning(report: dict[str, Any]) -> bytes:
    """The score of every trial over the samples it has seen; a cross where one was stopped or failed."""
    colour, best = _colours(report), best_number(report)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for trial in ranked(report)[::-1]:
            if not trial["rows"]:
                continue
            samples = [row["samples"] for row in trial["rows"]]
            scores = [100 * row["score"] for row in trial["rows"]]
            is_best = trial["number"] == best
            style = {"color": ORANGE if is_best else colour(trial), "zorder": 3 if is_best else 2}
            axes.plot(samples, scores, marker="o", markersize=3, linewidth=2.8 if is_best else 1.2, **style)
            _mark_end(axes, trial["state"], samples[-1], scores[-1])
        if best is not None:
            axes.plot([], [], color=ORANGE, linewidth=2.8, label=f"best: trial {best}")
        _draw_chance(axes, report)
        _tidy(axes)
        axes.set_xlabel("samples seen")
        axes.set_ylabel(metric_name(report))
        axes.xaxis.set_major_formatter(lambda samples, _: f"{samples:,.0f}")
        axes.set_xlim(left=0)
        figure.legend(*_entries(axes), loc="outside upper right", ncols=6, frameon=False, fontsize=9)

    return _svg(draw, height=4.6)


def _svg(draw: Callable[[Figure], None], *, height: float) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # A name may hold any sign, also those of formulas; the same report gives the same bytes.
    with matplotlib.rc_context({"text.parse_math": False, "svg.hashsalt": "sweep"}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw_value(axes: Axes, dimension: dict[str, Any], report: dict[str, Any], *, most_letters: int) -> None:
    best = best_number(report)
    for trial in report["trials"]:
        if trial["score"] is None and trial["state"] != "failed":
            continue
        x = _position(dimension, trial, _spread(report))
        if trial["score"] is None:
            foot = axes.get_xaxis_transform()
            axes.scatter(x, 0.03, transform=foot, marker="x", s=26, color=RED, alpha=0.8, label="failed, no score")
        elif trial["number"] == best:
            axes.scatter(x, 100 * trial["score"], s=80, color=ORANGE, edgecolor=INK, zorder=3, label="best")
        else:
            is_whole = trial["state"] == "finished"
            style = {"color": BLUE} if is_whole else {"facecolor": "none", "edgecolor": BLUE}
            style |= {"s": 30, "alpha": 0.75, "zorder": 2, "label": "finished" if is_whole else "saw fewer samples"}
            axes.scatter(x, 100 * trial["score"], **style)
    _draw_chance(axes, report)
    _tidy(axes)
    axes.set_xlabel(dimension["name"])
    if dimension["choices"] is not None:
        labels = [_short(said(choice)) for choice in dimension["choices"]]
        is_wide = len(labels) * max(map(len, labels)) > most_letters
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if is_wide else {}
        axes.grid(visible=False, axis="x")
        axes.set_xticks(range(len(labels)), labels, **turned)
        axes.set_xlim(-0.6, len(labels) - 0.4)
        for edge in range(1, len(labels)):
            axes.axvline(edge - 0.5, color=GREY, linewidth=0.4, alpha=0.5)
        return
    if dimension["log"]:
        axes.set_xscale("log")
    axes.set_xlim(*(_value_at(dimension, share) for share in (-0.06, 1.06)))
    values = _round_values(dimension)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()


def _draw_scale(axes: Axes, column: int, ticks: list[tuple[float, str]]) -> None:
    axes.axvline(column, color=INK, linewidth=1, zorder=4)
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    for share, label in ticks:
        axes.plot(column, share, marker="_", color=INK, markersize=8, zorder=4)
        beside = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "fontsize": 8.5, "color": INK}
        axes.annotate(_short(label), (column, share), **beside, bbox=paper, zorder=5)


def _draw_chance(axes: Axes, report: dict[str, Any]) -> None:
    if report["chance"] is not None:
        axes.axhline(100 * report["chance"], color=GREY, linestyle="--", linewidth=1.2, label="chance")


def _mark_end(axes: Axes, state: str, samples: float, score: float) -> None:
    marks = {
        "stopped": {"marker": "x", "color": INK},
        "failed": {"marker": "X", "color": RED},
        "running": {"marker": "o", "facecolor": "white", "edgecolor": INK},
    }
    if state in marks:
        axes.scatter(samples, score, s=34, zorder=4, label=state, **marks[state])


def _tidy(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.12)
    axes.tick_params(labelcolor=INK)


def _entries(panels: Any) -> tuple[list[Any], list[str]]:
    """Of a legend: each label once, however many points or panels have it."""
    entries = {}
    for axes in np.ravel(panels):
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return list(entries.values()), list(entries)


def _colours(report: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    import matplotlib

    scores = [trial["score"] for trial in report["trials"] if trial["score"] is not None]
    low, high = _ends(scores)
    blues = matplotlib.colormaps["Blues"]
    return lambda trial: blues(
        _PALEST + (1 - _PALEST) * ((low if trial["score"] is None else trial["score"]) - low) / (high - low)
    )


def _ends(scores: list[float]) -> tuple[float, float]:
    """Least and greatest, a hundredth apart where they are one."""
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    return (low, high) if high > low else (low - 0.005, high + 0.005)


def _choice(dimension: dict[str, Any], trial: dict[str, Any]) -> int:
    # As JSON a region is the same as a list and as a tuple.
    choices = [json.dumps(choice) for choice in dimension["choices"]]
    return choices.index(json.dumps(trial["values"][dimension["name"]]))


def _spread(report: dict[str, Any]) -> float:
    """How wide the trials of one choice stand, in choices: the wider the more there are."""
    return min(0.5, len(report["trials"]) / 80)


def _position(dimension: dict[str, Any], trial: dict[str, Any], spread: float) -> float:
    """Of the trial's value; of a choice its index, with trials of one choice spread about it."""
    if dimension["choices"] is None:
        return trial["values"][dimension["name"]]
    return _choice(dimension, trial) + spread * (trial["number"] * _GOLDEN % 1 - 0.5)


def _height(dimension: dict[str, Any], trial: dict[str, Any], spread: float) -> float:
    """Of the trial's value between the ends of an axis, 0 to 1."""
    if dimension["choices"] is not None:
        return (_position(dimension, trial, spread) + 0.5) / len(dimension["choices"])
    return _share_of(dimension, trial["values"][dimension["name"]])


def _ticks(dimension: dict[str, Any]) -> list[tuple[float, str]]:
    """Heights and labels."""
    if dimension["choices"] is not None:
        count = len(dimension["choices"])
        return [((index + 0.5) / count, said(choice)) for index, choice in enumerate(dimension["choices"])]
    return [(_share_of(dimension, value), f"{value:g}") for value in _round_values(dimension)]


def _round_values(dimension: dict[str, Any]) -> list[float]:
    """Of a range: what its ticks stand at."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = dimension["low"], dimension["high"]
    if not dimension["log"]:
        locator = MaxNLocator(5)
    else:
        locator = LogLocator(subs=(1,) if high / low >= _DECADES else (1, 2, 5))
    slack = 1e-9 * (high - low)
    return [value for value in locator.tick_values(low, high).tolist() if low - slack <= value <= high + slack]


def _share_of(dimension: dict[str, Any], value: float) -> float:
    low, high = dimension["low"], dimension["high"]
    if dimension["log"]:
        low, high, value = np.log(low), np.log(high), np.log(value)
    return (value - low) / (high - low)


def _value_at(dimension: dict[str, Any], share: float) -> float:
    low, high = dimension["low"], dimension["high"]
    return low * (high / low) ** share if dimension["log"] else low + share * (high - low)


def _short(label: str) -> str:
    return label if len(label) <= 24 else f"{label[:11]}..{label[-11:]}"

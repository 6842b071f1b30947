"""The scores of an evaluation as tables on a terminal, and its confusion matrix as a picture (MAE-DFER, Figure 7)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

INK, FADED, NOTHING = "#222222", "#777777", "#e3e3e3"
_LOG_COLUMNS = 140  # where there is no terminal, Rich takes 80, and the tables do not fit
_MOST_COUNTED = 12  # classes of a picture whose cells have room for counts
ABSOLUTE = ("ccc", "pearson", "mae")  # not percentages
_REPEATED = "accuracy"  # of classes: WAR by its other name
_PER_CLASS = "per class"
_WORDS = {"uar": "UAR", "war": "WAR", "ccc": "CCC", "mae": "MAE", "f1": "F1", "v_f1": "V-F1", "gflops": "GFLOPs"}


def show(result: dict[str, Any]) -> None:
    """Draws the tables of a result of `affect_scores.evaluate_tasks` on stderr; of several tasks those of each."""
    from rich.console import Console

    if "tasks" in result:
        for one in result["tasks"].values():
            show(one)
        return
    console = Console(stderr=True, width=None if sys.stderr.isatty() else _LOG_COLUMNS)
    console.print(_metric_table(result))
    console.print(*_facts(result), sep="\n", markup=False, highlight=False)
    unit = result.get("unit", "videos")
    console.print(_group_table(_PER_CLASS, result["per_class"], unit))
    for title, groups in {"part": result["per_part"], **result["per_attribute"]}.items():
        console.print(_group_table(f"per {title}", groups, unit))


def draw_confusion(result: dict[str, Any]) -> bytes:
    """PNG of the confusion matrix: percent of the videos of each true class, their number where there is room; nothing
    where there are none, grey where a class does not occur."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(result["per_class"])
    count_CC = np.array(result["confusion_matrix"])
    videos_C1 = count_CC.sum(1, keepdims=True)
    share_CC = np.where(videos_C1, count_CC / np.maximum(videos_C1, 1), np.nan)
    is_small = len(names) <= _MOST_COUNTED
    side = (0.85 if is_small else 0.45) * len(names)
    figure = Figure(figsize=(max(side + 2.6, 7.5), side + 2.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{result['protocol']}: {_headline(result)}", x=0.01, ha="left", color=INK)
    figure.supxlabel("\n".join(_facts(result)), x=0.01, ha="left", color=FADED, fontsize=9)
    axes = figure.subplots()
    axes.imshow(share_CC, cmap=matplotlib.colormaps["Blues"].with_extremes(bad=NOTHING), vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(share_CC):
        if count_CC[row, column]:
            text = f"{100 * share:.1f}\n{count_CC[row, column]}" if is_small else f"{100 * share:.0f}"
            colour = "white" if share > 0.6 else INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 if is_small else 7)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), [f"{name} ({n})" for name, n in zip(names, count_CC.sum(1), strict=True)])
    axes.set_xlabel("predicted: percent of the true class" + (", videos" if is_small else ""), color=INK)
    axes.set_ylabel("true (videos)", color=INK)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _metric_table(result: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title=f"{result['protocol']}: {_headline(result)}", title_justify="left")
    averaged = result.get("metrics_averaged")
    for name in ("metric", "pooled", "95 % interval", *([f"mean over {result['averaged_over']}"] if averaged else [])):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name, value in result["metrics"].items():
        if name == _REPEATED:
            continue
        cells = [number(name, value), ends(name, (result["metrics_interval_95"] or {}).get(name))]
        table.add_row(words(name), *cells, *([number(name, averaged[name])] if averaged else []))
    return table


def _group_table(title: str, groups: Mapping[str, Mapping[str, Any]], unit: str) -> Table:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("")
    columns = [name for name in next(iter(groups.values())) if name != _REPEATED or title == _PER_CLASS]
    for name in columns:
        table.add_column(unit if name == "videos" else words(name), justify="right")
    for group, values in groups.items():
        cells = (str(values[name]) if isinstance(values[name], int) else number(name, values[name]) for name in columns)
        table.add_row(group, *cells)
    return table


def _headline(result: dict[str, Any]) -> str:
    name, over = result["metric"], result["averaged_over"]
    averaged = f", mean over {over}" if over else ""
    return f"{words(name)}{averaged} {number(name, result['headline'])} {ends(name, result['headline_interval_95'])}"


def _facts(result: dict[str, Any]) -> list[str]:
    """What the numbers rest on, in two lines."""
    official = result["official_videos"]
    missing = f" of {official} in the corpus" if official and official != result["videos"] else ""
    unit = result.get("unit", "videos")
    clips = ", ".join(f"{clips} ({count} {unit})" for clips, count in result["clips_per_video"].items())
    clips = f"clips per video: {clips}; " if unit == "videos" else ""
    digits = {"parameters": 0, "gflops": 1}
    cost = [f"{result[name]:,.{places}f} {words(name)}" for name, places in digits.items() if name in result]
    return [
        f"{result['videos']} {unit}{missing}, {result['subjects']} subjects; {clips}"
        f"intervals are drawn over {result['intervals_over']}",
        "; ".join([f"{result['evaluation']} protocol", result["setting"] or "not pre-trained", *cost]),
    ]


def words(name: str) -> str:
    return _WORDS.get(name) or name.replace("_", " ").replace("f1", "F1")


def number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if name in ABSOLUTE else f"{100 * value:.1f}"


def ends(name: str, interval: list[float] | None) -> str:
    return f"[{', '.join(number(name, end) for end in interval)}]" if interval else ""

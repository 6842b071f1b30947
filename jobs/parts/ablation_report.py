"""The comparison of arms as a table on a terminal and as a chart."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.parts.ablation_config import BASELINE, UNITS
from jobs.parts.arms_chart import FADED, INK, difference, draw_arms, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRIC_NAMES = {"f1": "macro F1", "uar": "UAR"}
_LOG_COLUMNS = 140  # where there is no terminal, Rich takes 80, and the table does not fit


def show(result: dict[str, Any]) -> None:
    """Draws the table of headlines and views on stderr."""
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True, width=None if sys.stderr.isatty() else _LOG_COLUMNS)
    views = _views(result)
    for metric, title in METRIC_NAMES.items():
        table = Table(title=f"{title} of a linear probe, percent", caption=_caption(result))
        table.add_column("")
        for name in ("mean", f"above {BASELINE}", *(view.replace("_", " ") for view in views)):
            table.add_column(name, justify="right", no_wrap=True)
        for arm, scores in result["arms"].items():
            cells = (f"{100 * scores['views'][view][metric]:.1f}" for view in views)
            apart = result[f"above_{BASELINE}"].get(arm, {}).get(metric)
            table.add_row(arm, spread(scores[f"{metric}_runs"]), difference(apart), *cells)
        console.print(table)


def draw_scores(result: dict[str, Any]) -> bytes:
    """PNG: for each metric, the headline of every run as a dot, and the scores per view as a table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    arms = list(result["arms"])
    figure = Figure(figsize=(14, 2.2 + 1.1 * len(arms)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Emotions told from frozen features by a linear probe", x=0.01, ha="left", color=INK)
    figure.supxlabel(_caption(result), color=FADED, fontsize=9)
    panels = figure.subplots(2, 2, sharey=True, width_ratios=[1, 1.5])
    for (dots, cells), (metric, title) in zip(panels, METRIC_NAMES.items(), strict=True):
        # What the annotated units reach may lie far off, and stands in the table beside.
        runs = {arm: None if arm == UNITS else scores[f"{metric}_runs"] for arm, scores in result["arms"].items()}
        apart = {arm: values[metric] for arm, values in result[f"above_{BASELINE}"].items()}
        draw_arms(dots, runs, apart, baseline=BASELINE, title=title)
        _draw_views(cells, result, metric)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_views(axes: Axes, result: dict[str, Any], metric: str) -> None:
    views = _views(result)
    score_AV = np.array([[scores["views"][v][metric] for v in views] for scores in result["arms"].values()])
    axes.imshow(score_AV, aspect="auto", cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(score_AV):
        colour = "white" if value > 0.6 else INK
        axes.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(views)), [view.replace("_", " ") for view in views])
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_title("per view", loc="left", fontsize=10)


def _views(result: dict[str, Any]) -> list[str]:
    return list(result["arms"][BASELINE]["views"])


def _caption(result: dict[str, Any]) -> str:
    levels = ", ".join(map(str, result["levels"]))
    return (
        f"{result['videos']} videos of {result['subjects']} subjects, levels {levels}; {result['seeds']} seeds; chance "
        f"UAR {100 * result['chance_uar']:.1f}. Probes are tested on subjects they were not trained on; encoders saw "
        "them, without labels. Intervals are drawn over subjects and seeds"
    )

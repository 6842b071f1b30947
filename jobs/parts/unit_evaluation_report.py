"""The measures of action units as tables on a terminal and as a heat map."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.au_rules import RULES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AVERAGES = ("micro", "macro")
INK, NOTHING = "#222222", "#e3e3e3"
_LOG_COLUMNS = 120  # where there is no terminal, Rich takes 80, and the tables do not fit


def draw_heat_map(sources: dict[str, Any]) -> bytes:
    """PNG of the F1 of every unit in every view, a panel for each source; grey where a unit is never active."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 + 5.6 * len(sources), 9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        "Action units from the shape of a face: F1 against the truth of the synthetic corpus",
        x=0.01,
        ha="left",
        color=INK,
    )
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    for axes, (source, found) in zip(panels, sources.items(), strict=True):
        image = _draw_panel(axes, source, found["views"])
    bar = figure.colorbar(image, ax=list(panels), pad=0.02, aspect=50)
    bar.set_label("F1; grey: the unit is never active")
    bar.outline.set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def show(sources: dict[str, Any], left_out: dict[str, str]) -> None:
    """Draws tables of everything on stderr."""
    from rich.console import Console

    console = Console(stderr=True, width=None if sys.stderr.isatty() else _LOG_COLUMNS)
    for source, found in sources.items():
        console.print(_unit_table(source, found["views"]))
        console.print(_mask_table(source, found["masks"]))
    for source, reason in left_out.items():
        console.print(f"{source} is left out: {reason}", markup=False, highlight=False)


def _draw_panel(axes: Axes, source: str, views: dict[str, Any]) -> Any:
    rows = [*ACTION_UNITS, *AVERAGES]
    f1_RV = np.array([[_measures(found, row)["f1"] for found in views.values()] for row in rows])
    for column, found in enumerate(views.values()):
        for row, unit in enumerate(ACTION_UNITS):
            if not found["units"][unit]["positives"]:
                f1_RV[row, column] = np.nan
    image = axes.imshow(f1_RV, aspect="auto", cmap=_colours(), vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(f1_RV):
        if not np.isnan(value):
            colour = "white" if value > 0.6 else INK
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_title(source, loc="left", fontweight="bold", color=INK)
    axes.set_yticks(range(len(rows)), [f"{RULES[unit].name}  AU{unit}" for unit in ACTION_UNITS] + list(AVERAGES))
    faces = [f"{view}, {_percent(found['face_share'])}" for view, found in views.items()]
    axes.set_xticks(range(len(views)), faces, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlabel("view, share of its frames in which the face is found", color=INK)
    axes.axhline(len(ACTION_UNITS) - 0.5, color="white", linewidth=3)
    axes.axvline(len(views) - 1.5, color="white", linewidth=3)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
    return image


def _unit_table(source: str, views: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"{source}: precision/recall in percent", caption="-: nothing to divide by")
    table.add_column("")
    for view in views:
        table.add_column(view, justify="right", no_wrap=True)
    for row in (*ACTION_UNITS, *AVERAGES):
        cells = [_measures(found, row) for found in views.values()]
        name = row if row in AVERAGES else f"AU{row}"
        table.add_row(name, *(f"{_number(cell['precision'])}/{_number(cell['recall'])}" for cell in cells))
    table.add_section()
    table.add_row("faces", *(_percent(found["face_share"]) for found in views.values()))
    errors = [found["landmark_error_percent"] for found in views.values()]
    table.add_row("error", *("-" if np.isnan(error) else f"{error:.1f}%" for error in errors))
    return table


def _mask_table(source: str, groups: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(
        title=f"{source}: masks",
        caption="covered: of the patches of the unit's true points; active: the unit truly is; the rest: fallbacks",
    )
    kinds = list(next(iter(groups.values()))["fallbacks"])
    for name in ("", "masks", "covered", "least", "active", *(kind.replace("_", " ") for kind in kinds)):
        table.add_column(name, justify="right" if name else "left")
    for group, rates in groups.items():
        shares = [rates[name] for name in ("covered", "least_covered", "truly_active")]
        table.add_row(group, str(rates["masks"]), *map(_percent, (*shares, *rates["fallbacks"].values())))
    return table


def _measures(found: dict[str, Any], row: int | str) -> dict[str, float]:
    return found[row] if row in AVERAGES else found["units"][row]


def _number(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.0f}"


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.1%}" if share < 0.9995 else "100%"


def _colours() -> Any:
    import matplotlib

    return matplotlib.colormaps["Blues"].with_extremes(bad=NOTHING)

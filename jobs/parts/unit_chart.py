"""How often masks show each action unit, in each view, as one chart."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from jobs.parts.mask_words import REASONS
from pipelines.action_units import ACTION_UNITS
from pipelines.au_rules import RULES
from pipelines.mask_counts import MaskCounts

INK = "#222222"
FADED = "#777777"
DARKEST = 0.3
"""Share from which a cell is as dark as it gets in the chart of the units."""


def draw_units(counts: MaskCounts, *, title: str) -> bytes:
    """PNG of two tables over the views: the share of masks that show each unit, and why a mask shows what it shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}: what the masks show", x=0.01, ha="left", fontweight="bold", color=INK)
    units, reasons = figure.subplots(2, 1, height_ratios=[len(ACTION_UNITS), len(REASONS)])
    views = counts.views.values()
    _draw_shares(
        units,
        np.array([[_share(masks.units[unit], masks.masks) for masks in views] for unit in ACTION_UNITS]),
        [f"{RULES[unit].name}  AU{unit}" for unit in ACTION_UNITS],
        darkest=DARKEST,
    )
    names = [f"{view.replace('_', ' ')}\n{masks.masks} masks" for view, masks in counts.views.items()]
    units.set_xticks(range(len(names)), names)
    units.tick_params(axis="x", top=False, labeltop=True, labelbottom=False)
    _draw_shares(
        reasons,
        np.array([[_share(masks.fallbacks[reason], masks.masks) for masks in views] for reason in REASONS]),
        list(REASONS.values()),
        darkest=1.0,
    )
    reasons.set_xticks([])
    reasons.set_xlabel(
        f"Shares of the masks of an input view, over {counts.takes} of {counts.rows} samples of the first epoch; "
        f"{_dropped(counts)} of the units' tokens found no room",
        color=FADED,
        fontsize=9,
        labelpad=8,
    )
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_shares(axes: Any, shares: np.ndarray, labels: list[str], *, darkest: float) -> None:
    """A table of shares (NaN where there is no mask), darker where they are larger."""
    axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0.0, vmax=darkest)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    rows, columns = shares.shape
    axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, color="white")
    axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, color="white")
    for (row, column), share in np.ndenumerate(shares):
        if share > 0:
            colour = "white" if share > 0.6 * darkest else INK
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=9, color=colour)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _dropped(counts: MaskCounts) -> str:
    dropped, kept = (sum(getattr(masks, name) for masks in counts.views.values()) for name in ("dropped", "kept"))
    return f"{_share(dropped, dropped + kept):.1%}" if dropped + kept else "none"

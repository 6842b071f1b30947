"""Loss curves of a run: the rows of its metrics.jsonl (cluster.sinks.read_rows) as one picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO

import numpy as np

Row = Mapping[str, float | None]

LOSS = "loss/total"
RATE = "learning_rate"
WAIT_SHARE = "data/wait_share"
HELD_OUT_LOSS = "held_out/loss"
ZERO_LOSS = "held_out/zero_loss"
TRANSFER = "transfer/uar"
NEIGHBOURS = "transfer/knn_uar"
CHANCE = "transfer/chance"

INK = "#222222"
BLUE = "#1f6fb4"
RED = "#d1495b"
GREY = "#777777"
ORANGE = "#e08e0b"
GREEN = "#2a8f5c"

_MEASURED = {"linewidth": 2, "marker": "o", "markersize": 3.5}


def series(rows: Iterable[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and finite values (float64) of one metric, over the rows that have it."""
    pairs = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    steps, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    finite = np.isfinite(values)
    return steps[finite], values[finite]


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred mean over `window` values (at most all of them); at the ends over those there are."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")


def draw_curves(rows: Sequence[Row], *, title: str) -> bytes:
    """PNG of loss (training, smoothed; held-out; the zero predictor's), transfer where it was measured, learning rate
    and share of time spent waiting for data, all over optimizer steps. Raises ValueError when no row has a training
    loss."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not any(LOSS in row for row in rows):
        raise ValueError(f"no row has a {LOSS}: the run has not logged a step yet")
    is_probed = any(TRANSFER in row for row in rows)
    figure = Figure(figsize=(10, 9.5 if is_probed else 7.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3 + is_probed, 1, sharex=True, height_ratios=[4, *[2] * is_probed, 1, 1])
    loss, *between, rate, wait = panels
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    _draw_loss(loss, rows)
    for axes in between:
        _draw_transfer(axes, rows)
    _draw_line(rate, series(rows, RATE), "learning rate", color=INK)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    steps, shares = series(rows, WAIT_SHARE)
    _draw_line(wait, (steps, 100 * shares), "data wait, %", color=ORANGE)
    wait.set_ylim(0, max(5.0, 105 * shares.max(initial=0.0)))
    wait.set_xlabel("optimizer step")
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_loss(axes, rows: Sequence[Row]) -> None:
    steps, values = series(rows, LOSS)
    window = max(1, len(values) // 50)
    axes.plot(steps, values, color=BLUE, alpha=0.3 if window > 1 else 1.0, linewidth=1, label="training")
    if window > 1:
        axes.plot(steps, smooth(values, window), color=BLUE, linewidth=2, label=f"training, mean of {window} rows")
    steps, held_out = series(rows, HELD_OUT_LOSS)
    if len(held_out):
        axes.plot(steps, held_out, color=RED, **_MEASURED, label="held-out")
        _note_last(axes, steps, held_out, color=RED)
    steps, zero = series(rows, ZERO_LOSS)
    if len(zero):
        axes.axhline(zero[-1], color=GREY, linestyle="--", linewidth=1.2, label="held-out, predicting zeros")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, loc="upper right")


def _draw_transfer(axes, rows: Sequence[Row]) -> None:
    (steps, uar), (_, chance) = series(rows, TRANSFER), series(rows, CHANCE)
    neighbours = series(rows, NEIGHBOURS)
    axes.plot(steps, uar, color=GREEN, **_MEASURED, label="linear probe")
    axes.plot(*neighbours, color=ORANGE, **_MEASURED, label="nearest neighbours")
    axes.axhline(chance[-1], color=GREY, linestyle="--", linewidth=1.2, label="chance")
    _note_last(axes, steps, uar, color=GREEN)
    # From 0, so that noise about chance does not fill the panel, and with room for the legend.
    axes.set_ylim(0, 1.4 * max(uar.max(), neighbours[1].max(), chance[-1]))
    axes.set_ylabel("transfer, UAR")
    axes.legend(frameon=False, loc="upper left", ncols=3)


def _note_last(axes, steps: np.ndarray, values: np.ndarray, *, color: str) -> None:
    note = {"xytext": (0, 7), "textcoords": "offset points", "ha": "right", "fontsize": 9}
    axes.annotate(f"{values[-1]:.3f}", (steps[-1], values[-1]), **note, color=color)


def _draw_line(axes, curve: tuple[np.ndarray, np.ndarray], label: str, *, color: str) -> None:
    axes.plot(*curve, color=color, linewidth=1.5)
    axes.set_ylabel(label)

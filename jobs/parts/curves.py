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

INK = "#222222"
BLUE = "#1f6fb4"
RED = "#d1495b"
GREY = "#777777"
ORANGE = "#e08e0b"


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
    """PNG of loss (training, smoothed; held-out; the zero predictor's), learning rate and share of time spent waiting
    for data, all over optimizer steps. Raises ValueError when no row has a training loss."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not any(LOSS in row for row in rows):
        raise ValueError(f"no row has a {LOSS}: the run has not logged a step yet")
    figure = Figure(figsize=(10, 7.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    loss, rate, wait = figure.subplots(3, 1, sharex=True, height_ratios=[4, 1, 1])
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    _draw_loss(loss, rows)
    _draw_line(rate, series(rows, RATE), "learning rate", color=INK)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    steps, shares = series(rows, WAIT_SHARE)
    _draw_line(wait, (steps, 100 * shares), "data wait, %", color=ORANGE)
    wait.set_ylim(0, max(5.0, 105 * shares.max(initial=0.0)))
    wait.set_xlabel("optimizer step")
    for axes in (loss, rate, wait):
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
        axes.plot(steps, held_out, color=RED, linewidth=2, marker="o", markersize=3.5, label="held-out")
        last = (steps[-1], held_out[-1])
        note = {"xytext": (0, 7), "textcoords": "offset points", "ha": "right", "fontsize": 9}
        axes.annotate(f"{held_out[-1]:.3f}", last, **note, color=RED)
    steps, zero = series(rows, ZERO_LOSS)
    if len(zero):
        axes.axhline(zero[-1], color=GREY, linestyle="--", linewidth=1.2, label="held-out, predicting zeros")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, loc="upper right")


def _draw_line(axes, curve: tuple[np.ndarray, np.ndarray], label: str, *, color: str) -> None:
    axes.plot(*curve, color=color, linewidth=1.5)
    axes.set_ylabel(label)

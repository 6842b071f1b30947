"""Action units through a video, as one chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.au_rules import RULES

ACTIVE_SCORE = 1.0
"""Score from which a unit counts as active."""
INK = "#222222"
FADED = "#777777"
NO_FACE = "#e3e3e3"
CLIP = "#d1495b"


@dataclass(frozen=True)
class Activity:
    """The 18 units through a whole video."""

    name: str
    score_T18: np.ndarray
    """float, 0..5."""
    valid_T: np.ndarray
    fps: float
    clip: tuple[int, int]
    """First and last frame of the clip that is masked."""
    active: Sequence[int]
    """Units that are active in that clip."""
    source: str


def draw_activity(activity: Activity) -> bytes:
    """PNG of the score of every unit over time, with the masked clip framed and frames without a face in grey.

    At the right stands the share of the frames with a face in which a unit is active.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{activity.name}: action units over time", x=0.01, ha="left", fontweight="bold", color=INK)
    axes = figure.subplots()
    units = len(ACTION_UNITS)
    image = axes.imshow(
        np.where(activity.valid_T, activity.score_T18.T, np.nan),
        extent=(0, len(activity.valid_T) / activity.fps, units - 0.5, -0.5),
        **{"aspect": "auto", "interpolation": "nearest", "cmap": _colours(), "vmin": 0, "vmax": 5},
    )
    for row in range(1, units):
        axes.axhline(row - 0.5, color=NO_FACE, linewidth=0.8)
    _draw_clip(axes, activity)
    _label_units(axes, activity)
    axes.set(xlabel="seconds", ylim=(units - 0.5, -1.4))
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=40, ticks=[0, 1, 2, 3, 4, 5])
    bar.set_label(f"score by {activity.source}; from {ACTIVE_SCORE:g} on a unit is active; grey: no face")
    bar.outline.set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_clip(axes: Any, activity: Activity) -> None:
    start, end = activity.clip[0] / activity.fps, (activity.clip[1] + 1) / activity.fps
    axes.vlines((start, end), -0.5, len(ACTION_UNITS) - 0.5, color=CLIP, linewidth=1.5)
    axes.text(
        (start + end) / 2,
        -0.95,
        "masked clip, its active units in bold",
        color=CLIP,
        ha="center",
        va="center",
        fontsize=10,
    )


def _label_units(axes: Any, activity: Activity) -> None:
    axes.set_yticks(range(len(ACTION_UNITS)), [f"{RULES[unit].name}  AU{unit}" for unit in ACTION_UNITS])
    axes.tick_params(axis="y", length=0)
    for label, unit in zip(axes.get_yticklabels(), ACTION_UNITS, strict=True):
        if unit in activity.active:
            label.set(fontweight="bold", color=CLIP)
    scores_18T = activity.score_T18[activity.valid_T].T
    beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9, "color": FADED}
    axes.annotate("active", (1.005, -0.95), **beside)
    for row, scores_T in enumerate(scores_18T):
        share = (scores_T >= ACTIVE_SCORE).mean() if scores_T.size else 0.0
        axes.annotate(f"{share:.0%}", (1.005, row), **beside)


def _colours() -> Any:
    """White below the threshold, then light to dark blue; grey where there is no score."""
    from matplotlib.colors import LinearSegmentedColormap

    faint, light, dark = "#eef2f6", "#9ecae1", "#08306b"
    threshold = ACTIVE_SCORE / 5 - 0.001  # colours come in steps, and a score of exactly 1 is active
    stops = [(0.0, "#ffffff"), (threshold - 0.001, faint), (threshold, light), (1.0, dark)]
    colours = LinearSegmentedColormap.from_list("activity", stops, N=4096)
    return colours.with_extremes(bad=NO_FACE)

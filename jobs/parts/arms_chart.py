"""Arms of a comparison side by side: every run a dot, their mean, the interval of the difference from the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FADED, DOT, BAND = "#222222", "#777777", "#1f6feb", "#c9dcf7"


def draw_arms(
    axes: Axes,
    runs: Mapping[str, Sequence[float] | None],
    differences: Mapping[str, Sequence[float]],
    *,
    baseline: str,
    title: str,
) -> None:
    """A row for each arm, from the top. `runs` are scores of 0 to 1 by arm, None where its row stays empty;
    `differences` from the baseline: value, lower and upper end."""
    base = 100 * float(np.mean(runs[baseline]))
    for row, (arm, scores) in enumerate(runs.items()):
        if scores is None:
            continue
        percent = 100 * np.array(scores)
        if arm in differences:
            low, high = (base + 100 * end for end in differences[arm][1:])
            axes.plot([low, high], [row, row], color=BAND, linewidth=9, solid_capstyle="round", zorder=1)
        axes.scatter(percent, np.full(len(percent), row), s=18, color=DOT, zorder=2)
        axes.scatter([percent.mean()], [row], s=130, marker="|", color=INK, zorder=3)
    axes.axvline(base, color=FADED, linewidth=0.8, linestyle=":")
    axes.set_title(f"{title}, percent: runs, their mean, 95 % interval of the difference", loc="left", fontsize=10)
    axes.set_yticks(range(len(runs)), list(runs))
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelcolor=INK)


def spread(runs: Sequence[float]) -> str:
    """Mean and deviation of scores, in percent."""
    deviation = f" ± {100 * np.std(runs, ddof=1):.1f}" if len(runs) > 1 else ""
    return f"{100 * np.mean(runs):.1f}{deviation}"


def difference(apart: Sequence[float] | None) -> str:
    """A difference and its interval, in points; nothing for the baseline."""
    return "" if apart is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in apart))

"""How classes lie in the features of encoders (MAE-DFER, Figure 5), and how often a corpus has them (Figure 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.parts.score_report import FADED, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipelines.labels import EvaluationProtocol

MOST_POINTS = 2000
_PERPLEXITY = 30.0
_FEW_CLASSES = 10  # that a palette of tens tells apart
_PANEL = 4.2  # inches
_EPS = 1e-5


def draw_tsne(
    features: Mapping[str, np.ndarray], class_N: np.ndarray, classes: Sequence[str], *, title: str, seed: int = 0
) -> bytes:
    """PNG: t-SNE of the features [N, D] of each model side by side, of the same videos, at most 2,000 drawn by `seed`.
    Each feature counts alike, as to the linear probe."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(class_N), min(MOST_POINTS, len(class_N)), replace=False))
    figure = _figure((_PANEL * len(features) + 1.8, _PANEL + 1.0), f"{title}: t-SNE of frozen features")
    panels = figure.subplots(1, len(features), squeeze=False)[0]
    for axes, (name, x_ND) in zip(panels, features.items(), strict=True):
        point_N2 = _tsne(x_ND[chosen], seed)
        for k, (label, colour) in enumerate(zip(classes, _colours(len(classes)), strict=True)):
            of_class = class_N[chosen] == k
            axes.scatter(*point_N2[of_class].T, s=12, color=colour, label=label, linewidths=0)
        axes.set_title(name, fontsize=10, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(FADED)
    columns = -(-len(classes) // 20)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", frameon=False, ncols=columns, markerscale=2)
    figure.supxlabel(f"{len(chosen)} of {len(class_N)} videos", x=0.01, ha="left", fontsize=9, color=FADED)
    return _png(figure)


def draw_labels(target_NK: np.ndarray, part_N: np.ndarray, protocol: EvaluationProtocol, *, title: str) -> bytes:
    """PNG: videos of every class (labels: with each label) in every part; of a regression how its values spread."""
    classes, parts = protocol.classes, [part for part in protocol.parts if (part_N == part).any()]
    figure = _figure((max(6.5, 0.5 * len(classes) + 3.5), 4.6), f"{title}: {len(target_NK)} videos")
    axes = figure.subplots()
    colours = _colours(len(parts))
    if protocol.task == "regression":
        for p, (part, colour) in enumerate(zip(parts, colours, strict=True)):
            place = np.arange(len(classes)) + (p - (len(parts) - 1) / 2) * 0.8 / len(parts)
            value_MK = target_NK[part_N == part]
            axes.errorbar(place, value_MK.mean(0), value_MK.std(0), color=colour, label=part, fmt="o", capsize=3)
        axes.set_ylabel("mean and deviation", color=INK)
    else:
        below_K = np.zeros(len(classes))
        for part, colour in zip(parts, colours, strict=True):
            count_K = target_NK[part_N == part].sum(0)
            axes.bar(range(len(classes)), count_K, bottom=below_K, color=colour, label=part, width=0.75)
            below_K += count_K
        axes.set_ylabel("videos", color=INK)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    name = "test fold" if protocol.folds else "part"
    figure.legend(loc="outside right center", title=name, frameon=False)
    return _png(figure)


def _tsne(x_ND: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    x_ND = (x_ND - x_ND.mean(0)) / (x_ND.std(0) + _EPS)
    perplexity = min(_PERPLEXITY, (len(x_ND) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(x_ND.astype(np.float32))


def _colours(count: int) -> list[Any]:
    import matplotlib

    if count <= _FEW_CLASSES:
        return [matplotlib.colormaps["tab10"](k) for k in range(count)]
    return [matplotlib.colormaps["turbo"](k / (count - 1)) for k in range(count)]


def _figure(size: tuple[float, float], title: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", color=INK)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

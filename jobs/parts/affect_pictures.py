"""A video frame by frame, as one chart: what is true and what is predicted of its valence and arousal, expression and
action units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from models.challenge_metrics import Challenge
from models.metrics import THRESHOLD
from models.video_diagnosis import VideoDiagnosis, diagnose

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FADED, BLUE, NO_LABEL = "#222222", "#777777", "#1f6fb4", "#ffffff"
_NOT_THERE, _UNLIKELY, _LIKELY, _SURE = "#eeeeee", "#d9dee5", "#9ecae1", "#08306b"
_CLASSES = ("#a3a3a3", "#d1495b", "#7aa23f", "#8a5fb0", "#f0b429", "#1f6fb4", "#3fb8af", "#6b4f3a")
"""Of Aff-Wild2's eight in their order."""
_COLUMNS = 1200  # of a picture


@dataclass(frozen=True)
class FrameTrack:
    """What one task says of all frames of a video. N frames, K expressions, units or values."""

    names: tuple[str, ...]
    target_NK: np.ndarray
    """NaN where a frame is not annotated."""
    score_NK: np.ndarray
    """Probabilities or values."""
    threshold_K: np.ndarray | None = None
    """From which probability on a unit is there; None: 0.5, and for other tasks."""


Panel = tuple[float, "Callable[[Axes], None]"]
"""Height in inches, and what draws it."""


def draw_timeline(video: str, tracks: Mapping[Challenge, FrameTrack], present_N: np.ndarray, *, fps: float) -> bytes:
    """PNG of a video over time: a panel for each of valence and arousal (va), one for expressions (expr) and one for
    action units (au), of the tasks that are given. At the right stand the scores in this video
    (models.video_diagnosis), at the bottom, in grey, frames without a picture of the face (`present_N` False). Where
    there is no annotation the truth is white.

    Raises:
        ValueError: no task, or one that is not told frame by frame (eri); more classes than colours; scores that are
            not finite.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not tracks or not set(tracks) <= set(_PANELS):
        raise ValueError(f"a timeline shows some of {', '.join(_PANELS)}, given: {', '.join(tracks) or 'none'}")
    panels: list[Panel] = []
    for challenge in (name for name in _PANELS if name in tracks):
        track = tracks[challenge]
        columns = track.target_NK, track.score_NK, np.full(len(present_N), video), present_N
        (diagnosis,) = diagnose(challenge, *columns, threshold_K=track.threshold_K)
        panels += _PANELS[challenge](track, diagnosis, fps)
    panels.append((0.14, partial(_draw_missing, present_N, fps)))
    heights = [height for height, _ in panels]
    figure = Figure(figsize=(13, sum(heights) + 0.3 * len(heights) + 0.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{video}: truth and prediction over time", x=0.01, ha="left", fontweight="bold", color=INK)
    all_axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights)
    for axes, (_, draw) in zip(all_axes, panels, strict=True):
        axes.spines[:].set_visible(False)
        axes.tick_params(axis="x", length=0)
        draw(axes)
    all_axes[-1].set(xlabel="seconds", xlim=(0, len(present_N) / fps))
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _value_panels(track: FrameTrack, diagnosis: VideoDiagnosis, fps: float) -> Iterator[Panel]:
    for k, name in enumerate(track.names):
        part, columns = diagnosis.part_K[k], (track.target_NK[:, k], track.score_NK[:, k])
        yield 1.5, partial(_draw_value, name, *columns, _words("CCC", part), fps)


def _draw_value(name: str, target_N: np.ndarray, score_N: np.ndarray, score: str, fps: float, axes: Axes) -> None:
    seconds_N = (np.arange(len(target_N)) + 0.5) / fps
    axes.axhline(0, color=_NOT_THERE, linewidth=0.8)
    axes.plot(seconds_N, target_N, color=INK, linewidth=1.4, label="true", zorder=3)
    axes.plot(seconds_N, score_N, color=BLUE, linewidth=1.0, label="predicted")
    axes.set(ylim=(-1.05, 1.05), yticks=(-1, 0, 1))
    _title(axes, name, score, ncols=2)


def _class_panel(track: FrameTrack, diagnosis: VideoDiagnosis, fps: float) -> Iterator[Panel]:
    if len(track.names) > len(_CLASSES):
        raise ValueError(f"{len(track.names)} classes cannot be told apart by {len(_CLASSES)} colours")
    colour_K3 = _rgb(*_CLASSES, NO_LABEL)
    annotated_N = np.isfinite(track.target_NK).all(1)
    true_N = np.where(annotated_N, np.nan_to_num(track.target_NK).argmax(1), -1)
    told_N = track.score_NK.argmax(1)
    scores = f"{_words('accuracy', diagnosis.accuracy)}\n{_words('F1', diagnosis.score)}"
    yield 0.9, partial(_draw_classes, track.names, colour_K3[np.stack([true_N, told_N])], scores, fps)


def _draw_classes(names: tuple[str, ...], row_RN3: np.ndarray, scores: str, fps: float, axes: Axes) -> None:
    from matplotlib.patches import Patch

    _draw_rows(axes, row_RN3, fps, bottom=1.5)
    axes.axhline(0.5, color="white", linewidth=2)
    _label_rows(axes, (0, 1), ("true", "predicted"))
    handles = [Patch(color=colour, label=name) for colour, name in zip(_CLASSES, names, strict=False)]
    _title(axes, "expression", scores, handles=handles, ncols=len(names), handlelength=1)


def _unit_panel(track: FrameTrack, diagnosis: VideoDiagnosis, fps: float) -> Iterator[Panel]:
    num_units = len(track.names)
    threshold_K = np.full(num_units, THRESHOLD) if track.threshold_K is None else track.threshold_K
    # A bar for the truth, one for the prediction, and some room, of 3, 4 and 1 lines.
    true_KN = np.where(np.isnan(track.target_NK), 2, track.target_NK >= THRESHOLD).astype(int).T
    bars = (_rgb(_NOT_THERE, INK, NO_LABEL)[true_KN], _unit_colours(track.score_NK, threshold_K).swapaxes(0, 1))
    row_K3N3 = np.stack([*bars, np.ones_like(bars[0])], axis=1)
    row_RN3 = np.repeat(row_K3N3, (3, 4, 1), axis=1).reshape(8 * num_units, -1, 3)
    yield 0.27 * num_units, partial(_draw_units, track.names, row_RN3, diagnosis, fps)


def _draw_units(names: tuple[str, ...], row_RN3: np.ndarray, diagnosis: VideoDiagnosis, fps: float, axes: Axes) -> None:
    from matplotlib.patches import Patch

    _draw_rows(axes, row_RN3, fps, bottom=len(names) - 0.5)
    _label_rows(axes, range(len(names)), names)
    for row, part in enumerate(diagnosis.part_K):
        _note(axes, "" if part is None else f"{part:.2f}", (1.005, row), ("axes fraction", "data"))
    handles = [
        Patch(color=INK, label="true"),
        Patch(color=_SURE, label="predicted, surely"),
        Patch(color=_LIKELY, label="at the threshold"),
        Patch(color=_UNLIKELY, label="below it"),
    ]
    mean = _words("mean F1", diagnosis.score)
    _title(axes, f"action units; at the right F1 of those that occur, {mean}", "", handles=handles, ncols=4)


def _unit_colours(score_NK: np.ndarray, threshold_K: np.ndarray) -> np.ndarray:
    """RGB of each probability [N, K, 3]: white to grey below the threshold, light to dark blue above."""
    below_NK1 = np.clip(score_NK / np.maximum(threshold_K, 1e-9), 0, 1)[..., None]
    above_NK1 = np.clip((score_NK - threshold_K) / np.maximum(1 - threshold_K, 1e-9), 0, 1)[..., None]
    none_3, unlikely_3, likely_3, sure_3 = _rgb("white", _UNLIKELY, _LIKELY, _SURE)
    is_there_NK1 = (score_NK >= threshold_K)[..., None]
    return np.where(
        is_there_NK1, likely_3 + above_NK1 * (sure_3 - likely_3), none_3 + below_NK1 * (unlikely_3 - none_3)
    )


def _draw_missing(present_N: np.ndarray, fps: float, axes: Axes) -> None:
    _draw_rows(axes, _rgb(FADED, _NOT_THERE)[present_N.astype(int)][None], fps, bottom=0.5)
    _label_rows(axes, (0,), ("no face",))
    _note(axes, f"{1 - present_N.mean():.0%}", (1.005, 0.5), "axes fraction")


def _draw_rows(axes: Axes, row_RN3: np.ndarray, fps: float, *, bottom: float) -> None:
    """Rows of colours over time, from -0.5 at the top; of more frames than a screen has columns, means."""
    num_frames = row_RN3.shape[1]
    edges = np.linspace(0, num_frames, min(num_frames, _COLUMNS) + 1).astype(int)
    mean_RC3 = np.add.reduceat(row_RN3, edges[:-1], axis=1) / np.diff(edges)[:, None]
    extent = (0, num_frames / fps, bottom, -0.5)
    axes.imshow(mean_RC3.clip(0, 1), extent=extent, aspect="auto", interpolation="nearest")


def _label_rows(axes: Axes, places: Sequence[float], names: Sequence[str]) -> None:
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)


def _title(axes: Axes, name: str, score: str, **legend: Any) -> None:
    """The name and the legend above a panel, its score at the right."""
    axes.set_title(name, loc="left", fontsize=10, fontweight="bold", color=INK, pad=5)
    _note(axes, score, (1.005, 0.5), "axes fraction")
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1.0), "borderaxespad": 0.2}
    axes.legend(**place, **legend, frameon=False, fontsize=9)


def _note(axes: Axes, text: str, place: tuple[float, float], coordinates: str | tuple[str, str]) -> None:
    axes.annotate(text, place, xycoords=coordinates, va="center", fontsize=9, color=FADED)


def _words(measure: str, score: float | None) -> str:
    return f"{measure} unknown" if score is None else f"{measure} {score:.2f}"


def _rgb(*colours: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    return np.array([to_rgb(colour) for colour in colours])


_PANELS: dict[Challenge, Callable[[FrameTrack, VideoDiagnosis, float], Iterator[Panel]]] = {
    "va": _value_panels,
    "expr": _class_panel,
    "au": _unit_panel,
}

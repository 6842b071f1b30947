"""Pictures of action-unit masks: a clip with its kept patches, and an atlas of all units.

They follow MAURA's Figures 2, 3 and 4. Pictures are uint8 [H, W, 3] RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.parts.mask_words import mask_sentence
from jobs.parts.pictures import Row, draw_sheet, grey_out
from models.tokens import ClipGeometry
from pipelines.action_units import ACTION_UNITS
from pipelines.au_masks import AUMaskConfig, Dilation, MaskRecord, unit_tokens
from pipelines.au_rules import RULES, rule_points

STEPS_SHOWN = 8
DARK = 0.4
"""Brightness left to what lies outside the patches."""
ATLAS_COLUMNS = 6
DOT = (255, 214, 10)
EDGE = (255, 255, 255)
ENLARGED = 2
"""Dots and edges are drawn on enlarged pictures, where they stay fine."""


@dataclass(frozen=True)
class MaskedClip:
    """A clip of a face, as the model sees it, and the mask that was drawn for it."""

    name: str
    clip_THWC: np.ndarray
    landmarks_T682: np.ndarray
    valid_T: np.ndarray
    active: Sequence[int]
    """Action units that are active in the clip."""
    visible_V: np.ndarray
    record: MaskRecord


def draw_masked_clip(masked: MaskedClip, geometry: ClipGeometry, mask: AUMaskConfig, *, setting: str) -> np.ndarray:
    """Frames over time with landmarks, with the patches of the unit lit, and as the model sees them.

    At most 8 time steps are the columns, each shown by its first frame. `setting` says what was read and how, and
    becomes the first line of the caption.
    """
    time = geometry.grid[0]
    steps = np.unique(np.linspace(0, time - 1, min(time, STEPS_SHOWN)).round().astype(int))
    shown = steps * geometry.tubelet
    pictures = masked.clip_THWC[shown]
    seen_THW = np.isin(np.arange(geometry.num_tokens), masked.visible_V).reshape(geometry.grid)
    dotted = [
        _dotted(_enlarged(picture_HWC), masked.landmarks_T682[t]) if masked.valid_T[t] else _enlarged(picture_HWC)
        for picture_HWC, t in zip(pictures, shown, strict=True)
    ]
    rows = [Row("Landmarks", dotted, [f"a face in {masked.valid_T.sum()} of {len(masked.valid_T)}", "frames"])]
    if unit := masked.record.unit:
        unit_THW = unit_tokens(geometry, masked.landmarks_T682, masked.valid_T, unit, mask.dilation)
        lit = [_lit(*pair, geometry.patch) for pair in zip(pictures, unit_THW[steps], strict=True)]
        rows.append(Row(f"AU{unit}", lit, [RULES[unit].name, f"{unit_THW.sum() / time:.1f} patches a step"]))
    hidden = [_enlarged(~_pixels(seen_HW, geometry.patch)) for seen_HW in seen_THW[steps]]
    visible = grey_out(np.stack([_enlarged(picture_HWC) for picture_HWC in pictures]), np.stack(hidden))
    rows.append(Row("Visible to the model", visible, [f"{1 - seen_THW.mean():.0%} masked"]))
    return draw_sheet(
        rows,
        title=masked.name,
        caption=[setting, _story(masked)],
        columns=[f"frames {first}-{first + geometry.tubelet - 1}" for first in shown],
    )


def draw_atlas(
    picture_HWC: np.ndarray, landmarks_682: np.ndarray, geometry: ClipGeometry, dilation: Dilation, *, title: str
) -> bytes:
    """PNG of all 18 units on one face, each under its name in FACS, with its points and its patches lit."""
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    grid = figure.subplots(-(-len(ACTION_UNITS) // ATLAS_COLUMNS), ATLAS_COLUMNS)
    for axes, unit in zip(grid.flat, ACTION_UNITS, strict=True):
        lit_HWC, patches = _lit_unit(picture_HWC, landmarks_682, unit, geometry, dilation)
        axes.imshow(lit_HWC)
        axes.set_title(f"AU{unit}  {RULES[unit].name}", fontsize=10)
        axes.set_xlabel(f"{patches} patches", fontsize=9, labelpad=3)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_view_atlas(
    faces: Mapping[str, tuple[np.ndarray, np.ndarray]], geometry: ClipGeometry, dilation: Dilation, *, title: str
) -> np.ndarray:
    """All 18 units, one below the other, on several views (picture, landmarks [68, 2]) of a face side by side."""
    rows = []
    for unit in ACTION_UNITS:
        lit = [_lit_unit(*face, unit, geometry, dilation) for face in faces.values()]
        rows.append(Row(f"AU{unit}", [picture for picture, _ in lit], [RULES[unit].name]))
    return draw_sheet(rows, title=title, caption=(), columns=list(faces))


def _story(masked: MaskedClip) -> str:
    sentence = mask_sentence(masked.record, len(masked.visible_V))
    if not masked.record.unit:
        return sentence
    active = ", ".join(f"AU{unit}" for unit in masked.active) or "none"
    return f"Active in the clip: {active}. {sentence}"


def _lit_unit(
    picture_HWC: np.ndarray, landmarks_682: np.ndarray, unit: int, geometry: ClipGeometry, dilation: Dilation
) -> tuple[np.ndarray, int]:
    """The picture with the unit's patches lit and its points dotted, and the number of patches."""
    points_T682 = np.repeat(landmarks_682[None], geometry.frames, axis=0)
    tokens_HW = unit_tokens(geometry, points_T682, np.ones(geometry.frames, bool), unit, dilation)[0]
    lit_HWC = _lit(picture_HWC, tokens_HW, geometry.patch)
    return _dotted(lit_HWC, rule_points(landmarks_682[None], unit)[0], radius=4), int(tokens_HW.sum())


def _lit(picture_HWC: np.ndarray, tokens_HW: np.ndarray, patch: int) -> np.ndarray:
    """The picture darkened outside the tokens, twice as large, with a line around every area of tokens."""
    import cv2

    lit_HW = _enlarged(_pixels(tokens_HW, patch))
    large_HWC = _enlarged(picture_HWC)
    lit_HWC = np.where(lit_HW[..., None], large_HWC, (DARK * large_HWC).astype(np.uint8))
    outlines, _ = cv2.findContours(lit_HW.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(lit_HWC), outlines, -1, EDGE, 2)


def _dotted(large_HWC: np.ndarray, points_P2: np.ndarray, *, radius: int = 3) -> np.ndarray:
    """An enlarged picture with dots at points that are in pixels of the small one."""
    import cv2

    dotted_HWC = large_HWC.copy()
    for x, y in points_P2 * ENLARGED:
        cv2.circle(dotted_HWC, (round(float(x)), round(float(y))), radius, DOT, -1, cv2.LINE_AA)
    return dotted_HWC


def _pixels(tokens_HW: np.ndarray, patch: int) -> np.ndarray:
    return tokens_HW.repeat(patch, axis=0).repeat(patch, axis=1)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    return picture.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)

"""Masks that keep the patches of one active action unit visible in every frame.

Source: MAURA (sections 3.3 and 5, Table 5): one of the active units is drawn, the patches of its landmarks stay visible
and follow the head, and the rest is masked at random or as a tube until the whole clip reaches the masking ratio.
Deliberate differences:
- a landmark shows the patch it lies in and the four beside it (`dilation`): with AU12's two landmarks that makes the 10
  patches the paper counts, on a grid of 14 x 14; the paper itself does not say;
- the number of visible tokens is the same for every draw. Where a unit covers more, a random part of it is kept; where
  no unit can be placed, the mask is a plain one. Both are reported with the mask;
- of a tube around tracked patches, whose number changes over time, the last cell is shown at some time steps only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from models.tokens import ClipGeometry, Grid, region_of_tokens
from pipelines import masks
from pipelines.action_units import ACTION_UNITS
from pipelines.au_rules import RULES, rule_points

Dilation = Literal["none", "plus", "square"]
DEFAULT_DILATION: Dilation = "plus"


@dataclass(frozen=True)
class AUMaskConfig:
    """How much is masked, and what stays visible around a landmark."""

    ratio: float = 0.7
    """Share of the tokens that is masked (of a time step for tube; of a region, where there are regions)."""
    rest: Literal["random", "tube"] = "random"
    """Which of the tokens outside the unit stay visible. random: any; tube: the same places at every time step."""
    keep: Literal["unit", "nothing"] = "unit"
    """unit: the patches of an active unit; nothing: the rest is all, a plain mask as VideoMAE has it."""
    dilation: Dilation = DEFAULT_DILATION
    """Patches of a landmark. none: its own; plus: also those above, below, left and right; square: all 3 x 3."""

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < 1.0:
            raise ValueError(f"ratio={self.ratio} must lie strictly between 0 and 1")
        if self.keep == "nothing" and self.dilation != DEFAULT_DILATION:
            raise ValueError(f"dilation={self.dilation} has no effect on keep=nothing; say keep=unit")


class Fallback(StrEnum):
    """Why a mask does not show a unit drawn from the active ones."""

    none = "none"  # it does, or keep=nothing asked for a plain mask
    strongest = "strongest"  # no unit is active: it shows the one of the highest score
    no_active_unit = "no_active_unit"  # no unit is active, none of highest score was given: a plain mask
    no_landmarks = "no_landmarks"  # the face was found in no frame: a plain mask
    outside = "outside"  # no point of any unit that may be drawn lies within the picture: a plain mask


class MaskRecord(NamedTuple):
    """What became of one draw."""

    unit: int
    """Action unit that is shown, 0 for a plain mask."""
    kept: int
    """Tokens of the unit that are visible."""
    dropped: int
    """Tokens of the unit that are masked because the mask, or their region, has no room for them."""
    skipped: int
    """Units that were drawn before it and had no point within the picture."""
    fallback: Fallback


def num_visible(geometry: ClipGeometry, config: AUMaskConfig, region: Grid | None = None) -> int:
    """Visible tokens of every draw (V): as many as pipelines.masks keeps with policy `rest`, in each region by itself.

    Raises:
        ValueError: nothing would be visible, nothing would be masked, or the region does not tile the grid.
    """
    tokens_GM, quota = _layout(geometry.grid, config, region)
    return len(tokens_GM) * quota


def draw_au_mask(
    geometry: ClipGeometry,
    landmarks_T682: np.ndarray,
    valid_T: np.ndarray,
    active_18: np.ndarray,
    config: AUMaskConfig,
    rng: np.random.Generator,
    *,
    strongest: int | None = None,
    region: Grid | None = None,
) -> tuple[np.ndarray, MaskRecord]:
    """Visible token ids of one mask, int32 [V], ascending, and what was drawn.

    Landmarks are in pixels of the clip as the model sees it (pixel j covers j to j+1); those of frames that are not
    valid are never looked at. `active_18` (bool) follows ACTION_UNITS. `strongest` is the unit to show where none is
    active. With a `region`, every region keeps the same number of tokens, as LGI-Former needs.

    Raises:
        ValueError: as `num_visible`, arrays of other shapes, an unknown unit.
    """
    _check_inputs(geometry, landmarks_T682, valid_T, active_18, strongest)
    tokens_GM, quota = _layout(geometry.grid, config, region)
    units, fallback = _candidates(valid_T, active_18, strongest, config, rng)
    shown_THW, unit, skipped = _place_unit(geometry, landmarks_T682, valid_T, units, config.dilation)
    if units and not unit:
        fallback = Fallback.outside
    order_N = _order(shown_THW, config, rng)
    best_GK = np.argpartition(order_N[tokens_GM], quota - 1, axis=1)[:, :quota]
    visible_V = np.take_along_axis(tokens_GM, best_GK, axis=1).ravel()
    visible_V.sort()
    kept = int(np.count_nonzero(shown_THW.ravel()[visible_V]))
    return visible_V, MaskRecord(unit, kept, int(np.count_nonzero(shown_THW)) - kept, skipped, fallback)


def unit_tokens(
    geometry: ClipGeometry, landmarks_T682: np.ndarray, valid_T: np.ndarray, unit: int, dilation: Dilation
) -> np.ndarray:
    """Tokens on which an action unit shows, bool [time, rows, columns]: its points in all frames of a token together.

    Points outside the picture and frames that are not valid count for nothing.
    """
    time, rows, columns = geometry.grid
    points_TP2 = rule_points(landmarks_T682, unit)
    inside_TP = (points_TP2 >= 0).all(-1) & (points_TP2 < (geometry.width, geometry.height)).all(-1)
    inside_TP &= valid_T[:, None]
    frame_K, _ = np.nonzero(inside_TP)
    column_K, row_K = (points_TP2[inside_TP] // geometry.patch).astype(np.intp).T
    # A border of one patch makes room for the neighbours of patches at the edge.
    framed = np.zeros((time, rows + 2, columns + 2), bool)
    framed[frame_K // geometry.tubelet, row_K + 1, column_K + 1] = True
    return _dilate(framed, dilation)


def _candidates(
    valid_T: np.ndarray,
    active_18: np.ndarray,
    strongest: int | None,
    config: AUMaskConfig,
    rng: np.random.Generator,
) -> tuple[list[int], Fallback]:
    """Units to try, in this order, and what it means to show one of them, or none where there is none to try."""
    if config.keep == "nothing":
        return [], Fallback.none
    if not valid_T.any():
        return [], Fallback.no_landmarks
    if active_18.any():
        return [ACTION_UNITS[i] for i in rng.permutation(np.flatnonzero(active_18))], Fallback.none
    return ([], Fallback.no_active_unit) if strongest is None else ([strongest], Fallback.strongest)


def _place_unit(
    geometry: ClipGeometry, landmarks_T682: np.ndarray, valid_T: np.ndarray, units: list[int], dilation: Dilation
) -> tuple[np.ndarray, int, int]:
    """Tokens of the first unit that has any (bool [time, rows, columns]), the unit or 0, how many were skipped."""
    for skipped, unit in enumerate(units):
        shown_THW = unit_tokens(geometry, landmarks_T682, valid_T, unit, dilation)
        if shown_THW.any():
            return shown_THW, unit, skipped
    return np.zeros(geometry.grid, bool), 0, len(units)


def _order(shown_THW: np.ndarray, config: AUMaskConfig, rng: np.random.Generator) -> np.ndarray:
    """Rank of every token, float64 [N]: the lowest stay visible. Tokens of the unit come first, in random order."""
    noise_THW = rng.random(shown_THW.shape)
    order_THW = noise_THW
    if config.rest == "tube":
        # A whole number for each place, so that its time steps stand next to each other.
        order_THW = noise_THW + rng.permutation(shown_THW[0].size).reshape(shown_THW[0].shape)
    return np.where(shown_THW, noise_THW - 1.0, order_THW).ravel()


def _dilate(framed_THW: np.ndarray, dilation: Dilation) -> np.ndarray:
    """Adds neighbours to cells that stand in a border of one cell, and takes the border away."""
    middle = framed_THW[:, 1:-1, 1:-1]
    if dilation == "none":
        return middle
    if dilation == "plus":
        vertical = framed_THW[:, :-2, 1:-1] | framed_THW[:, 2:, 1:-1]
        return middle | vertical | framed_THW[:, 1:-1, :-2] | framed_THW[:, 1:-1, 2:]
    wide = framed_THW[:, :, :-2] | framed_THW[:, :, 1:-1] | framed_THW[:, :, 2:]
    return wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]


@lru_cache(maxsize=64)
def _layout(grid: Grid, config: AUMaskConfig, region: Grid | None) -> tuple[np.ndarray, int]:
    """Token ids by group, int32 [G, M] (a group is a region, or the whole clip), and how many each keeps visible."""
    plain = masks.MaskConfig(policy=config.rest, ratio=config.ratio)
    if region is None:
        return np.arange(np.prod(grid), dtype=np.int32)[None], masks.num_visible(grid, plain)
    region_N = region_of_tokens(grid, region)
    tokens_GM = np.argsort(region_N, kind="stable").astype(np.int32).reshape(region_N.max() + 1, -1)
    return tokens_GM, masks.num_visible(region, plain)


def _check_inputs(
    geometry: ClipGeometry,
    landmarks_T682: np.ndarray,
    valid_T: np.ndarray,
    active_18: np.ndarray,
    strongest: int | None,
) -> None:
    for name, array, shape in (
        ("landmarks", landmarks_T682, (geometry.frames, 68, 2)),
        ("valid", valid_T, (geometry.frames,)),
        ("active", active_18, (len(ACTION_UNITS),)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; a clip of {geometry.frames} frames needs {shape}")
    if strongest is not None and strongest not in RULES:
        raise ValueError(f"strongest={strongest} is no action unit of {ACTION_UNITS}")

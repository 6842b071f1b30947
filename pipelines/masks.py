"""Which tokens the encoder sees.

Sources: tube masking of VideoMAE (arXiv 2203.12602, 3.3), random and frame masking as in its Table 1c, and the
region-balanced tube of MAE-DFER (arXiv 2307.02227, 3.3), where every local region keeps the same number of tokens.
Deliberate difference: counts are exact integers, floor(ratio x cells) masked with the ratio read as the decimal that
was written, and every region that tiles the grid is served (the reference needs regions as wide as the grid).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import floor
from typing import Literal

import numpy as np

from models.tokens import Grid, check_region

Policy = Literal["tube", "random", "frame", "region_tube"]
DEFAULT_REGION: Grid = (2, 5, 10)


@dataclass(frozen=True)
class MaskConfig:
    """How tokens are masked."""

    policy: Policy = "region_tube"
    """tube: one spatial mask for all time steps; random: any tokens; frame: whole time steps; region_tube: a tube whose
    spatial mask is drawn in every region by itself."""
    ratio: float = 0.9
    """Share of the tokens that is masked (of a time step for tube, of a region's footprint for region_tube)."""
    region: Grid = DEFAULT_REGION
    """Tokens (time, rows, columns) of a region; only region_tube has it."""

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < 1.0:
            raise ValueError(f"ratio={self.ratio} must lie strictly between 0 and 1")
        if self.policy != "region_tube" and self.region != DEFAULT_REGION:
            raise ValueError(f"region={self.region} has no effect on policy={self.policy}; say policy=region_tube")


@lru_cache(maxsize=64)
def _layout(grid: Grid, config: MaskConfig) -> tuple[np.ndarray, int]:
    """Token ids by group, cell and member of a cell, int32 [G, C, M], and how many cells of each group stay visible."""
    time, rows, columns = grid
    ids_THW = np.arange(time * rows * columns, dtype=np.int32).reshape(grid)
    if config.policy == "random":
        tokens_GCM = ids_THW.reshape(1, -1, 1)
    elif config.policy == "frame":
        tokens_GCM = ids_THW.reshape(1, time, -1)
    elif config.policy == "tube":
        tokens_GCM = ids_THW.reshape(1, time, -1).transpose(0, 2, 1)
    else:
        check_region(grid, config.region)
        _, high, wide = config.region
        windows = ids_THW.reshape(time, rows // high, high, columns // wide, wide).transpose(1, 3, 2, 4, 0)
        tokens_GCM = windows.reshape(-1, high * wide, time)
    cells = tokens_GCM.shape[1]
    # repr() gives back the decimal that was written: 0.9 is 9/10 here, and not the float just above or below it.
    masked = floor(Fraction(repr(float(config.ratio))) * cells)
    if not 0 < masked < cells:
        what = "leaves no visible token" if masked else "masks nothing"
        raise ValueError(f"ratio={config.ratio} with policy={config.policy} {what}: it masks {masked} of {cells} cells")
    return np.ascontiguousarray(tokens_GCM), cells - masked


def num_visible(grid: Grid, config: MaskConfig) -> int:
    """Visible tokens of every draw (V).

    Raises:
        ValueError: nothing would be visible, nothing would be masked, or the region does not tile the grid.
    """
    tokens_GCM, kept = _layout(grid, config)
    groups, _, members = tokens_GCM.shape
    return groups * kept * members


def draw(grid: Grid, config: MaskConfig, rng: np.random.Generator) -> np.ndarray:
    """Visible token ids of one mask, int32 [V], ascending. Raises as `num_visible`."""
    tokens_GCM, kept = _layout(grid, config)
    groups, cells, _ = tokens_GCM.shape
    kept_GK = np.argpartition(rng.random((groups, cells)), kept - 1, axis=1)[:, :kept]
    visible_V = tokens_GCM[np.arange(groups)[:, None], kept_GK].ravel()
    visible_V.sort()
    return visible_V

"""What a figure is assembled from besides its skin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipelines.synthetic.mesh import Grid


@dataclass(frozen=True)
class Part:
    """One patch: it either hangs on the skin (`follow`) and deforms with it, or is rigid."""

    texture: str
    """Region of the texture atlas; the patch fills it, rows down and columns to the right."""
    grid: Grid
    follow: Callable[[np.ndarray], np.ndarray] | None = None
    """Vertices [3,n] as an affine function of the head's vertices [3,N]."""
    rigid_3N: np.ndarray | None = None
    jaw: float = 0.0
    """Share of the jaw's movement that a rigid part follows."""
    body: bool = False
    """Does not turn with the head."""
    inside: bool = False
    """Behind lids or lips, where shadows of the neutral face say nothing."""
    specular: float = 0.1
    gloss: float = 12.0
    """Exponent of the highlight: larger is smaller and sharper."""
    scatter: float = 0.0
    """How much light bleeds around the terminator (skin 1)."""

    def vertices(self, head_3N: np.ndarray) -> np.ndarray:
        return self.rigid_3N if self.follow is None else self.follow(head_3N)


def two_sided(grid: Grid) -> Grid:
    """The same patch, visible from behind as well."""
    return replace(grid, faces_F3=np.concatenate([grid.faces_F3, grid.faces_F3[:, ::-1]]))


def flipped(grid: Grid) -> Grid:
    """The same patch, visible from behind only."""
    return replace(grid, faces_F3=grid.faces_F3[:, ::-1], neighbours_4N=grid.neighbours_4N[[0, 1, 3, 2]])

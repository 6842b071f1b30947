"""Grid meshes: vertices in rows and columns, cut by slits, with neighbours for normals and faces for the renderer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """Topology of a rows x columns patch. Vertices are numbered row-major."""

    rows: int
    columns: int
    faces_F3: np.ndarray
    neighbours_4N: np.ndarray
    """Vertex above, below, left and right; a vertex on a border is its own neighbour beyond it."""

    @property
    def num_vertices(self) -> int:
        return self.rows * self.columns


def quad_faces(index_RC: np.ndarray, keep: np.ndarray | None = None) -> np.ndarray:
    """Two triangles per cell, int32 [F,3], clockwise as seen when rows run down and columns to the right."""
    a, b, c, d = index_RC[:-1, :-1], index_RC[:-1, 1:], index_RC[1:, :-1], index_RC[1:, 1:]
    keep = np.ones(a.shape, bool) if keep is None else keep
    triangles = (np.stack([a, b, c], -1)[keep], np.stack([b, d, c], -1)[keep])
    return np.concatenate(triangles).astype(np.int32)


def plain_grid(rows: int, columns: int, *, wrap: bool = False) -> Grid:
    """A patch without cuts. `wrap`: the last column coincides with the first."""
    index_RC = np.arange(rows * columns).reshape(rows, columns)
    up = np.concatenate([index_RC[:1], index_RC[:-1]])
    down = np.concatenate([index_RC[1:], index_RC[-1:]])
    left, right = _sideways(index_RC, wrap)
    neighbours = np.stack([up.ravel(), down.ravel(), left.ravel(), right.ravel()])
    return Grid(rows, columns, quad_faces(index_RC), neighbours.astype(np.intp))


def slit_grid(rows: int, columns: int, slits: dict[int, np.ndarray]) -> tuple[Grid, np.ndarray]:
    """A wrapped patch with cuts.

    `slits` maps a row r to a bool [columns] array: rows r and r+1 are the two edges of a cut, apart where True and one
    and the same elsewhere. Returns the grid and the id of the distinct point behind every vertex, int [N].
    """
    index_RC = np.arange(rows * columns).reshape(rows, columns)
    up = np.concatenate([index_RC[:1], index_RC[:-1]])
    down = np.concatenate([index_RC[1:], index_RC[-1:]])
    point_RC = index_RC.copy()
    keep = np.ones((rows - 1, columns - 1), bool)
    for row, is_open in slits.items():
        point_RC[row + 1, ~is_open] = index_RC[row, ~is_open]
        keep[row] = False
        down[row] = np.where(is_open, index_RC[row], index_RC[row + 2])
        up[row + 1] = np.where(is_open, index_RC[row + 1], index_RC[row - 1])
    point_RC[:, -1] = point_RC[:, 0]
    left, right = _sideways(index_RC, True)
    neighbours = np.stack([up.ravel(), down.ravel(), left.ravel(), right.ravel()])
    return Grid(rows, columns, quad_faces(index_RC, keep), neighbours.astype(np.intp)), point_RC.ravel()


def _sideways(index_RC: np.ndarray, wrap: bool) -> tuple[np.ndarray, np.ndarray]:
    left = np.concatenate([index_RC[:, :1], index_RC[:, :-1]], axis=1)
    right = np.concatenate([index_RC[:, 1:], index_RC[:, -1:]], axis=1)
    if wrap:
        left[:, 0] = index_RC[:, -2]
        right[:, -1] = index_RC[:, 1]
    return left, right


def combine(weights: np.ndarray, fields_KN: np.ndarray) -> np.ndarray:
    """weights [...,K] @ fields [K,N]. BLAS would be faster, but gives other bits on other numbers of threads."""
    return np.einsum("...k,kn->...n", weights, fields_KN)


def normals(vertices_3N: np.ndarray, neighbours_4N: np.ndarray) -> np.ndarray:
    """Unit normals [3,N] pointing out of the clockwise side (towards the viewer for a face that looks at it)."""
    up, down, left, right = neighbours_4N
    ax, ay, az = (axis.take(right) - axis.take(left) for axis in vertices_3N)
    bx, by, bz = (axis.take(up) - axis.take(down) for axis in vertices_3N)
    normal = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
    return normal / np.maximum(np.sqrt((normal * normal).sum(0)), 1e-9)

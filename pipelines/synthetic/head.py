"""The head mesh and how control points move it.

A grid wrapped around a plain head-like surface (the chart) is cut open along the eyes and the mouth. Every shape, be it
the average face, an identity or an expression, is a displacement of the control points, spread over the rest of the
skin by the bilaplacian (Botsch & Kobbelt 2004, "An intuitive framework for real-time freeform modeling").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.interpolate import PchipInterpolator
from scipy.linalg import cho_solve_banded, cholesky_banded

from pipelines.synthetic.mesh import Grid, combine, slit_grid
from pipelines.synthetic.template import AXIS_DEPTH, EYE_SLIT_Y, MOUTH_SLIT_Y, ControlSet, control_set

PROFILE = (
    (-1.27, 0.12), (-1.22, 0.34), (-1.12, 0.55), (-0.98, 0.73), (-0.80, 0.87), (-0.60, 0.95), (-0.30, 1.0),
    (0.5, 0.99), (0.9, 0.95), (1.1, 0.88), (1.25, 0.76), (1.4, 0.66), (1.6, 0.62), (2.4, 0.62),
)  # fmt: skip
"""(height, scale) of the horizontal cross-sections of the chart."""
SIDE, FRONT, BACK = 0.78, 0.93, 1.0


@dataclass(frozen=True)
class HeadMesh:
    """Topology of the head and the spread of its control points."""

    grid: Grid
    chart_3N: np.ndarray
    controls: ControlSet
    control_vertex_K: np.ndarray
    rest_K3: np.ndarray
    """Where the control points of the average neutral face are: the template, snapped to the nearest vertices."""
    spread_KN: np.ndarray
    """float32: how far each vertex follows each control point."""
    eye_row: int
    mouth_row: int
    eye_columns: tuple[np.ndarray, np.ndarray]
    """Columns of the image-left and image-right eye slit, corners included."""
    mouth_columns: np.ndarray
    template_3N: np.ndarray

    def shape(self, position_K3: np.ndarray) -> np.ndarray:
        """Vertices [3,N] of the head whose control points lie at `position_K3`."""
        return self.template_3N + self.displacement(position_K3 - self.rest_K3)

    def displacement(self, offset_K3: np.ndarray) -> np.ndarray:
        """Movement [3,N] of the vertices when the control points move by `offset_K3`."""
        return combine(offset_K3.T.astype(np.float32), self.spread_KN)

    def vertices(self, row: int, columns: np.ndarray) -> np.ndarray:
        return row * self.grid.columns + columns


def _heights() -> np.ndarray:
    pieces = (
        np.linspace(-1.27, -1.14, 5, endpoint=False),
        np.linspace(-1.14, -0.62, 9, endpoint=False),
        np.linspace(-0.62, -0.30, 9, endpoint=False),
        np.linspace(-0.30, 0.12, 23, endpoint=False),
        np.linspace(0.12, 0.52, 16, endpoint=False),
        np.linspace(0.52, 0.88, 20, endpoint=False),
        np.linspace(0.88, 1.30, 13, endpoint=False),
        np.linspace(1.30, 2.40, 8),
    )
    heights = np.concatenate(pieces)
    for slit in (EYE_SLIT_Y, MOUTH_SLIT_Y):
        nearest = np.abs(heights - slit).argmin()
        heights[nearest] = slit
        heights = np.insert(heights, nearest, slit)
    return heights


def _azimuths() -> np.ndarray:
    half = np.concatenate(
        [np.linspace(0, 37, 26, endpoint=False), np.linspace(37, 80, 14, endpoint=False), np.linspace(80, 180, 9)]
    )
    return np.radians(np.concatenate([-half[:0:-1], half]))


def _chart_surface(azimuth_RC: np.ndarray, height_RC: np.ndarray) -> np.ndarray:
    knots, scales = np.array(PROFILE).T
    scale = PchipInterpolator(knots, scales)(height_RC)
    sine, cosine = np.sin(azimuth_RC), np.cos(azimuth_RC)
    radius = scale / np.hypot(sine / SIDE, cosine / np.where(cosine > 0, FRONT, BACK))
    height_RC = np.broadcast_to(height_RC, radius.shape)
    return np.stack([radius * sine, height_RC, AXIS_DEPTH - radius * cosine])


def _bilaplacian(point_3P: np.ndarray, faces_F3: np.ndarray) -> sparse.csc_matrix:
    """L^T M^-1 L with the cotangent Laplacian L and lumped areas M; isolated points get an identity row."""
    count = point_3P.shape[1]
    rows, columns, weights = [], [], []
    area = np.zeros(count)
    for i in range(3):
        a, b, c = (faces_F3[:, (i + k) % 3] for k in range(3))
        u, v = (point_3P[:, b] - point_3P[:, a]).T, (point_3P[:, c] - point_3P[:, a]).T
        double_area = np.linalg.norm(np.cross(u, v), axis=1) + 1e-12
        rows += [b, c]
        columns += [c, b]
        weights += [(u * v).sum(1) / double_area / 2] * 2
        np.add.at(area, a, double_area / 6)
    adjacency = sparse.coo_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)
    ).tocsr()
    laplacian = adjacency - sparse.diags(np.asarray(adjacency.sum(1)).ravel())
    used = area > 0
    inverse_mass = sparse.diags(np.where(used, 1 / np.maximum(area, 1e-5), 0))
    return (laplacian.T @ inverse_mass @ laplacian + sparse.diags((~used).astype(float))).tocsc()


def _spread(energy: sparse.csc_matrix, fixed_K: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Weights [len(wanted), P] with which every point follows the fixed points `fixed_K[wanted]`.

    Row-major numbering keeps the energy banded (two rows of the grid), which makes a banded Cholesky the fastest way.
    """
    free = np.setdiff1d(np.arange(energy.shape[0]), fixed_K)
    lower = sparse.tril(energy[free][:, free]).tocoo()
    banded = np.zeros((int((lower.row - lower.col).max()) + 1, len(free)))
    banded[lower.row - lower.col, lower.col] = lower.data
    factor = cholesky_banded(banded, overwrite_ab=True, lower=True, check_finite=False)
    weights = np.zeros((len(wanted), energy.shape[0]))
    coupling = -energy[free][:, fixed_K[wanted]].toarray()
    weights[:, free] = cho_solve_banded((factor, True), coupling, overwrite_b=True, check_finite=False).T
    weights[np.arange(len(wanted)), fixed_K[wanted]] = 1.0
    return weights


def _mirrored_spread(grid: Grid, point_N: np.ndarray, chart_3N: np.ndarray, controls: ControlSet, vertex_K: np.ndarray):
    """Weights [K,N]; those of the image-left half are the mirror image of their twins."""
    index_RC = np.arange(grid.num_vertices).reshape(grid.rows, grid.columns)
    mirrored_F3 = index_RC[:, ::-1].ravel()[grid.faces_F3[:, ::-1]]
    energy = _bilaplacian(chart_3N, point_N[np.concatenate([grid.faces_F3, mirrored_F3])])
    wanted = np.flatnonzero(~controls.mirrored_K)
    half_KN = _spread(energy, point_N[vertex_K], wanted)[:, point_N]
    flipped_KN = half_KN.reshape(-1, grid.rows, grid.columns)[:, :, ::-1].reshape(len(wanted), -1)
    row_of = {controls.names[k]: row for row, k in enumerate(wanted)}
    source = [row_of[base] for base in controls.base]
    return np.where(controls.mirrored_K[:, None], flipped_KN[source], half_KN[source])


def _nearest_vertices(controls: ControlSet, azimuths: np.ndarray, heights: np.ndarray) -> np.ndarray:
    vertices = []
    for name, (angle, height), side in zip(controls.names, controls.chart_K2, controls.side, strict=True):
        row = np.abs(heights - height).argmin() + (side == "lower")
        column = np.abs(azimuths - angle).argmin() if angle < np.pi else 0
        vertex = row * len(azimuths) + column
        if vertex in vertices:
            raise ValueError(f"control {name} falls on the vertex of {controls.names[vertices.index(vertex)]}")
        vertices.append(vertex)
    return np.array(vertices)


@lru_cache(maxsize=1)
def head_mesh() -> HeadMesh:
    """The head every identity shares; built once per process (about a second)."""
    controls = control_set()
    heights, azimuths = _heights(), _azimuths()
    eye_row, mouth_row = (int(np.flatnonzero(heights == slit)[0]) for slit in (EYE_SLIT_Y, MOUTH_SLIT_Y))

    def columns(first: str, last: str) -> np.ndarray:
        ends = [np.abs(azimuths - controls.chart_K2[controls.index(name), 0]).argmin() for name in (first, last)]
        return np.arange(ends[0], ends[1] + 1)

    eyes = columns("p36", "p39"), columns("p42", "p45")
    mouth = columns("p60", "p64")
    is_open = {eye_row: np.zeros(len(azimuths), bool), mouth_row: np.zeros(len(azimuths), bool)}
    for row, span in ((eye_row, eyes[0]), (eye_row, eyes[1]), (mouth_row, mouth)):
        is_open[row][span[1:-1]] = True
    grid, point_N = slit_grid(len(heights), len(azimuths), is_open)
    chart_3N = _chart_surface(azimuths[None], heights[:, None]).reshape(3, -1)
    vertex_K = _nearest_vertices(controls, azimuths, heights)
    spread_KN = _mirrored_spread(grid, point_N, chart_3N, controls, vertex_K).astype(np.float32)
    snap_K3 = chart_3N[:, vertex_K].T - _chart_surface(*controls.chart_K2.T).T
    rest_K3 = controls.position_K3 + snap_K3 * (1, 1, 0)
    template_3N = chart_3N + combine((rest_K3 - chart_3N[:, vertex_K].T).T, spread_KN)
    return HeadMesh(
        grid=grid,
        chart_3N=chart_3N,
        controls=controls,
        control_vertex_K=vertex_K,
        rest_K3=rest_K3,
        spread_KN=spread_KN,
        eye_row=eye_row,
        mouth_row=mouth_row,
        eye_columns=eyes,
        mouth_columns=mouth,
        template_3N=template_3N.astype(np.float32),
    )

"""Action units as displacements of the skin and as folds in it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.synthetic.expressions import MAX_INTENSITY
from pipelines.synthetic.facs import CREASES, PULLS
from pipelines.synthetic.head import head_mesh
from pipelines.synthetic.template import mirror_name


@lru_cache(maxsize=1)
def au_fields() -> np.ndarray:
    """Movement of every head vertex per unit of intensity, float32 [2 halves, 18 action units, 3, N].

    Half 0 is the image-left one. Points on the midline belong to both halves by one half each.
    """
    head = head_mesh()
    fields = np.zeros((2, len(ACTION_UNITS), 3, head.grid.num_vertices), np.float32)
    names = {name: k for k, name in enumerate(head.controls.names)}
    for row, unit in enumerate(ACTION_UNITS):
        offset_K3 = np.zeros((2, len(names), 3))
        for name, (lateral, down, forward) in PULLS[unit].items():
            twin = mirror_name(name)
            if twin in names and twin != name:
                offset_K3[1, names[name]] = lateral, down, -forward
                offset_K3[0, names[twin]] = -lateral, down, -forward
            else:
                offset_K3[:, names[name]] = lateral, down / 2, -forward / 2
        for half in range(2):
            fields[half, row] = head.displacement(offset_K3[half] / MAX_INTENSITY)
    return fields


def _distance(x_N: np.ndarray, y_N: np.ndarray, line: tuple[tuple[float, float], ...]) -> np.ndarray:
    best = np.full(x_N.shape, np.inf)
    for (ax, ay), (bx, by) in zip(line[:-1], line[1:], strict=True):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x_N - ax) * dx + (y_N - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        best = np.minimum(best, np.hypot(x_N - ax - along * dx, y_N - ay - along * dy))
    return best


@lru_cache(maxsize=1)
def crease_fields() -> np.ndarray:
    """Darkness 0..1 of the folds at full intensity, float32 [18, N]."""
    head = head_mesh()
    x_N, y_N, z_N = head.template_3N
    front = z_N < 0.8
    fields = np.zeros((len(ACTION_UNITS), head.grid.num_vertices), np.float32)
    for row, unit in enumerate(ACTION_UNITS):
        for width, darkness, line in CREASES.get(unit, ()):
            for sign in (1, -1):
                fold = darkness * np.exp(-0.5 * (_distance(sign * x_N, y_N, line) / width) ** 2)
                fields[row] = np.maximum(fields[row], fold * front)
    return fields

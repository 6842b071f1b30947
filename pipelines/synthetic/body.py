"""Ears, shoulders, glasses."""

from __future__ import annotations

import numpy as np

from pipelines.synthetic.eyes import EYE_RADIUS, eyeball_centre
from pipelines.synthetic.head import HeadMesh
from pipelines.synthetic.mesh import plain_grid
from pipelines.synthetic.parts import Part, flipped, two_sided
from pipelines.synthetic.template import AXIS_DEPTH

EAR_RELIEF = ((0, -0.03), (0.3, -0.025), (0.5, 0.02), (0.62, 0.035), (0.74, 0.02), (0.86, 0.06), (0.96, 0.05), (1, 0))
"""(share of the way from the ear's canal to its rim, height over its plane in D)."""
SHOULDERS = (
    # half width, half depth, height at the front, at the sides, at the back
    (0.66, 0.56, 1.66, 1.50, 1.40),
    (0.70, 0.59, 1.86, 1.62, 1.50),
    (0.76, 0.63, 1.98, 1.70, 1.56),
    (1.05, 0.72, 2.12, 1.82, 1.72),
    (1.55, 0.82, 2.30, 1.98, 1.92),
    (1.95, 0.88, 2.60, 2.20, 2.20),
    (2.15, 0.95, 3.00, 2.65, 2.60),
    (2.20, 1.00, 3.90, 3.70, 3.60),
)
"""Rings of cloth from the collar down."""
TUBE_SIDES = 6


def build_ears(head: HeadMesh, head_3N: np.ndarray) -> list[Part]:
    rings, spokes = 9, 25
    radius, turn = np.linspace(0, 1, rings)[:, None], np.linspace(0, 2 * np.pi, spokes)[None]
    relief = np.interp(radius, *np.array(EAR_RELIEF).T) - 0.03 * np.exp(-((radius - 0.3) ** 2) / 0.1)
    along = radius * 0.115 * np.cos(turn) * (1 - 0.22 * np.clip(np.sin(turn), 0, 1))
    down = radius * 0.215 * np.sin(turn)
    grid = plain_grid(rings, spokes, wrap=True)
    parts = []
    for name, side in (("p0", -1), ("p16", 1)):
        anchor = head_3N[:, head.control_vertex_K[head.controls.index(name)]]
        offset = np.stack([side * (0.50 * along + relief + 0.05), 0.20 + down - 0.12 * along, 0.17 + 0.78 * along])
        ear = anchor[:, None, None] + offset
        parts.append(
            Part("ear", grid if side < 0 else flipped(grid), rigid_3N=ear.reshape(3, -1), specular=0.1, scatter=1.0)
        )
    return parts


def build_torso() -> Part:
    turn = np.linspace(-np.pi, np.pi, 41)[None]
    width, depth, front, side, back = (column[:, None] for column in np.array(SHOULDERS).T)
    y = side * np.sin(turn) ** 2 + np.where(np.cos(turn) > 0, front, back) * np.cos(turn) ** 2
    cloth = np.stack([width * np.sin(turn), y, 1.10 - depth * np.cos(turn)])
    grid = plain_grid(len(SHOULDERS), 41, wrap=True)
    return Part("cloth", grid, rigid_3N=cloth.reshape(3, -1), body=True, specular=0.03)


def build_glasses(head: HeadMesh, head_3N: np.ndarray) -> list[Part]:
    turn = np.linspace(0, 2 * np.pi, 33)
    squareness = 1 / (np.abs(np.cos(turn)) ** 5 + np.abs(np.sin(turn)) ** 5) ** 0.2
    eyes = [eyeball_centre(head, head_3N, half) for half in (0, 1)]
    wires = []
    for (x, y, z), side in zip(eyes, (-1, 1), strict=True):
        front = z - EYE_RADIUS - 0.085
        rim_x = x + 0.215 * squareness * np.cos(turn)
        rim_y = y + 0.035 + 0.165 * squareness * np.sin(turn)
        wires.append(np.stack([rim_x, rim_y, front + 0.30 * np.clip(np.abs(rim_x) - 0.3, 0, 1)]))
        hinge = np.array([[x + side * 0.215], [y - 0.02], [front + 0.07]])
        ear = np.array([[side * 0.84], [y + 0.02], [AXIS_DEPTH]])
        t = np.linspace(0, 1, 8)
        arm = hinge * (1 - t) + ear * t
        arm[0] += side * 0.10 * np.sin(np.pi * t)
        wires.append(arm)
    t = np.linspace(-1, 1, 7)
    bridge_x = t * ((eyes[1][0] - eyes[0][0]) / 2 - 0.205)
    wires.append(np.stack([bridge_x, eyes[0][1] - 0.05 + 0.03 * t * t, np.full(7, eyes[0][2] - EYE_RADIUS - 0.10)]))
    return [_tube(wire) for wire in wires]


def _tube(path_3M: np.ndarray) -> Part:
    turn = np.linspace(0, 2 * np.pi, TUBE_SIDES)
    rings = path_3M[:, :, None] + 0.0135 * np.stack([0 * turn, np.cos(turn), np.sin(turn)])[:, None]
    grid = two_sided(plain_grid(path_3M.shape[1], TUBE_SIDES, wrap=True))
    return Part("glasses", grid, rigid_3N=rings.reshape(3, -1), specular=0.5, gloss=30.0)

"""One person ready to be posed: all patches in shared arrays, with every action unit as a displacement."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.synthetic.body import build_ears, build_glasses, build_torso
from pipelines.synthetic.expressions import MAX_INTENSITY, au_index
from pipelines.synthetic.eyes import build_eyes
from pipelines.synthetic.facs import PULLS
from pipelines.synthetic.hair import build_hair, hairline
from pipelines.synthetic.head import HeadMesh, head_mesh
from pipelines.synthetic.identity import Identity, control_positions
from pipelines.synthetic.mesh import normals
from pipelines.synthetic.mouth import build_mouth
from pipelines.synthetic.muscles import au_fields, crease_fields
from pipelines.synthetic.parts import Part
from pipelines.synthetic.shadows import visibility
from pipelines.synthetic.template import azimuth
from pipelines.synthetic.texture import paint_atlas, region_uv

INSIDE_LIGHT = 0.8
"""Light on eyes and teeth as a share of that on the face around them."""
HAIR_OVERLAP = 0.25
"""Skin is left out where hair covers it by more than this, in D."""
STILL = 2e-4
"""Vertices that no unit of intensity moves farther than this, in D, do not take part in expressions."""


@dataclass(frozen=True)
class Figure:
    """Vertices (N), faces (F) and materials of one person; M vertices take part in expressions."""

    neutral_3N: np.ndarray
    moving_M: np.ndarray
    fields: np.ndarray
    """Displacement per unit of intensity, float32 [36, 3*M]: the 18 action units of the image-left half, then right."""
    folds_18M: np.ndarray
    faces_F3: np.ndarray
    neighbours_4N: np.ndarray
    uv_N2: np.ndarray
    head_weight_N: np.ndarray
    """1: turns with the head, 0: stays with the body."""
    specular_N: np.ndarray
    gloss_N: np.ndarray
    scatter_N: np.ndarray
    visibility_LN: np.ndarray
    """Share of the light from each of LIGHT_DIRECTIONS (seen from the head) that reaches a vertex."""
    landmark_68: np.ndarray
    """Vertices of the 68 iBUG points."""
    eyes: tuple[slice, slice]
    lid_gap: float
    """Height of the open eye in D."""
    lid_closing_18: np.ndarray
    """How much a unit of intensity of each action unit takes from it."""
    atlas: np.ndarray


def build_figure(identity: Identity) -> Figure:
    """Sculpt, dress and paint one person (some tenths of a second)."""
    head = head_mesh()
    head_3N = head.shape(control_positions(identity))
    parts = [
        _skin(identity, head, head_3N),
        *build_eyes(head, head_3N),
        *build_mouth(head, head_3N),
        *build_ears(head, head_3N),
        build_torso(),
        *build_hair(identity, head, head_3N),
        *(build_glasses(head, head_3N) if identity.glasses else []),
    ]
    return _assemble(parts, identity, head, head_3N)


def _assemble(parts: list[Part], identity: Identity, head: HeadMesh, head_3N: np.ndarray) -> Figure:
    counts = [part.grid.num_vertices for part in parts]
    starts = np.concatenate([[0], np.cumsum(counts)])
    placed = [part.vertices(head_3N) for part in parts]
    neutral_3N = np.concatenate(placed, axis=1).astype(np.float32)
    faces_F3 = np.concatenate([part.grid.faces_F3 + at for part, at in zip(parts, starts, strict=False)])
    neighbours_4N = np.concatenate(
        [part.grid.neighbours_4N + at for part, at in zip(parts, starts, strict=False)], axis=1
    )
    fields = np.concatenate([_part_fields(part, head_3N) for part in parts], axis=-1)
    moving_M = np.flatnonzero(np.abs(fields).max((0, 1, 2)) > STILL)
    folds_18N = np.zeros((len(ACTION_UNITS), starts[-1]), np.float32)
    folds_18N[:, : head.grid.num_vertices] = crease_fields()
    landmark_68 = _landmark_vertices(head)
    visibility_LN = visibility(neutral_3N, faces_F3.astype(np.int32), normals(neutral_3N, neighbours_4N))
    inside = np.repeat([part.inside for part in parts], counts)
    visibility_LN[:, inside] = INSIDE_LIGHT * visibility_LN[:, landmark_68[17:]].mean(1, keepdims=True)

    def spread(values: list[np.ndarray | float]) -> np.ndarray:
        full = [np.broadcast_to(value, count) for value, count in zip(values, counts, strict=True)]
        return np.concatenate(full).astype(np.float32)

    return Figure(
        neutral_3N=neutral_3N,
        moving_M=moving_M,
        fields=np.ascontiguousarray(fields[..., moving_M].reshape(2 * len(ACTION_UNITS), -1)),
        folds_18M=np.ascontiguousarray(folds_18N[:, moving_M]),
        faces_F3=faces_F3.astype(np.int32),
        neighbours_4N=neighbours_4N,
        uv_N2=np.concatenate([region_uv(p.texture, p.grid.rows, p.grid.columns) for p in parts]).astype(np.float32),
        head_weight_N=spread([0.0 if p.body else _head_weight(v) for p, v in zip(parts, placed, strict=True)]),
        specular_N=spread([_skin_shine(head) if part.texture == "skin" else part.specular for part in parts]),
        gloss_N=spread([part.gloss for part in parts]),
        scatter_N=spread([part.scatter for part in parts]),
        visibility_LN=visibility_LN,
        landmark_68=landmark_68,
        eyes=tuple(slice(starts[i], starts[i + 1]) for i, part in enumerate(parts) if part.texture == "eye"),
        lid_gap=float(_lid_gap(head, head_3N)),
        lid_closing_18=-np.array([_lid_gap(head, field) for field in au_fields()[1]]),
        atlas=paint_atlas(identity),
    )


def _skin(identity: Identity, head: HeadMesh, head_3N: np.ndarray) -> Part:
    """The head's mesh without what hair covers."""
    x, y, z = head_3N
    covered = y < hairline(identity, azimuth(x, z)) - HAIR_OVERLAP
    bare = head.grid.faces_F3[~covered[head.grid.faces_F3].all(1)]
    return Part("skin", replace(head.grid, faces_F3=bare), follow=lambda vertices: vertices, gloss=9.0, scatter=1.0)


def _part_fields(part: Part, head_3N: np.ndarray) -> np.ndarray:
    """Displacement of a part per unit of intensity, [2 halves, 18, 3, n]."""
    skin = au_fields()
    neutral = part.vertices(head_3N)
    if part.follow is not None:
        moved = [[part.follow(head_3N + field) - neutral for field in half] for half in skin]
        return np.array(moved, np.float32)
    fields = np.zeros((2, len(ACTION_UNITS), 3, neutral.shape[1]), np.float32)
    if part.jaw:
        lateral, down, forward = PULLS[26]["p66"]
        per_half = np.array((lateral, down, -forward)) / MAX_INTENSITY / 2
        fields[:, au_index(26)] = part.jaw * per_half[:, None]
    return fields


def _landmark_vertices(head: HeadMesh) -> np.ndarray:
    vertex = dict(zip(head.controls.names, head.control_vertex_K, strict=True))
    return np.array([vertex[f"p{point}"] for point in range(68)])


def _lid_gap(head: HeadMesh, values_3N: np.ndarray) -> np.ndarray:
    """Height of the image-right eye in its middle; of a displacement, its change."""
    columns = head.eye_columns[1]
    upper, lower = (values_3N[1, head.vertices(head.eye_row + k, columns)] for k in (0, 1))
    return (lower - upper)[len(columns) // 2]


def _head_weight(vertices_3N: np.ndarray) -> np.ndarray:
    """1 on the head, 0 on the body; the nape passes from one to the other higher up than the throat."""
    _, y, z = vertices_3N
    behind = np.clip((z - 0.3) / 0.8, 0, 1)
    top, base = 1.30 - 0.40 * behind, 1.62 - 0.12 * behind
    turn = np.clip((base - y) / (base - top), 0, 1)
    return turn * turn * (3 - 2 * turn)


def _skin_shine(head: HeadMesh) -> np.ndarray:
    """Oily forehead and nose, dull sides, wet lips."""
    x, y, z = head.template_3N
    front = np.clip(0.9 - z, 0, 1)
    nose = np.exp(-((x / 0.12) ** 2) - ((y - 0.34) / 0.12) ** 2)
    lips = np.exp(-((x / 0.25) ** 4) - ((y - 0.72) / 0.085) ** 4)
    return 0.05 + 0.07 * front + 0.13 * nose + 0.22 * lips * (z < 0.4)

"""One moment of a performance before a camera sees it: where the figure's vertices are and what light they get."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.camera import rotation_matrix
from pipelines.synthetic.expressions import MAX_INTENSITY, au_index
from pipelines.synthetic.eyes import EYE_REACH
from pipelines.synthetic.figure import Figure
from pipelines.synthetic.mesh import combine
from pipelines.synthetic.performance import Pose
from pipelines.synthetic.scene import Scene, light_direction
from pipelines.synthetic.shadows import key_weights
from pipelines.synthetic.texture import ATLAS_HEIGHT, ATLAS_WIDTH, REGIONS

PIVOT = np.array([0.0, 0.45, 0.55])
"""Point the head turns around: VoxCeleb2's crops follow the face, so it stays nearly in place."""
BLINK_SCALE = (0.25, 2.0)
"""Bounds of what a blink is multiplied by to meet the other lid."""
EYE_TEXTURE = np.array(REGIONS["eye"][:1:-1]) / (ATLAS_WIDTH, ATLAS_HEIGHT)
"""Width and height of the eye in texture coordinates."""


@dataclass(frozen=True)
class PosedFigure:
    """What all cameras that look at the same moment share (N vertices, M of them take part in expressions)."""

    vertices_3N: np.ndarray
    """World coordinates in D."""
    folds_M: np.ndarray
    """Darkness of the folds."""
    lit_N: np.ndarray
    """Share of the key light that reaches each vertex."""
    texture_N2: np.ndarray
    """Texture coordinates, the eyes turned."""
    seconds: float


def pose_figure(figure: Figure, scene: Scene, pose: Pose) -> PosedFigure:
    vertices_3N, folds_M = pose_vertices(figure, pose)
    lit_N = combine(key_weights(head_rotation(pose).T @ light_direction(scene)), figure.visibility_LN)
    return PosedFigure(vertices_3N, folds_M, lit_N, _texture_coordinates(figure, pose), pose.seconds)


def head_rotation(pose: Pose) -> np.ndarray:
    return rotation_matrix(pose.yaw, pose.pitch, pose.roll)


def head_position(pose: Pose) -> np.ndarray:
    """Where the nasion is in the world, [3] in D."""
    return PIVOT - head_rotation(pose) @ PIVOT + (*pose.shift, 0.0)


def effective_intensity(figure: Figure, intensity_218: np.ndarray) -> np.ndarray:
    """Intensities as the mesh needs them: a full blink just closes the lids, whatever else narrows or widens them."""
    intensity = np.array(intensity_218, np.float32)
    lids = au_index(45)
    narrowed = intensity @ figure.lid_closing_18 - intensity[:, lids] * figure.lid_closing_18[lids]
    full_blink = MAX_INTENSITY * figure.lid_closing_18[lids]
    intensity[:, lids] *= np.clip((figure.lid_gap - narrowed) / full_blink, *BLINK_SCALE)
    return intensity


def pose_vertices(figure: Figure, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """World coordinates [3,N] of the posed figure and the darkness of the folds [M]."""
    intensity = effective_intensity(figure, pose.intensity_218)
    vertices = figure.neutral_3N.copy()
    vertices[:, figure.moving_M] += combine(intensity.ravel(), figure.fields).reshape(3, -1)
    folds = combine(intensity.mean(0) / MAX_INTENSITY, figure.folds_18M)
    pivot = PIVOT[:, None].astype(np.float32)
    turned = combine(head_rotation(pose).astype(np.float32), vertices - pivot) + pivot
    vertices += figure.head_weight_N * (turned - vertices)
    vertices[:2] += np.array(pose.shift, np.float32)[:, None]
    return vertices, folds


def _texture_coordinates(figure: Figure, pose: Pose) -> np.ndarray:
    uv = figure.uv_N2.copy()
    shift = np.radians(pose.gaze) / (2 * EYE_REACH) * EYE_TEXTURE
    for eye in figure.eyes:
        uv[eye] -= shift.astype(np.float32)
    return uv

"""Ground truth as the CSV that OpenFace 2's FeatureExtraction writes (`-2Dfp -pose -aus`)."""

from __future__ import annotations

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.synthetic.camera import Camera

MILLIMETRES_PER_UNIT = 90.0
"""Distance of the outer eye corners of an adult, which is our unit of length."""
ACTIVE = 1.0
"""Intensity from which a unit counts as present (FACS level A)."""
INTENSITY_UNITS = tuple(unit for unit in ACTION_UNITS if unit != 28)
"""OpenFace estimates no intensity for AU28, only its presence."""
COLUMNS = (
    *("frame", "face_id", "timestamp", "confidence", "success"),
    *(f"pose_{name}" for name in ("Tx", "Ty", "Tz", "Rx", "Ry", "Rz")),
    *(f"x_{i}" for i in range(68)),
    *(f"y_{i}" for i in range(68)),
    *(f"AU{unit:02d}_r" for unit in INTENSITY_UNITS),
    *(f"AU{unit:02d}_c" for unit in ACTION_UNITS),
)


def euler_angles(rotation_33: np.ndarray) -> tuple[float, float, float]:
    """OpenFace's Rx, Ry, Rz in radians of a rotation Rx @ Ry @ Rz (x right, y down, z away)."""
    around_y = float(np.arcsin(np.clip(rotation_33[0, 2], -1, 1)))
    around_x = float(np.arctan2(-rotation_33[1, 2], rotation_33[2, 2]))
    around_z = float(np.arctan2(-rotation_33[0, 1], rotation_33[0, 0]))
    return around_x, around_y, around_z


def head_pose(camera: Camera, rotation_33: np.ndarray, position_3: np.ndarray) -> tuple[float, ...]:
    """Position (mm) and rotation (radians) of a head in the coordinates of a camera, in OpenFace's order."""
    seen = camera.view(position_3[:, None])[:, 0] * MILLIMETRES_PER_UNIT
    return (*(float(v) for v in seen), *euler_angles(camera.rotation @ rotation_33))


def write_csv(landmarks_T682: np.ndarray, intensity_T18: np.ndarray, pose_T6: np.ndarray, *, fps: float) -> bytes:
    """One row per frame; every face is found, with full confidence. Landmarks in pixels, intensities 0..5."""
    lines = [",".join(COLUMNS)]
    shown = [ACTION_UNITS.index(unit) for unit in INTENSITY_UNITS]
    for t, (points, intensity, pose) in enumerate(zip(landmarks_T682, intensity_T18, pose_T6, strict=True)):
        row = [str(t + 1), "0", f"{t / fps:.3f}", "1.00", "1"]
        row += [f"{value:.1f}" for value in pose[:3]] + [f"{value:.3f}" for value in pose[3:]]
        row += [f"{value:.1f}" for value in points[:, 0]] + [f"{value:.1f}" for value in points[:, 1]]
        row += [f"{value:.2f}" for value in intensity[shown]]
        row += [f"{float(value >= ACTIVE):.1f}" for value in intensity]
        lines.append(",".join(row))
    return ("\n".join(lines) + "\n").encode()

"""A pinhole camera that orbits the face.

Pixel coordinates are continuous: pixel j covers [j, j+1), so its centre is at j + 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.synthetic.mesh import combine

VIEW_ANGLES = {
    "front": (0.0, 0.0),
    "left_30": (-30.0, 0.0),
    "left_60": (-60.0, 0.0),
    "right_30": (30.0, 0.0),
    "right_60": (60.0, 0.0),
    "top": (0.0, -30.0),
    "down": (0.0, 30.0),
}
"""MEAD's seven cameras, (yaw, pitch) in degrees as in Camera. This table alone says what left and right mean.

MAURA does not say whose left it is. Here it is that of the viewer, as image coordinates have it: the `left` cameras
stand on the image left of the frontal one, on the person's right, and see the nose point to the image right. Whichever
way the corpus has it, a mirrored left view is a right one.
"""


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from, and how large the face is in it."""

    yaw: float = 0.0
    """Degrees around the vertical axis; positive: the camera stands on the image right of a frontal one."""
    pitch: float = 0.0
    """Degrees around the horizontal axis; positive: the camera stands below the face."""
    size: int = 224
    """Height and width of the square picture in pixels."""
    face_pixels: float = 60.0
    """Pixels per D (distance of the outer eye corners) at the target."""
    target: tuple[float, float, float] = (0.0, 0.58, 0.35)
    """Point in D that appears in the middle of the picture."""
    distance: float = 14.0
    """Camera to target in D (14 D is about 1.3 m)."""

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 2048:
            raise ValueError(f"size={self.size} must lie in 32..2048")
        if self.face_pixels <= 0 or self.distance < 4:
            raise ValueError(f"face_pixels={self.face_pixels} must be positive and distance={self.distance} at least 4")

    @property
    def field_of_view(self) -> float:
        """Vertical opening angle, radians."""
        return 2 * float(np.arctan(self.size / 2 / (self.face_pixels * self.distance)))

    @property
    def rotation(self) -> np.ndarray:
        """Turns world directions into the camera's, [3,3]."""
        return rotation_matrix(self.yaw, self.pitch, 0.0).T

    def view(self, world_3N: np.ndarray) -> np.ndarray:
        """World to camera coordinates [3,N]: x right, y down, z away, the camera at the origin."""
        centre = np.array(self.target)[:, None]
        seen = combine(self.rotation, world_3N - centre)
        seen[2] += self.distance
        return seen.astype(np.float32)

    def project(self, view_3N: np.ndarray) -> np.ndarray:
        """Camera coordinates to pixels [N,2]."""
        scale = self.face_pixels * self.distance / view_3N[2]
        return (view_3N[:2] * scale + self.size / 2).T


def rotation_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation by degrees: roll about z, then pitch about x, then yaw about y.

    Positive yaw turns a face towards the image right, positive pitch nods it down, positive roll turns it clockwise.
    """
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians((yaw, pitch, roll))), np.sin(np.radians((yaw, pitch, roll)))
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z

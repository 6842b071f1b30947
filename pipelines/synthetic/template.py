"""The average neutral head: control points that sculpt the mesh, carry identity and are pulled by action units.

Frontal positions of the 68 iBUG points are the symmetrised mean of two measured faces, with the mouth closed; depths
and the points in between are anthropometric averages. Unit D, x right, y down; `forward` is towards the viewer (-z).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

AXIS_DEPTH = 0.95
"""z of the vertical axis through the head around which azimuth is measured."""
EYE_SLIT_Y = 0.0
MOUTH_SLIT_Y = 0.70
"""Height on the chart (the undeformed head) of the cuts that open as eyes and mouth."""


@dataclass(frozen=True)
class Control:
    """One control point of the image-right half (x >= 0); points off the midline are mirrored."""

    name: str
    x: float
    y: float
    forward: float
    chart: tuple[float, float] | None = None
    """(x, y) on the chart where the mesh vertex is taken from, if not where the point itself lies."""
    side: str = ""
    """'upper' or 'lower' edge for a point on a slit."""


def _eye(name: str, x: float, y: float, forward: float, chart_y: float = EYE_SLIT_Y, side: str = "") -> Control:
    return Control(name, x, y, forward, (x, chart_y), side)


def _lip(name: str, x: float, y: float, forward: float, side: str = "") -> Control:
    return Control(name, x, y, forward, (x, MOUTH_SLIT_Y), side)


CONTROLS: tuple[Control, ...] = (
    # Midline, top to bottom.
    Control("apex", 0, -1.27, -0.92, (0.0, -1.27)),
    Control("crown_front", 0, -1.10, -0.42),
    Control("hairline", 0, -0.80, -0.12),
    Control("forehead", 0, -0.50, 0.025),
    Control("glabella", 0, -0.20, 0.06),
    Control("p27", 0, 0.0, 0.0),
    Control("p28", 0, 0.161, 0.075),
    Control("p29", 0, 0.281, 0.165),
    Control("p30", 0, 0.379, 0.235),
    Control("columella", 0, 0.445, 0.185),
    Control("p33", 0, 0.496, 0.085),
    Control("philtrum", 0, 0.565, 0.085),
    Control("p51", 0, 0.641, 0.125),
    Control("upper_lip", 0, 0.672, 0.132),
    _lip("p62", 0, 0.700, 0.095, "upper"),
    _lip("p66", 0, 0.703, 0.092, "lower"),
    Control("lower_lip", 0, 0.760, 0.112),
    Control("p57", 0, 0.824, 0.075),
    Control("sulcus", 0, 0.905, 0.025),
    Control("chin", 0, 1.06, 0.045),
    Control("p8", 0, 1.195, -0.040),
    Control("submental", 0, 1.275, -0.28),
    Control("throat", 0, 1.36, -0.55),
    Control("neck_front", 0, 1.75, -0.62),
    Control("neck_base", 0, 2.35, -0.60),
    Control("crown_back", 0, -0.95, -1.72, (-10.0, -0.95)),
    Control("occiput", 0, -0.15, -1.98, (-10.0, -0.15)),
    Control("nape", 0, 0.85, -1.62, (-10.0, 0.85)),
    Control("neck_back", 0, 1.75, -1.58, (-10.0, 1.75)),
    # Brow.
    Control("p22", 0.163, -0.207, 0.030),
    Control("p23", 0.320, -0.227, 0.000),
    Control("p24", 0.459, -0.236, -0.060),
    Control("p25", 0.566, -0.207, -0.145),
    Control("p26", 0.636, -0.153, -0.245),
    Control("forehead_mid", 0.28, -0.50, -0.015),
    Control("forehead_side", 0.52, -0.48, -0.16),
    Control("forehead_top", 0.38, -0.80, -0.20),
    Control("temple_front", 0.655, -0.38, -0.38),
    Control("temple", 0.715, -0.08, -0.52),
    # Eye. The lid edges lie on the slit, creases and bags on the skin around it.
    _eye("p42", 0.193, 0.011, -0.135),
    _eye("lid_inner_u", 0.243, -0.040, -0.108, side="upper"),
    _eye("p43", 0.317, -0.064, -0.090, side="upper"),
    _eye("lid_mid_u", 0.375, -0.068, -0.092, side="upper"),
    _eye("p44", 0.433, -0.058, -0.112, side="upper"),
    _eye("p45", 0.500, -0.015, -0.190),
    _eye("lid_inner_l", 0.243, 0.020, -0.125, side="lower"),
    _eye("p47", 0.298, 0.027, -0.110, side="lower"),
    _eye("lid_mid_l", 0.355, 0.031, -0.110, side="lower"),
    _eye("p46", 0.410, 0.025, -0.125, side="lower"),
    _eye("crease_inner", 0.225, -0.085, -0.085, -0.070),
    _eye("crease", 0.330, -0.118, -0.062, -0.075),
    _eye("crease_outer", 0.440, -0.108, -0.098, -0.070),
    _eye("crease_end", 0.530, -0.060, -0.190, -0.050),
    _eye("bag_inner", 0.230, 0.085, -0.105, 0.075),
    _eye("bag", 0.330, 0.105, -0.098, 0.085),
    _eye("bag_outer", 0.430, 0.090, -0.135, 0.075),
    Control("canthus_side", 0.575, -0.02, -0.255),
    # Nose.
    Control("bridge_upper", 0.085, 0.02, -0.045),
    Control("bridge_side", 0.105, 0.16, -0.020),
    Control("nose_side", 0.115, 0.28, 0.040),
    Control("tip_side", 0.085, 0.375, 0.175),
    Control("ala_top", 0.155, 0.350, 0.030),
    Control("ala", 0.195, 0.425, 0.025),
    Control("nostril", 0.080, 0.452, 0.125),
    Control("p35", 0.212, 0.468, -0.045),
    Control("p34", 0.099, 0.488, 0.050),
    Control("ala_cheek", 0.245, 0.385, -0.080),
    # Cheek.
    Control("infraorbital", 0.26, 0.21, -0.075),
    Control("cheek", 0.42, 0.24, -0.105),
    Control("zygoma", 0.60, 0.18, -0.275),
    Control("cheek_mid", 0.40, 0.47, -0.105),
    Control("cheek_side", 0.62, 0.45, -0.420),
    Control("cheek_low", 0.46, 0.72, -0.225),
    Control("fold_upper", 0.295, 0.53, -0.060),
    Control("fold_lower", 0.385, 0.67, -0.120),
    # Mouth.
    Control("philtrum_side", 0.13, 0.565, 0.055),
    Control("p52", 0.098, 0.624, 0.118),
    Control("p53", 0.190, 0.640, 0.070),
    Control("p54", 0.318, 0.697, -0.045),
    _lip("p64", 0.288, 0.699, -0.020),
    Control("upper_lip_side", 0.110, 0.668, 0.118),
    Control("upper_lip_out", 0.205, 0.676, 0.060),
    _lip("p63", 0.095, 0.698, 0.085, "upper"),
    _lip("seam_u", 0.200, 0.700, 0.040, "upper"),
    _lip("p65", 0.095, 0.702, 0.082, "lower"),
    _lip("seam_l", 0.200, 0.702, 0.037, "lower"),
    Control("lower_lip_side", 0.110, 0.763, 0.098),
    Control("lower_lip_out", 0.205, 0.745, 0.040),
    Control("p56", 0.100, 0.819, 0.062),
    Control("p55", 0.225, 0.770, 0.012),
    Control("marionette", 0.345, 0.83, -0.125),
    # Jaw.
    Control("sulcus_side", 0.18, 0.90, -0.010),
    Control("chin_side", 0.21, 1.06, -0.005),
    Control("jaw_front", 0.36, 0.95, -0.140),
    Control("p9", 0.262, 1.138, -0.130),
    Control("p10", 0.455, 1.008, -0.330),
    Control("p11", 0.545, 0.920, -0.490),
    Control("p12", 0.655, 0.745, -0.670),
    Control("p13", 0.726, 0.555, -0.755),
    Control("p14", 0.761, 0.313, -0.800),
    Control("p15", 0.772, 0.162, -0.820),
    Control("p16", 0.779, 0.016, -0.820),
    Control("under_jaw_front", 0.22, 1.235, -0.34),
    Control("under_jaw", 0.44, 1.10, -0.62),
    Control("jaw_angle_under", 0.56, 0.92, -0.90),
    # Sides, back and neck.
    Control("parietal_front", 0.66, -0.78, -0.55),
    Control("parietal", 0.76, -0.72, -1.10),
    Control("side", 0.81, -0.25, -1.05),
    Control("mastoid", 0.70, 0.45, -1.20),
    Control("back_side", 0.58, -0.20, -1.75),
    Control("back_low", 0.52, 0.75, -1.50),
    Control("crown_side", 0.45, -1.08, -1.00),
    Control("neck_mid", 0.44, 1.42, -0.76),
    Control("neck_side", 0.575, 1.55, -1.10),
    Control("neck_side_base", 0.62, 2.30, -1.10),
    Control("neck_mid_base", 0.47, 2.32, -0.76),
)

MIRROR = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,
    64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip
"""iBUG point that each of the 68 points becomes in a mirror."""


@dataclass(frozen=True)
class ControlSet:
    """Both halves of the head. Mirrored names end in '@L' unless they are landmarks, which take their iBUG number."""

    names: tuple[str, ...]
    position_K3: np.ndarray
    chart_K2: np.ndarray
    """(azimuth in radians, height) on the chart."""
    side: tuple[str, ...]
    base: tuple[str, ...]
    """Name of the image-right point each point mirrors (its own name on that half)."""
    mirrored_K: np.ndarray

    def index(self, name: str) -> int:
        return self.names.index(name)


def mirror_name(name: str) -> str:
    if name.startswith("p") and name[1:].isdigit():
        return f"p{MIRROR[int(name[1:])]}"
    return f"{name}@L"


def azimuth(x: np.ndarray | float, z: np.ndarray | float) -> np.ndarray | float:
    """Angle around the head's vertical axis, 0 at the nose, positive to the image right, radians."""
    return np.arctan2(x, AXIS_DEPTH - z)


@lru_cache(maxsize=1)
def control_set() -> ControlSet:
    rows = []
    for control in CONTROLS:
        z = -control.forward
        chart_x, chart_y = control.chart or (control.x, control.y)
        angle = np.pi if chart_x <= -10 else float(azimuth(chart_x, z))
        rows.append((control.name, (control.x, control.y, z), (angle, chart_y), control.side, control.name, False))
        if control.x > 0:
            position = (-control.x, control.y, z)
            name = mirror_name(control.name)
            rows.append((name, position, (-angle, chart_y), control.side, control.name, True))
    names, positions, charts, sides, bases, mirrored = zip(*rows, strict=True)
    return ControlSet(names, np.array(positions), np.array(charts), sides, bases, np.array(mirrored))

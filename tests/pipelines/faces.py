"""Poses and people for the tests of the synthetic faces."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.expressions import au_index
from pipelines.synthetic.figure import Figure, build_figure
from pipelines.synthetic.identity import draw_identity
from pipelines.synthetic.performance import Pose
from pipelines.synthetic.renderer import Renderer
from pipelines.synthetic.scene import draw_scene

PIXELS_PER_D = 60.0
CROWD = (720, 1280)
"""Height and width of a frame with several people."""


def pose(units: dict[int, float] | None = None, **options: float) -> Pose:
    """A face that shows `units` (action unit to intensity) evenly on both halves."""
    intensity = np.zeros((2, len(ACTION_UNITS)), np.float32)
    for unit, value in (units or {}).items():
        intensity[:, au_index(unit)] = value
    return Pose(intensity, **options)


@lru_cache(maxsize=4)
def person(seed: int) -> Figure:
    return build_figure(draw_identity(np.random.default_rng(seed)))


def renderer(seed: int, camera: Camera | None = None) -> Renderer:
    return Renderer(person(seed), draw_scene(np.random.default_rng((seed, 1))), camera or Camera())


def crowd(*corners: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A frame uint8 [720, 1280, 3] with a person of 224 pixels at each (left, top), whose faces are some 90 pixels
    wide, and the 68 points of each [people, 68, 2]."""
    frame_HWC = np.full((*CROWD, 3), 120, np.uint8)
    landmarks = []
    for seed, (left, top) in enumerate(corners):
        picture, points = renderer(seed).render(pose())
        frame_HWC[top : top + len(picture), left : left + len(picture)] = picture
        landmarks.append(points + (left, top))
    return frame_HWC, np.stack(landmarks)

"""An independent eye: MediaPipe's face mesh on rendered pixels must see the face, its landmarks and its movements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from pipelines.face_mesh import FaceMesh
from pipelines.landmarks import mesh_to_68
from pipelines.synthetic.performance import draw_performance
from tests.pipelines.faces import PIXELS_PER_D, pose, renderer

pytest.importorskip("mediapipe", reason="needs infra/requirements-faces.txt")
pytestmark = pytest.mark.soak

PEOPLE = range(10, 30)
Detector = Callable[[np.ndarray], np.ndarray | None]


@pytest.fixture(scope="module")
def detect() -> Iterator[Detector]:
    """Finds the 68 points [68,2] in pixels, or None where there is no face."""
    with FaceMesh() as mesh:

        def find(picture: np.ndarray) -> np.ndarray | None:
            found = mesh_to_68(mesh.detect(picture))
            return found[0, :, :2] if len(found) else None

        yield find


def test_faces_are_found_and_landmarks_agree_up_to_30_degrees_of_yaw(detect: Detector) -> None:
    errors: dict[int, list[float]] = {}
    missed: dict[int, int] = {}
    for seed in PEOPLE:
        rng = np.random.default_rng(seed)
        drawn = renderer(seed)
        for emotion in ("neutral", "happy", "angry", "surprised"):
            play = draw_performance(np.random.SeedSequence((seed, 9)), emotion, 3, frames=50)
            for yaw in (-30, -20, -10, 0, 10, 20, 30):
                moment = play.pose(int(rng.integers(50)))
                angles = {"yaw": float(yaw), "pitch": rng.uniform(-12, 12), "roll": rng.uniform(-8, 8)}
                picture, truth = drawn.render(replace(moment, **angles))
                points = detect(picture)
                if points is None:
                    missed[abs(yaw)] = missed.get(abs(yaw), 0) + 1
                    continue
                distance = np.linalg.norm(points - truth, axis=1) / PIXELS_PER_D
                errors.setdefault(abs(yaw), []).append(float(distance.mean()))
    for yaw, values in errors.items():
        found = len(values) / (len(values) + missed.get(yaw, 0))
        print(f"yaw {yaw:2d}: found {found:.1%}, landmark error {np.mean(values):.2%} of the eye distance")
        assert found >= 0.95
        assert np.mean(values) < 0.05


def height(points: np.ndarray, above: tuple[int, ...], below: tuple[int, ...]) -> float:
    return float(points[list(below), 1].mean() - points[list(above), 1].mean())


MEASURES: dict[int, tuple[Callable[[np.ndarray], float], int, float]] = {
    1: (lambda p: height(p, (21, 22), (39, 42)), 1, 0.015),
    2: (lambda p: height(p, (17, 18, 25, 26), (36, 45)), 1, 0.015),
    4: (lambda p: height(p, (19, 20, 23, 24), (36, 39, 42, 45)), -1, 0.015),
    5: (lambda p: height(p, (37, 38, 43, 44), (36, 39, 42, 45)), 1, 0.004),
    7: (lambda p: height(p, (37, 38, 43, 44), (40, 41, 46, 47)), -1, 0.006),
    9: (lambda p: height(p, (39, 42), (31, 35)), -1, 0.015),
    10: (lambda p: height(p, (33,), (50, 51, 52)), -1, 0.018),
    12: (lambda p: p[54, 0] - p[48, 0], 1, 0.025),
    15: (lambda p: height(p, (51, 57), (48, 54)), 1, 0.014),
    17: (lambda p: height(p, (33,), (56, 57, 58)), -1, 0.018),
    20: (lambda p: p[54, 0] - p[48, 0], 1, 0.025),
    23: (lambda p: height(p, (50, 51, 52), (56, 57, 58)), -1, 0.015),
    25: (lambda p: height(p, (61, 62, 63), (65, 66, 67)), 1, 0.015),
    26: (lambda p: height(p, (33,), (8,)), 1, 0.030),
    28: (lambda p: height(p, (50, 51, 52), (56, 57, 58)), -1, 0.015),
    45: (lambda p: height(p, (37, 38, 43, 44), (40, 41, 46, 47)), -1, 0.030),
}
"""Per action unit: what a geometric detector measures in pixels, its direction, and the detector's threshold in D; for
AU5 half of it, since MediaPipe's upper lid stays near the iris when white shows above it."""


@pytest.mark.parametrize("unit", MEASURES)
def test_an_action_unit_moves_what_mediapipe_sees_past_a_detectors_threshold(unit: int, detect: Detector) -> None:
    measure, direction, threshold = MEASURES[unit]
    changes = []
    for seed in PEOPLE:
        drawn = renderer(seed)
        rest, shown = (detect(drawn.render(pose(units))[0]) for units in ({}, {unit: 4.0}))
        if rest is not None and shown is not None:
            changes.append(direction * (measure(shown) - measure(rest)) / PIXELS_PER_D)
    print(f"AU{unit}: median change {np.median(changes):.3f} D, threshold {threshold}")
    assert len(changes) >= 0.95 * len(PEOPLE)
    assert np.median(changes) > threshold

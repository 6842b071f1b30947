"""Which images are kept: on synthetic faces, whose landmarks are known, cut so that features are lost."""

from __future__ import annotations

from functools import cache
from importlib import metadata

import cv2
import numpy as np
import pytest

from pipelines.face_mesh import FaceMesh, FaceMeshUnavailable
from pipelines.image_cleaning import CleaningConfig, ImageJudge
from tests.pipelines.faces import pose, renderer
from tests.pipelines.needs import needs_mediapipe

WHOLE_FACE = CleaningConfig(face=True, key_points=True)


@cache
def face(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic face, uint8 [224, 224, 3], and its landmarks [68, 2]."""
    return renderer(seed).render(pose({12: 2.0}))


def around(seed: int, margin: float) -> np.ndarray:
    """The face cut out, with a margin relative to the box of brows, nose, eyes and mouth."""
    image_HWC, points_682 = face(seed)
    low, high = points_682[17:].min(0), points_682[17:].max(0)
    left, top = np.maximum(np.floor(low - margin * (high - low)), 0).astype(int)
    right, bottom = np.ceil(high + margin * (high - low)).astype(int)
    return np.ascontiguousarray(image_HWC[top:bottom, left:right])


def verdict(judge: ImageJudge, image_HWC: np.ndarray) -> str:
    problem = judge.judge(image_HWC)
    return "kept" if problem is None else problem.reason.value


def test_by_default_every_image_is_kept() -> None:
    assert not CleaningConfig().is_on and CleaningConfig(min_side=1).is_on
    with ImageJudge(CleaningConfig()) as judge:
        assert verdict(judge, np.zeros((1, 1, 3), np.uint8)) == "kept"


def test_small_images_are_refused_by_their_shorter_side() -> None:
    with ImageJudge(CleaningConfig(min_side=48)) as judge:
        sizes = {(48, 48): "kept", (47, 200): "too_small", (200, 47): "too_small", (48, 200): "kept"}
        assert {size: verdict(judge, np.zeros((*size, 3), np.uint8)) for size in sizes} == sizes
        assert "47x200 pixels, 48 are asked for" in str(judge.judge(np.zeros((47, 200, 3), np.uint8)))


@pytest.mark.parametrize(
    ("values", "problem"),
    [({"min_side": -1}, "min_side=-1 must not be negative"), ({"key_points": True}, "set face=True too")],
)
def test_a_config_that_makes_no_sense_is_refused(values: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CleaningConfig(**values)


def test_without_mediapipe_faces_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.0")
    with pytest.raises(FaceMeshUnavailable, match="pip install"):
        ImageJudge(CleaningConfig(face=True))


@needs_mediapipe
@pytest.mark.parametrize("margin", [1.0, 0.25, 0.1])
@pytest.mark.parametrize("size", [None, 48])
def test_faces_are_kept_however_tightly_they_are_cut_out_and_however_small(margin: float, size: int | None) -> None:
    with ImageJudge(WHOLE_FACE) as judge:
        for seed in range(4):
            image_HWC = around(seed, margin)
            if size:
                image_HWC = cv2.resize(image_HWC, (size, size), interpolation=cv2.INTER_AREA)
            assert verdict(judge, image_HWC) == "kept"


@needs_mediapipe
def test_images_without_a_face_are_refused() -> None:
    noise_HWC = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    with ImageJudge(CleaningConfig(face=True)) as judge:
        assert verdict(judge, noise_HWC) == verdict(judge, np.full((112, 112, 3), 90, np.uint8)) == "no_face"


@needs_mediapipe
@pytest.mark.parametrize(("points", "lost"), [((48, 60), "mouth"), ((19, 24), "brows")])
def test_a_face_of_which_a_feature_is_cut_off_is_refused_and_the_feature_named(
    points: tuple[int, int], lost: str
) -> None:
    for seed in range(4):
        image_HWC, points_682 = face(seed)
        edge = int(points_682[list(points), 1].mean())
        cut_HWC = np.ascontiguousarray(image_HWC[:edge] if lost == "mouth" else image_HWC[edge + 1 :])
        with ImageJudge(WHOLE_FACE) as judge:
            problem = judge.judge(cut_HWC)
        assert problem is not None and problem.reason == "key_points" and lost in problem.detail
        with ImageJudge(CleaningConfig(face=True)) as judge:
            assert verdict(judge, cut_HWC) == "kept", "it does show a face"


@needs_mediapipe
def test_a_judge_leaves_the_mesh_to_the_next() -> None:
    with ImageJudge(WHOLE_FACE):
        pass
    with FaceMesh() as mesh:
        assert len(mesh.detect(face(0)[0])) == 1

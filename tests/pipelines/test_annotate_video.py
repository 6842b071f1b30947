from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from pipelines import face_mesh
from pipelines.annotate_video import AnnotateConfig, make_detector

LARGE, SMALL = (720, 1280), (224, 224)


class BlindMesh:
    """Finds nothing and remembers where it was made to look."""

    sizes: set[tuple[int, int]]

    def __init__(self, num_faces: int, *, follow: bool) -> None:
        self.num_faces, BlindMesh.sizes = num_faces, set()

    def detect(self, frame_HWC: np.ndarray) -> np.ndarray:
        BlindMesh.sizes.add(frame_HWC.shape[:2])
        return np.zeros((0, 478, 3), np.float32)

    def forget(self) -> None:
        pass


@pytest.mark.parametrize(
    ("faces", "max_faces", "frame", "searched"),
    [
        ("all", 8, LARGE, {LARGE, (640, 640)}),
        ("all", 8, SMALL, {SMALL}),
        ("all", 1, LARGE, {LARGE}),
        ("largest", 8, LARGE, {LARGE}),
    ],
)
def test_large_frames_are_searched_in_squares_where_small_faces_are_wanted(
    faces: Literal["largest", "all"],
    max_faces: int,
    frame: tuple[int, int],
    searched: set[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(face_mesh, "FaceMesh", BlindMesh)
    monkeypatch.setattr("cv2.setNumThreads", lambda count: None)
    detect = make_detector(AnnotateConfig(faces=faces, max_faces=max_faces))
    assert detect(iter([np.zeros((*frame, 3), np.uint8)] * 2)) == []
    assert BlindMesh.sizes == searched

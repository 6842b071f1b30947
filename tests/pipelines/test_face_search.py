from __future__ import annotations

import numpy as np
import pytest

from pipelines.face_search import detect_small, squares

FACE = 60


class Finder:
    """Finds every red square of FACE pixels that is whole in its frame, if it is large enough in it."""

    num_faces = 8

    def detect(self, frame_HWC: np.ndarray) -> np.ndarray:
        import cv2

        count, _, stats, _ = cv2.connectedComponentsWithStats((frame_HWC[..., 0] > 128).astype(np.uint8))
        faces = []
        for left, top, width, height, _ in stats[1:count]:
            if width >= max(frame_HWC.shape) / 8:
                grid = np.stack(np.meshgrid(np.linspace(0, width, 22), np.linspace(0, height, 22)), -1).reshape(-1, 2)
                faces.append(np.pad(grid[:478] + (left, top), ((0, 0), (0, 1))))
        return np.array(faces, np.float32).reshape(-1, 478, 3)


def crowd(*corners: tuple[int, int]) -> np.ndarray:
    frame = np.zeros((600, 900, 3), np.uint8)
    for x, y in corners:
        frame[y : y + FACE, x : x + FACE] = 255
    return frame


def test_small_faces_are_found_once_each_wherever_they_are() -> None:
    corners = ((0, 0), (430, 20), (840, 540), (250, 300), (450, 270))
    found = detect_small(Finder(), crowd(*corners))
    assert len(Finder().detect(crowd(*corners))) == 0
    assert sorted(face[:, :2].min(0).round().astype(int).tolist() for face in found) == sorted(map(list, corners))
    np.testing.assert_allclose(np.ptp(found[:, :, 0], axis=1), FACE, atol=1)


def test_no_face_is_found_where_there_is_none() -> None:
    assert detect_small(Finder(), crowd()).shape == (0, 478, 3)


def test_no_more_faces_than_asked_for() -> None:
    finder = Finder()
    finder.num_faces = 2
    assert len(detect_small(finder, crowd((0, 0), (300, 300), (700, 100)))) == 2


@pytest.mark.parametrize("height, width", [(667, 1000), (1080, 1920), (1920, 1080), (512, 512), (300, 1200)])
def test_squares_cover_the_frame_and_overlap_by_half(height: int, width: int) -> None:
    covered = np.zeros((height, width), int)
    for top, left, side in squares(height, width):
        assert 0 <= top <= height - side and 0 <= left <= width - side
        covered[top : top + side, left : left + side] += 1
    assert covered.min() >= 1
    lefts = sorted({left for _, left, _ in squares(height, width)})
    assert max(np.diff(lefts)) <= squares(height, width)[0][2] / 2


def test_small_frames_are_searched_as_a_whole() -> None:
    assert squares(224, 224) == []

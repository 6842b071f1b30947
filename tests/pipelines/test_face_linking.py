from __future__ import annotations

import numpy as np
import pytest

from pipelines.face_linking import LinkConfig, link_faces
from tests.pipelines.head_samples import head


def face(x: float, y: float = 100.0, size: float = 60.0) -> np.ndarray:
    return head() * size + (x, y, 0)


def cuts(frames: int, *starts: int) -> np.ndarray:
    return np.isin(np.arange(frames), starts)


def where(landmarks_T683: np.ndarray) -> list[int]:
    return np.flatnonzero(np.isfinite(landmarks_T683[:, 27, 0])).tolist()


def test_faces_that_swap_their_order_keep_their_number() -> None:
    frames = [np.stack([face(100 + t), face(400 - t)][:: 1 if t % 2 else -1]) for t in range(20)]
    tracks = link_faces(frames, cuts(20), LinkConfig())
    assert len(tracks) == 2
    for track in tracks:
        assert np.abs(np.diff(track[:, 27, 0])).max() == pytest.approx(1, abs=1e-3)


def test_the_longest_largest_face_comes_first() -> None:
    long_small, short_large, short_small = face(100, size=40), face(300, size=90), face(500, size=40)
    frames = [np.stack([short_small, long_small, short_large] if t < 10 else [long_small]) for t in range(40)]
    order = [len(where(track)) for track in link_faces(frames, cuts(40), LinkConfig())]
    assert order == [40, 10, 10]
    sizes = [np.ptp(track[0, :, 0]) for track in link_faces(frames, cuts(40), LinkConfig())]
    assert sizes[1] > sizes[2]


def test_a_face_goes_on_after_a_gap_but_not_after_a_long_one() -> None:
    empty = np.zeros((0, 68, 3))
    frames = [face(100)[None] if t not in range(10, 15) else empty for t in range(30)]
    (track,) = link_faces(frames, cuts(30), LinkConfig())
    assert where(track) == [*range(10), *range(15, 30)]
    assert len(link_faces(frames, cuts(30), LinkConfig(max_gap=4))) == 2


def test_no_face_goes_on_across_a_cut() -> None:
    tracks = link_faces([face(100)[None]] * 30, cuts(30, 12), LinkConfig())
    assert [where(track) for track in tracks] == [list(range(12, 30)), list(range(12))]


def test_a_face_that_jumps_is_another() -> None:
    frames = [face(100 if t < 10 else 300)[None] for t in range(20)]
    assert len(link_faces(frames, cuts(20), LinkConfig())) == 2


def test_a_flash_of_a_face_is_an_error_of_the_detector() -> None:
    empty = np.zeros((0, 68, 3))
    frames = [face(100)[None] if t == 7 else empty for t in range(20)]
    assert link_faces(frames, cuts(20), LinkConfig()) == []


def test_every_face_of_a_still_picture_is_kept() -> None:
    assert len(link_faces([np.stack([face(100), face(300), face(500)])], cuts(1), LinkConfig())) == 3


def test_frames_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="as many"):
        link_faces([face(100)[None]], cuts(2), LinkConfig())


@pytest.mark.parametrize("options", [{"max_jump": 0}, {"max_jump": 1.5}, {"max_gap": -1}, {"min_frames": 0}])
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        LinkConfig(**options)

"""Windows hold every frame of a video, and their predictions are put back where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.windows import merge, windows

LENGTHS = (*range(1, 26), 50, 401)
CASES = [(w, s) for w in (1, 2, 3, 5, 8) for s in range(1, w + 1)]


def predicted(window_M2: np.ndarray, w: int, value_NK: np.ndarray) -> np.ndarray:
    """What windows of `w` frames say that repeat the values of their frames, and nonsense where they are padded."""
    prediction_MWK = np.full((len(window_M2), w, value_NK.shape[1]), np.nan)
    for row_WK, (start, length) in zip(prediction_MWK, window_M2, strict=True):
        row_WK[:length] = value_NK[start : start + length]
    return prediction_MWK


@pytest.mark.parametrize(("w", "s"), CASES)
def test_every_frame_is_in_a_window_and_every_window_has_a_frame(w: int, s: int) -> None:
    for n in LENGTHS:
        window_M2 = windows(n, w, s)
        assert window_M2.dtype == np.int64
        held = [set(range(start, start + length)) for start, length in window_M2]
        assert set().union(*held) == set(range(n))
        assert all(1 <= len(frames) <= w for frames in held)
        assert np.diff(window_M2[:, 0]).tolist() == [s] * (len(window_M2) - 1)
        assert all(start + length == n for start, length in window_M2 if length < w), "only the end of a video is short"


@pytest.mark.parametrize(("w", "s"), CASES)
def test_there_are_as_many_windows_as_in_the_paper_less_those_without_a_frame(w: int, s: int) -> None:
    for n in LENGTHS:
        expected = n // s + 1 - (n % s == 0) if n > w else 1
        assert len(windows(n, w, s)) == expected


def test_windows_of_the_paper_overlap_by_a_hundred_frames_and_keep_the_tail() -> None:
    assert windows(701, 300, 200).tolist() == [[0, 300], [200, 300], [400, 300], [600, 101]]
    assert windows(600, 300, 200).tolist() == [[0, 300], [200, 300], [400, 200]]
    assert windows(250, 300, 200).tolist() == [[0, 250]]


@pytest.mark.parametrize(("w", "s"), CASES)
def test_windows_that_repeat_their_frames_merge_into_them_in_any_order(w: int, s: int) -> None:
    for n in LENGTHS:
        rng = np.random.default_rng(n)
        value_NK, window_M2 = rng.normal(size=(n, 2)), windows(n, w, s)
        prediction_MWK = predicted(window_M2, w, value_NK)
        found = merge(prediction_MWK, window_M2, n)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, value_NK, rtol=1e-14)
        order = rng.permutation(len(window_M2))
        assert np.array_equal(merge(prediction_MWK[order], window_M2[order], n), found)


def test_where_windows_overlap_their_predictions_are_averaged() -> None:
    prediction_MWK = np.array([[1.0, 1, 1], [4, 4, 4], [9, 9, 9]])[..., None]
    assert merge(prediction_MWK, windows(5, 3, 2), 5)[:, 0].tolist() == [1, 1, 2.5, 4, 6.5]


def test_predictions_of_half_precision_are_averaged_in_double() -> None:
    value_NK = np.float16([[0.1], [0.2], [0.3]])
    window_M2 = windows(3, 2, 1)
    found = merge(predicted(window_M2, 2, value_NK).astype(np.float16), window_M2, 3)
    assert np.array_equal(found, value_NK.astype(np.float64))


@pytest.mark.parametrize(
    ("n", "w", "s", "words"), [(0, 3, 2, "num_frames=0"), (5, 3, 4, "s=4"), (5, 3, 0, "s=0"), (5, 0, 0, "w=0")]
)
def test_windows_that_would_leave_frames_out_are_refused(n: int, w: int, s: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        windows(n, w, s)


@pytest.mark.parametrize(
    ("window_M2", "words"),
    [
        ([[0, 3], [3, 2]], "1 of 6 frames are in no window, the first is 5"),
        ([[0, 3], [3, 4]], "do not lie within 6 frames and 3 predictions"),
        ([[0, 3], [4, 3]], "do not lie within"),
        ([[-1, 3], [3, 3]], "do not lie within"),
        ([[0, 3], [3, 0]], "do not lie within"),
        ([[3, 3], [3, 3]], "comes twice"),
        ([[0, 3]], "2 predictions and windows of shape"),
    ],
)
def test_windows_of_another_video_are_not_merged(window_M2: list[list[int]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        merge(np.zeros((2, 3, 1)), np.array(window_M2), 6)

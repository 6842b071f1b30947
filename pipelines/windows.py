"""Windows over a video's frames, and the predictions of windows put back in place.

Source: CtyunAI ABAW6 (3.2): windows of w frames every s frames, floor(n / s) + 1 of them in a video of n frames.
Deliberate differences:
- where s divides n, the last of those would begin after the last frame: it is left out, which makes ceil(n / s);
- a video of at most w frames is one window, which sees all of it; the formula would cut a second one out of its end;
- windows at the end are shorter than w and are padded by whoever makes batches of them; the published code drops them,
  and with them the end of every video, in training and in validation.
"""

from __future__ import annotations

import numpy as np


def windows(num_frames: int, w: int, s: int) -> np.ndarray:
    """Start and length (1..w) of every window, int64 [M, 2], starts ascending; together they hold every frame.

    Raises:
        ValueError: no frame; a w or s below 1; s above w, which would leave frames out.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames={num_frames}: there is nothing to cut into windows")
    if not 1 <= s <= w:
        raise ValueError(f"s={s} must lie in 1..w={w}: windows further apart than they are long leave frames out")
    start_M = np.arange(0, num_frames, s) if num_frames > w else np.zeros(1, np.int64)
    return np.stack([start_M, np.minimum(w, num_frames - start_M)], axis=1).astype(np.int64)


def merge(prediction_MWK: np.ndarray, window_M2: np.ndarray, num_frames: int) -> np.ndarray:
    """Predictions of every frame, float64 [N, K]: the mean over the windows that hold it. The windows (start, length)
    may come in any order; what a prediction says beyond the length of its window is padding.

    Raises:
        ValueError: windows that are not those of one video: of other numbers than the predictions, twice the same,
            beyond its frames, or leaving frames out.
    """
    num_windows, w, num_outputs = prediction_MWK.shape
    if window_M2.shape != (num_windows, 2):
        raise ValueError(f"{num_windows} predictions and windows of shape {window_M2.shape}: each needs start, length")
    start_M, length_M = window_M2.T
    stop_M = start_M + length_M
    if (start_M < 0).any() or (length_M < 1).any() or (length_M > w).any() or (stop_M > num_frames).any():
        raise ValueError(f"windows {window_M2.tolist()} do not lie within {num_frames} frames and {w} predictions each")
    if len(np.unique(start_M)) < num_windows:
        raise ValueError(f"a window comes twice: they start at {np.sort(start_M).tolist()}")
    sum_NK, count_N = np.zeros((num_frames, num_outputs)), np.zeros(num_frames, np.int64)
    for m in np.argsort(start_M):  # sums of the same numbers in another order differ in their last bits
        sum_NK[start_M[m] : stop_M[m]] += prediction_MWK[m, : length_M[m]]
        count_N[start_M[m] : stop_M[m]] += 1
    if not count_N.all():
        left_out = np.flatnonzero(count_N == 0)
        raise ValueError(f"{len(left_out)} of {num_frames} frames are in no window, the first is {left_out[0]}")
    return sum_NK / count_N[:, None]

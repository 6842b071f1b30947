"""Loss curves."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jobs.parts.curves import LOSS, draw_curves, series, smooth


def test_a_series_keeps_only_rows_with_a_finite_value() -> None:
    rows = [{"step": 1, LOSS: 3.0}, {"step": 2}, {"step": 3, LOSS: float("nan")}, {"step": 4, LOSS: 1.0}]
    steps, values = series(rows, LOSS)
    assert steps.tolist() == [1, 4] and values.tolist() == [3.0, 1.0]
    assert series(rows, "learning_rate")[0].size == 0


def test_smoothing_leaves_a_constant_alone_up_to_its_ends() -> None:
    np.testing.assert_allclose(smooth(np.full(30, 2.5), 7), 2.5)
    assert smooth(np.array([0.0, 3.0, 0.0]), 3)[1] == 1.0


HELD_OUT = {"held_out/loss": 0.7, "held_out/zero_loss": 0.9}
TRANSFER = {"transfer/uar": 0.3, "transfer/knn_uar": 0.25, "transfer/chance": 1 / 6}


@pytest.mark.parametrize(
    ("probes", "size"), [({}, (1200, 900)), (HELD_OUT, (1200, 900)), (HELD_OUT | TRANSFER, (1200, 1140))]
)
def test_the_picture_is_a_png_for_a_run_of_any_length(probes: dict[str, float], size: tuple[int, int]) -> None:
    for count in (1, 500):
        rows = [
            {"step": i, LOSS: 1.0 / (i + 1), "learning_rate": 1e-3, "data/wait_share": 0.1, **probes}
            for i in range(count)
        ]
        image = Image.open(BytesIO(draw_curves(rows, title="run")))
        assert image.format == "PNG" and image.size == size
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn on the paper


def test_a_held_out_curve_adds_its_colour_to_the_picture() -> None:
    def red_pixels(extra: dict[str, float]) -> int:
        rows = [{"step": i, LOSS: 1.0, **extra} for i in range(9)]
        pixels = np.asarray(Image.open(BytesIO(draw_curves(rows, title="run"))).convert("RGB")).astype(int)
        return int((pixels[..., 0] - pixels[..., 1] > 100).sum())

    assert red_pixels({}) == 0
    assert red_pixels({"held_out/loss": 0.8}) > 500


def test_transfer_has_a_panel_of_its_own_with_the_level_of_chance() -> None:
    def green_rows(uar: float) -> np.ndarray:
        rows = [{"step": i, LOSS: 1.0, **TRANSFER, "transfer/uar": uar} for i in range(9)]
        pixels = np.asarray(Image.open(BytesIO(draw_curves(rows, title="run"))).convert("RGB")).astype(int)
        excess = pixels[..., 1] - np.maximum(pixels[..., 0], pixels[..., 2])
        return np.flatnonzero((excess > 30).sum(1) > 600)

    above, below = green_rows(0.5), green_rows(0.1)
    assert above.size and below.size and above.max() < below.min(), "the curve lies above or below the others"


def test_a_run_without_a_step_says_so() -> None:
    with pytest.raises(ValueError, match="not logged a step"):
        draw_curves([{"step": 0, "held_out/loss": 1.0}], title="run")

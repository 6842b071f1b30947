"""Drawing."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jobs.parts.pictures import CELL, GREY, Row, difference_on_grey, draw_sheet, grey_out, png, side_by_side

WHITE = 255


def video(value: int, frames: int = 4, height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((frames, height, width, 3), value, np.uint8)


def sheet_of(rows: int, columns: int, *, height: int = 32, caption: tuple[str, ...] = ("caption",)) -> np.ndarray:
    return draw_sheet(
        [Row(f"row {i}", video(10 * i, columns, height), ("detail",)) for i in range(rows)],
        title="title",
        caption=caption,
        columns=[str(i) for i in range(columns)],
    )


def test_hidden_pixels_become_grey_and_the_others_stay() -> None:
    hidden = np.zeros((4, 32, 32), bool)
    hidden[:, :16] = True
    greyed = grey_out(video(7), hidden)
    assert (greyed[:, :16] == GREY).all() and (greyed[:, 16:] == 7).all()
    assert greyed.dtype == np.uint8


def test_no_difference_is_mid_grey_and_large_ones_saturate() -> None:
    difference = np.array([0.0, 10.0, -10.0, 200.0, -200.0])
    assert difference_on_grey(difference, gain=2).tolist() == [128, 148, 108, 255, 0]


def test_every_image_of_a_row_stands_in_the_sheet_at_its_colour() -> None:
    sheet = sheet_of(3, 8)
    cells = CELL * CELL
    for value in (0, 10, 20):
        assert (sheet == value).all(axis=-1).sum() >= 8 * cells
    assert sheet.dtype == np.uint8


def test_a_row_more_makes_the_sheet_a_cell_higher_and_a_column_more_a_cell_wider() -> None:
    base, higher, wider = sheet_of(3, 7), sheet_of(4, 7), sheet_of(3, 8)
    assert CELL <= higher.shape[0] - base.shape[0] <= CELL + 8 and higher.shape[1] == base.shape[1]
    assert CELL <= wider.shape[1] - base.shape[1] <= CELL + 8 and wider.shape[0] == base.shape[0]
    assert 1200 <= wider.shape[1] <= 1600


def test_frames_that_are_not_square_keep_their_proportions() -> None:
    assert sheet_of(2, 8).shape[0] - sheet_of(2, 8, height=16).shape[0] == 2 * CELL / 2


def test_each_row_has_its_label_at_its_own_height() -> None:
    sheet = sheet_of(5, 2, caption=())
    labelled = (sheet[:, 24:180] != WHITE).any(axis=(1, 2))
    gaps = np.diff(np.flatnonzero(labelled))
    assert (gaps > CELL / 2).sum() == 5  # the title, then the rows


def test_the_caption_is_written_and_makes_room_for_itself() -> None:
    without, with_two = sheet_of(1, 8, caption=()), sheet_of(1, 8, caption=("one", "two"))
    assert with_two.shape[0] > without.shape[0]
    assert (with_two != WHITE).sum() > (without != WHITE).sum()


def test_a_sheet_of_one_column_is_wide_enough_for_its_caption() -> None:
    sheet = sheet_of(1, 1, caption=("a long caption " * 8,))
    assert sheet.shape[1] > sheet_of(1, 1).shape[1]
    assert (sheet[:, -20:] == WHITE).all() and (sheet[:, -100:] != WHITE).any()


def test_a_row_of_the_wrong_length_is_refused_by_its_label() -> None:
    with pytest.raises(ValueError, match="'short' has 3 images for 4 columns"):
        draw_sheet([Row("short", video(1, 3))], title="", caption=(), columns=list("abcd"))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 33)])
def test_panels_stand_side_by_side_in_a_video_of_even_size(height: int, width: int) -> None:
    frames = side_by_side({"a": video(9, 4, height, width), "b": video(99, 4, height, width)}, scale=1)
    assert len(frames) == 4 and frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    for value in (9, 99):
        assert (frames[0] == value).all(axis=-1).sum() >= height * width


def test_panels_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError):
        side_by_side({"a": video(1, 4), "b": video(2, 5)})


def test_a_png_holds_the_very_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png(image)))), image)

"""Drawing: labelled sheets of video frames, and panels of a video side by side. Arrays in, arrays out.

Images are uint8 [H, W, 3] RGB, videos uint8 [T, H, W, 3]. Knows nothing of models or numbers: what is drawn, and what
is written beside it, comes from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GREY = 128
PAPER = (255, 255, 255)
INK = (34, 34, 34)
FADED = (110, 110, 110)

MARGIN = 24
GAP = 4
CELL = 160
LABELS = 208  # width of the column of row labels
TITLE = 34
CAPTION_LINE = 20
HEADER = 26  # height of the line of column labels
STRIP = 32  # height of the labels over a video's panels


@dataclass(frozen=True)
class Row:
    """One row of a sheet: a label, smaller lines below it, and one image for each column."""

    label: str
    images: Sequence[np.ndarray]
    details: Sequence[str] = ()


def grey_out(clip_THWC: np.ndarray, hidden_THW: np.ndarray) -> np.ndarray:
    """The video with its hidden pixels (bool) in mid grey."""
    return np.where(hidden_THW[..., None], np.uint8(GREY), clip_THWC)


def difference_on_grey(difference_THWC: np.ndarray, *, gain: float) -> np.ndarray:
    """Signed differences in grey levels as a video: no change is mid grey, a change is shown `gain` times."""
    return np.clip(np.rint(GREY + gain * difference_THWC), 0, 255).astype(np.uint8)


def draw_sheet(rows: Sequence[Row], *, title: str, caption: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """Rows of images with their labels on the left, under a title, the caption's lines and a label for each column.

    All images have one size; a cell is 160 pixels wide, the sheet as wide as cells or text ask for. Raises ValueError
    when a row's length is not that of `columns`.
    """
    for row in rows:
        if len(row.images) != len(columns):
            raise ValueError(f"row {row.label!r} has {len(row.images)} images for {len(columns)} columns")
    height, width = rows[0].images[0].shape[:2]
    cell = (CELL, max(1, round(CELL * height / width)))
    head = MARGIN + TITLE + CAPTION_LINE * len(caption) + HEADER
    large, small = _font(20, bold=True), _font(14)
    text = max([large.getlength(title), *(small.getlength(line) for line in caption)])
    wide = max(LABELS + len(columns) * (CELL + GAP) - GAP, ceil(text))
    sheet = Image.new("RGB", (2 * MARGIN + wide, head + len(rows) * (cell[1] + GAP) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 4), title, fill=INK, font=large)
    for i, line in enumerate(caption):
        draw.text((MARGIN, MARGIN + TITLE + i * CAPTION_LINE), line, fill=FADED, font=small)
    lefts = [MARGIN + LABELS + i * (CELL + GAP) for i in range(len(columns))]
    for left, label in zip(lefts, columns, strict=True):
        draw.text((left + CELL / 2, head - 6), label, fill=FADED, font=_font(12), anchor="ms")
    for i, row in enumerate(rows):
        top = head + i * (cell[1] + GAP)
        _draw_labels(draw, row, top + cell[1] / 2)
        for left, image in zip(lefts, row.images, strict=True):
            sheet.paste(_scaled(image, cell), (left, top))
    return np.asarray(sheet)


def side_by_side(panels: Mapping[str, np.ndarray], *, scale: int = 2) -> np.ndarray:
    """Videos of one size next to each other, enlarged `scale` times, each under its label. Height and width come out
    even, as H.264 wants them."""
    _, height, width = next(iter(panels.values())).shape[:3]
    cell = (scale * width, scale * height)
    size = (len(panels) * (cell[0] + GAP) - GAP, STRIP + cell[1])
    strip = Image.new("RGB", tuple(n + n % 2 for n in size), PAPER)
    draw = ImageDraw.Draw(strip)
    lefts = [i * (cell[0] + GAP) for i in range(len(panels))]
    for left, label in zip(lefts, panels, strict=True):
        draw.text((left + cell[0] / 2, STRIP / 2), label, fill=INK, font=_font(15), anchor="mm")
    frames = []
    for images in zip(*panels.values(), strict=True):
        frame = strip.copy()
        for left, image in zip(lefts, images, strict=True):
            frame.paste(_scaled(image, cell), (left, STRIP))
        frames.append(np.asarray(frame))
    return np.stack(frames)


def png(image_HWC: np.ndarray) -> bytes:
    """The image as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(image_HWC).save(buffer, format="png")
    return buffer.getvalue()


def _draw_labels(draw: ImageDraw.ImageDraw, row: Row, middle: float) -> None:
    line = 18
    top = middle - line * (1 + len(row.details)) / 2
    draw.text((MARGIN, top), row.label, fill=INK, font=_font(15, bold=True))
    for i, detail in enumerate(row.details, start=1):
        draw.text((MARGIN, top + i * line + 2), detail, fill=FADED, font=_font(13))


def _scaled(image_HWC: np.ndarray, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(image_HWC))
    # a clip of few pixels, as in quick tests, is shown as the squares it is
    method = Image.Resampling.NEAREST if size[0] >= 4 * image.width else Image.Resampling.LANCZOS
    return image if image.size == size else image.resize(size, method)


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib  # brings the same fonts to every machine

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)

"""A picture of what the generator can do: people in rows, emotions or cameras in columns, action units in writing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.corpora.mead import VIEWS
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.clip_rendering import FACE_SHARE
from pipelines.synthetic.config import MeadConfig
from pipelines.synthetic.expressions import EMOTIONS
from pipelines.synthetic.figure import build_figure
from pipelines.synthetic.identity import draw_identity
from pipelines.synthetic.mead import list_takes, performance_of, view_renderer
from pipelines.synthetic.performance import draw_performance
from pipelines.synthetic.renderer import Renderer
from pipelines.synthetic.scene import draw_scene

CAPTION, HEADER = 16, 22
INK, PAPER = (60, 60, 60), 250
SHOWN_INTENSITY = 1.0


def draw_contact_sheet(*, seed: int = 0, people: int = 5, width: int = 1200, level: int = 3) -> np.ndarray:
    """Sheet uint8 [H,width,3] RGB: one row per person, one column per emotion, every cell with its action units."""
    cell = width // len(EMOTIONS)
    sheet = _blank(EMOTIONS, people, cell)
    for row in range(people):
        rng = np.random.default_rng((seed, row))
        camera = Camera(size=cell, face_pixels=1.12 * FACE_SHARE * cell, target=(0.0, 0.42, 0.35))
        renderer = Renderer(build_figure(draw_identity(rng)), draw_scene(rng), camera, supersampling=2.0)
        for column in range(len(EMOTIONS)):
            key = np.random.SeedSequence((seed, row, column))
            performance = draw_performance(key, EMOTIONS[column], level, frames=75, talking=False)
            frame = performance.apex
            picture, _ = renderer.render(performance.pose(frame))
            _fill(sheet, row, column, picture)
            _label(sheet, row, column, _caption(performance.intensity_T18[frame]), cell=cell)
    return sheet


def draw_camera_sheet(*, seed: int = 0, people: int = 5, width: int = 1190) -> np.ndarray:
    """Sheet uint8 [H,width,3] RGB: the first take of each actor of a MEAD-like corpus, at one instant, by its seven
    cameras."""
    cell = width // len(VIEWS)
    sheet = _blank([view.replace("_", " ") for view in VIEWS], people, cell)
    for row, take in enumerate(list_takes(MeadConfig(actors=people, takes_per_actor=1, seed=seed))):
        performance = performance_of(take)
        frame = performance.apex
        caption = f"{take.subject}: {take.emotion}, level {take.level}, {_caption(performance.intensity_T18[frame])}"
        for column, view in enumerate(VIEWS):
            picture, _ = view_renderer(replace(take, size=cell), view).render(performance.pose(frame))
            _fill(sheet, row, column, picture)
        _label(sheet, row, 0, caption, cell=cell, cells=len(VIEWS))
    return sheet


def contact_sheet(
    layout: Literal["voxceleb2", "mead"] = "voxceleb2", *, image_format: str = "png", quality: int = 88, **options: int
) -> bytes:
    """The sheet of `draw_contact_sheet`, or of `draw_camera_sheet` for mead, as PNG or JPEG.

    Raises ValueError for another format.
    """
    if image_format not in ("png", "jpg", "jpeg"):
        raise ValueError(f"image_format={image_format!r} must be png, jpg or jpeg")
    draw = {"voxceleb2": draw_contact_sheet, "mead": draw_camera_sheet}[layout]
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality] if image_format != "png" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    _, encoded = cv2.imencode(f".{image_format}", draw(**options)[..., ::-1], parameters)
    return encoded.tobytes()


def _caption(intensity_18: np.ndarray) -> str:
    active = [unit for unit, value in zip(ACTION_UNITS, intensity_18, strict=True) if value >= SHOWN_INTENSITY]
    return "AU " + "+".join(map(str, active)) if active else "no AU"


def _blank(columns: Sequence[str], rows: int, cell: int) -> np.ndarray:
    """A sheet for square pictures of `cell` pixels, with room for captions, under the names of the columns."""
    sheet = np.full((HEADER + rows * (cell + CAPTION), cell * len(columns), 3), PAPER, np.uint8)
    for column, name in enumerate(columns):
        _write(sheet, name, column * cell, HEADER - 7, cell, 0.45)
    return sheet


def _fill(sheet: np.ndarray, row: int, column: int, picture: np.ndarray) -> None:
    cell = len(picture)
    top, left = HEADER + row * (cell + CAPTION), column * cell
    sheet[top : top + cell, left : left + cell] = picture


def _label(sheet: np.ndarray, row: int, column: int, text: str, *, cell: int, cells: int = 1) -> None:
    """Writes below a cell of a row, or below as many as `cells`."""
    _write(sheet, text, column * cell, HEADER + row * (cell + CAPTION) + cell + 12, cells * cell, 0.36)


def _write(sheet: np.ndarray, text: str, left: int, baseline: int, width: int, scale: float) -> None:
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale = scale * min(1.0, (width - 4) / wide)
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    origin = (left + (width - wide) // 2, baseline)
    cv2.putText(sheet, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)

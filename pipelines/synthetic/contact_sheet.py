"""A picture of what the generator can do: people in rows, emotions in columns, action units in writing."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.clip_rendering import FACE_SHARE
from pipelines.synthetic.expressions import EMOTIONS, au_index
from pipelines.synthetic.figure import build_figure
from pipelines.synthetic.identity import draw_identity
from pipelines.synthetic.performance import Performance, draw_performance
from pipelines.synthetic.renderer import Renderer
from pipelines.synthetic.scene import draw_scene

CAPTION, HEADER = 16, 22
INK, PAPER = (60, 60, 60), 250
SHOWN_INTENSITY = 1.0


def _apex(performance: Performance) -> int:
    """Frame of the strongest expression with open eyes."""
    expression_T = np.delete(performance.intensity_T18, au_index(45), axis=1).sum(1)
    return int(np.where(performance.intensity_T18[:, au_index(45)] < 0.2, expression_T, -1).argmax())


def _caption(intensity_18: np.ndarray) -> str:
    active = [unit for unit, value in zip(ACTION_UNITS, intensity_18, strict=True) if value >= SHOWN_INTENSITY]
    return "AU " + "+".join(map(str, active)) if active else "no AU"


def _write(sheet: np.ndarray, text: str, left: int, baseline: int, width: int, scale: float) -> None:
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale = scale * min(1.0, (width - 4) / wide)
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    origin = (left + (width - wide) // 2, baseline)
    cv2.putText(sheet, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)


def draw_contact_sheet(*, seed: int = 0, people: int = 5, width: int = 1200, level: int = 3) -> np.ndarray:
    """Sheet uint8 [H,width,3] RGB: one row per person, one column per emotion, every cell with its action units."""
    cell = width // len(EMOTIONS)
    sheet = np.full((HEADER + people * (cell + CAPTION), cell * len(EMOTIONS), 3), PAPER, np.uint8)
    for column, emotion in enumerate(EMOTIONS):
        _write(sheet, emotion, column * cell, HEADER - 7, cell, 0.45)
    for row in range(people):
        rng = np.random.default_rng((seed, row))
        camera = Camera(size=cell, face_pixels=1.12 * FACE_SHARE * cell, target=(0.0, 0.42, 0.35))
        renderer = Renderer(build_figure(draw_identity(rng)), draw_scene(rng), camera, supersampling=2.0)
        top = HEADER + row * (cell + CAPTION)
        for column, emotion in enumerate(EMOTIONS):
            key = np.random.SeedSequence((seed, row, column))
            performance = draw_performance(key, emotion, level, frames=75, talking=False)
            frame = _apex(performance)
            picture, _ = renderer.render(performance.pose(frame))
            sheet[top : top + cell, column * cell : (column + 1) * cell] = picture
            _write(sheet, _caption(performance.intensity_T18[frame]), column * cell, top + cell + 12, cell, 0.36)
    return sheet


def contact_sheet(*, image_format: str = "png", quality: int = 88, **options: int) -> bytes:
    """The sheet of `draw_contact_sheet` as PNG or JPEG. Raises ValueError for another format."""
    if image_format not in ("png", "jpg", "jpeg"):
        raise ValueError(f"image_format={image_format!r} must be png, jpg or jpeg")
    sheet = draw_contact_sheet(**options)
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality] if image_format != "png" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    _, encoded = cv2.imencode(f".{image_format}", sheet[..., ::-1], parameters)
    return encoded.tobytes()

"""A picture of what the generator can do: people in rows, emotions, cameras, corpora or instants in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import cv2
import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.corpora.mead import VIEWS
from pipelines.corpora.registry import ImageName
from pipelines.still_image import decode
from pipelines.synthetic.aff_wild2 import act_of, num_frames, renderer_of
from pipelines.synthetic.aff_wild2_layout import list_videos
from pipelines.synthetic.affect_acting import EXPRESSIONS
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.clip_rendering import FACE_SHARE
from pipelines.synthetic.config import FPS, AffWild2Config, ImageTwinConfig, MeadConfig
from pipelines.synthetic.expressions import EMOTIONS
from pipelines.synthetic.figure import build_figure
from pipelines.synthetic.identity import draw_identity
from pipelines.synthetic.image_layouts import list_images
from pipelines.synthetic.image_twins import render_image
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


def draw_image_sheet(*, seed: int = 0, people: int = 5, width: int = 1190) -> np.ndarray:
    """Sheet uint8 [H,width,3] RGB: files of the twins of all corpora of images, each with its emotion and level."""
    corpora = get_args(ImageName)
    cell = width // len(corpora)
    sheet = _blank([name.replace("_", " ") for name in corpora], people, cell)
    for column, name in enumerate(corpora):
        config = ImageTwinConfig(corpus=name, images=max(16, len(EMOTIONS) * people), seed=seed)
        images = [image for image in list_images(config) if not image.flaw]
        for row in range(people):
            shown = [image for image in images if image.person == row]
            image = shown[row % len(shown)]  # a person shows each emotion once
            _fill(sheet, row, column, _fitted(decode(render_image(config, image)), cell))
            _label(sheet, row, column, f"{image.emotion}, level {image.level}", cell=cell)
    return sheet


def draw_frame_sheet(*, seed: int = 0, people: int = 5, width: int = 1200, instants: int = 8) -> np.ndarray:
    """Sheet uint8 [H,width,3] RGB: people of the twin of Aff-Wild2 as time goes by, with the expression that is
    annotated, valence and arousal."""
    cell = width // instants
    config = AffWild2Config(size=cell, seed=seed)
    frames = np.linspace(0, num_frames(config), instants, endpoint=False).astype(int) + num_frames(config) // 16
    sheet = _blank([f"{frame / FPS:.1f} s" for frame in frames], people, cell)
    for row, video in enumerate(list_videos(config)[:people]):
        renderer, act = renderer_of(config, video), act_of(config, video)
        for column, frame in enumerate(frames):
            picture, _ = renderer.render(act.performance.pose(frame))
            _fill(sheet, row, column, picture)
            valence, arousal = act.affect_T2[frame].round(1) + 0.0  # without minus zero
            caption = f"{EXPRESSIONS[act.expression_T[frame]]}, V {valence:+.1f} A {arousal:+.1f}"
            _label(sheet, row, column, caption, cell=cell)
    return sheet


def contact_sheet(
    layout: Literal["voxceleb2", "mead", "images", "aff_wild2"] = "voxceleb2",
    *,
    image_format: str = "png",
    quality: int = 88,
    **options: int,
) -> bytes:
    """The sheet of `draw_contact_sheet`, or of its like for another layout, as PNG or JPEG.

    Raises ValueError for another format.
    """
    if image_format not in ("png", "jpg", "jpeg"):
        raise ValueError(f"image_format={image_format!r} must be png, jpg or jpeg")
    draw = {
        "voxceleb2": draw_contact_sheet,
        "mead": draw_camera_sheet,
        "images": draw_image_sheet,
        "aff_wild2": draw_frame_sheet,
    }[layout]
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


def _fitted(picture: np.ndarray, cell: int) -> np.ndarray:
    """The picture as high as a cell, in the middle of a square."""
    height, width = picture.shape[:2]
    wide = round(width * cell / height)
    square = np.full((cell, cell, 3), PAPER, np.uint8)
    left = (cell - wide) // 2
    square[:, left : left + wide] = cv2.resize(picture, (wide, cell), interpolation=cv2.INTER_CUBIC)
    return square


def _label(sheet: np.ndarray, row: int, column: int, text: str, *, cell: int, cells: int = 1) -> None:
    """Writes below a cell of a row, or below as many as `cells`."""
    _write(sheet, text, column * cell, HEADER + row * (cell + CAPTION) + cell + 12, cells * cell, 0.36)


def _write(sheet: np.ndarray, text: str, left: int, baseline: int, width: int, scale: float) -> None:
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale = scale * min(1.0, (width - 4) / wide)
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    origin = (left + (width - wide) // 2, baseline)
    cv2.putText(sheet, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)

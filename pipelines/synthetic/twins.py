"""Twins: miniatures of labelled corpora in their official layouts, with procedural faces.

A face fills the picture, as where a corpus is published as aligned crops. Who is on screen, the light and everything
else but the action units are drawn without knowledge of the class. Nobody is in two folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import PurePosixPath
from typing import get_args

import cv2
import numpy as np

from pipelines.synthetic.camera import Camera
from pipelines.synthetic.clip_rendering import figure_of, film, posed_frames, truth
from pipelines.synthetic.clip_specs import Draw, annotation_path
from pipelines.synthetic.config import FPS, TwinConfig, TwinName
from pipelines.synthetic.identity import Identity, draw_identity
from pipelines.synthetic.performance import Performance, draw_performance
from pipelines.synthetic.renderer import Renderer
from pipelines.synthetic.scene import draw_scene
from pipelines.synthetic.twin_expressions import expression_of
from pipelines.synthetic.twin_layouts import LAYOUTS

FACE_SHARE = 0.4
"""D (distance of the outer eye corners) over the side of the picture."""
FACE_CENTRE = (0.0, 0.42, 0.35)
"""Point in D in the middle of the picture."""
LEAD_SECONDS = 0.5
"""How long before a clip its performance begins: corpora are cut to the expression."""
SUPERSAMPLING = 1.25
_STREAMS = 101  # sets the streams apart from those of the other synthetic corpora
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


@dataclass(frozen=True)
class TwinSpec:
    """One clip: where it goes and everything it is drawn from."""

    corpus: TwinName
    path: str
    """Of the video below the root of the corpus; of the folder where it is kept as images."""
    image: str
    """Pattern of the name of an image, counted from 1; empty for a video."""
    words: tuple[str, ...]
    """The corpus's names of what is shown."""
    part: str
    person: int
    clip: int
    """Counts the clips of a corpus."""
    shown: tuple[tuple[str, int], ...]
    """Emotions with their levels."""
    frames: int
    size: int
    seed: int

    @property
    def images(self) -> tuple[str, ...]:
        """Paths in order, none for a video."""
        return tuple(f"{self.path}/{self.image.format(t + 1)}" for t in range(self.frames if self.image else 0))

    @property
    def paths(self) -> tuple[str, ...]:
        """The file that is written last."""
        return (self.images[-1] if self.image else self.path,)

    def rows(self) -> list[dict[str, object]]:
        """Of the manifest."""
        return [{**asdict(self), "annotation": annotation_path(self.path)}]

    def render(self, paths: list[str]) -> Iterator[tuple[str, bytes | dict[str, bytes], bytes]]:
        """Path, video (or images by path) and annotation, if the clip is asked for."""
        if paths:
            yield self.path, *_render(self)

    def stream(self, draw: Draw) -> np.random.SeedSequence:
        """Where the randomness of one aspect of this clip comes from."""
        return _stream(self.corpus, self.seed, draw, self.person if draw == Draw.IDENTITY else self.clip)


def _stream(corpus: TwinName, seed: int, draw: Draw, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence((seed, get_args(TwinName).index(corpus), *key), spawn_key=(_STREAMS, int(draw)))


def list_twins(config: TwinConfig) -> list[TwinSpec]:
    """Every clip of a twin; those of a person follow each other."""
    layout = LAYOUTS[config.corpus]
    specs = []
    for number, clip in enumerate(layout.clips(config)):
        rng = np.random.default_rng(_stream(config.corpus, config.seed, Draw.LABEL, number))
        expression = expression_of(config.corpus, clip.words, clip.level)
        specs.append(
            TwinSpec(
                corpus=config.corpus,
                path=clip.path,
                image=layout.image,
                words=clip.words,
                part=clip.part,
                person=clip.person,
                clip=number,
                shown=tuple((emotion, int(rng.choice(levels))) for emotion, levels in expression.items()),
                frames=round(FPS * config.seconds),
                size=config.size,
                seed=config.seed,
            )
        )
    return sorted(specs, key=lambda spec: spec.person)


def twin_files(config: TwinConfig) -> dict[str, bytes]:
    """The lists that come with a corpus, by name."""
    layout = LAYOUTS[config.corpus]
    return {name: text.encode() for name, text in layout.lists(layout.clips(config)).items()}


def identity_of(spec: TwinSpec) -> Identity:
    return draw_identity(np.random.default_rng(spec.stream(Draw.IDENTITY)))


def performance_of(spec: TwinSpec) -> Performance:
    """Every emotion is played alone, with the same speech, blinks and movements; the stronger intensity is shown."""
    lead = round(LEAD_SECONDS * FPS)
    played = [
        draw_performance(spec.stream(Draw.PERFORMANCE), emotion, level, frames=lead + spec.frames, fps=FPS)
        for emotion, level in spec.shown
    ]
    mixed = reduce(np.maximum, (performance.intensity_T218 for performance in played))
    tracks = {name: getattr(played[0], name)[lead:] for name in ("angles_T3", "gaze_T2", "shift_T2")}
    return replace(played[0], intensity_T218=mixed[lead:], **tracks)


def twin_renderer(spec: TwinSpec) -> Renderer:
    scene = draw_scene(np.random.default_rng(spec.stream(Draw.SCENE)))
    camera = Camera(size=spec.size, face_pixels=FACE_SHARE * spec.size, target=FACE_CENTRE)
    return Renderer(figure_of(identity_of(spec)), scene, camera, supersampling=SUPERSAMPLING)


def _render(spec: TwinSpec) -> tuple[bytes | dict[str, bytes], bytes]:
    renderer, performance = twin_renderer(spec), performance_of(spec)
    posed_T = posed_frames(renderer.figure, renderer.scene, performance)
    if not spec.image:
        return film(renderer, performance, posed_T)
    images, landmarks = {}, []
    for path, posed in zip(spec.images, posed_T, strict=True):
        picture, points = renderer.draw(posed)
        landmarks.append(points)
        images[path] = encode_image(path, picture)
    return images, truth(renderer.camera, performance, landmarks)


def encode_image(path: str, picture_HWC: np.ndarray) -> bytes:
    """In the format that the name of the file says."""
    suffix = PurePosixPath(path).suffix
    _, encoded = cv2.imencode(suffix, picture_HWC[..., ::-1], _JPEG if suffix == ".jpg" else ())
    return encoded.tobytes()

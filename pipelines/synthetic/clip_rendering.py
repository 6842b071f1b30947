"""One clip: its person, light and performance drawn from the spec, filmed by a camera and encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np

from pipelines.synthetic.camera import Camera
from pipelines.synthetic.clip_specs import ClipSpec, Draw
from pipelines.synthetic.config import FPS
from pipelines.synthetic.figure import Figure, build_figure
from pipelines.synthetic.identity import Identity, draw_identity
from pipelines.synthetic.openface import head_pose, write_csv
from pipelines.synthetic.performance import Performance, draw_performance
from pipelines.synthetic.posing import PosedFigure, head_position, head_rotation, pose_figure
from pipelines.synthetic.renderer import Renderer
from pipelines.synthetic.scene import Scene, draw_scene
from pipelines.video import encode_h264

FACE_SHARE = 60 / 224
"""D (distance of the outer eye corners) over the side of the picture: the framing of VoxCeleb2."""


@lru_cache(maxsize=2)
def figure_of(identity: Identity) -> Figure:
    """Clips of one speaker follow each other, so the last ones built are enough."""
    return build_figure(identity)


def identity_of(spec: ClipSpec) -> Identity:
    return draw_identity(np.random.default_rng(spec.stream(Draw.IDENTITY)))


def scene_of(spec: ClipSpec) -> Scene:
    return draw_scene(np.random.default_rng(spec.stream(Draw.SCENE)))


def performance_of(spec: ClipSpec) -> Performance:
    return draw_performance(spec.stream(Draw.PERFORMANCE), spec.emotion, spec.level, frames=spec.frames, fps=FPS)


def clip_renderer(spec: ClipSpec, camera: Camera) -> Renderer:
    """The clip's person in the clip's light, seen from anywhere."""
    return Renderer(figure_of(identity_of(spec)), scene_of(spec), camera)


def render_clip(spec: ClipSpec) -> tuple[bytes, bytes]:
    """The video as MP4 and its ground truth as CSV."""
    renderer = clip_renderer(spec, Camera(size=spec.size, face_pixels=FACE_SHARE * spec.size))
    performance = performance_of(spec)
    return film(renderer, performance, posed_frames(renderer.figure, renderer.scene, performance))


def posed_frames(figure: Figure, scene: Scene, performance: Performance) -> Iterator[PosedFigure]:
    for t in range(len(performance)):
        yield pose_figure(figure, scene, performance.pose(t))


def film(renderer: Renderer, performance: Performance, posed_T: Iterable[PosedFigure]) -> tuple[bytes, bytes]:
    """What one camera sees of a performance, as MP4, and the ground truth in its pixels, as CSV."""
    landmarks: list[np.ndarray] = []

    def frames() -> Iterator[np.ndarray]:
        for posed in posed_T:
            picture, points = renderer.draw(posed)
            landmarks.append(points)
            yield picture

    video = BytesIO()
    encode_h264(frames(), video, fps=FPS, crf=23, gop=250)
    return video.getvalue(), truth(renderer.camera, performance, landmarks)


def truth(camera: Camera, performance: Performance, landmarks_T682: Sequence[np.ndarray]) -> bytes:
    """The annotation of a performance whose landmarks lie here in a camera's pixels, as CSV."""
    poses = [performance.pose(t) for t in range(len(performance))]
    pose_T6 = np.array([head_pose(camera, head_rotation(pose), head_position(pose)) for pose in poses])
    return write_csv(np.stack(landmarks_T682), performance.intensity_T18, pose_T6, fps=FPS)

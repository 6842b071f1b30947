"""A MEAD-like corpus: takes of procedural actors, each filmed by seven cameras at once.

All views of a take show the same vertices at the same instants; only camera, background and pixels differ. So do their
annotations: action units are equal over the views, while landmarks and head pose are those that each camera sees.
A landmark that the face itself hides, as half of them are at 60 degrees, is given where it truly projects, with full
confidence: ground truth knows no occlusion. Frame rate and encoding are those of the VoxCeleb2-like corpus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count, islice

import numpy as np

from pipelines.corpora.mead import EMOTIONS, LEVELS, VIEWS
from pipelines.synthetic.camera import VIEW_ANGLES, Camera
from pipelines.synthetic.clip_rendering import FACE_SHARE, figure_of, film, posed_frames
from pipelines.synthetic.clip_specs import Draw, annotation_path
from pipelines.synthetic.config import FPS, MeadConfig
from pipelines.synthetic.identity import Identity, draw_identity
from pipelines.synthetic.performance import Performance, draw_performance
from pipelines.synthetic.renderer import Renderer
from pipelines.synthetic.scene import Scene, draw_scene

HEAD_SHARE = 0.5
"""Movement of head and eyes of a seated actor, who faces the frontal camera, as a share of that in a conversation."""
SUPERSAMPLING = 1.25
"""Less than where there is one camera, for speed."""
_STREAMS = 100  # sets the streams apart from those of the VoxCeleb2-like corpus: no actor is a speaker there


@dataclass(frozen=True)
class TakeSpec:
    """One take: where its views go and everything it is drawn from."""

    actor: int
    take: int
    """Counts the takes of an actor."""
    emotion: str
    level: int
    number: int
    """Counts the takes of an actor, an emotion and a level, from 1."""
    frames: int
    size: int
    seed: int

    @property
    def subject(self) -> str:
        return f"{'MW'[self.actor % 2]}{self.actor + 1:03d}"

    @property
    def person(self) -> int:
        return self.actor

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the videos, in the order of VIEWS."""
        take = f"{self.emotion}/level_{self.level}/{self.number:03d}.mp4"
        return tuple(f"{self.subject}/video/{view}/{take}" for view in VIEWS)

    def rows(self) -> list[dict[str, object]]:
        """Of the manifest, one per view."""
        return [
            {"path": path, "view": view, "subject": self.subject, **asdict(self), "annotation": annotation_path(path)}
            for view, path in zip(VIEWS, self.paths, strict=True)
        ]

    def render(self, paths: list[str]) -> Iterator[tuple[str, bytes, bytes]]:
        """Path, video and annotation of each: posed once, then filmed by one camera after the other."""
        if not paths:
            return
        performance = performance_of(self)
        posed_T = list(posed_frames(figure_of(identity_of(self)), scene_of(self), performance))
        for view, path in zip(VIEWS, self.paths, strict=True):
            if path in paths:
                yield path, *film(view_renderer(self, view), performance, posed_T)


def _stream(seed: int, draw: Draw, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence((seed, *key), spawn_key=(_STREAMS, int(draw)))


def identity_of(spec: TakeSpec) -> Identity:
    return draw_identity(np.random.default_rng(_stream(spec.seed, Draw.IDENTITY, spec.actor)))


def scene_of(spec: TakeSpec) -> Scene:
    """The light of an actor's session. The cameras stand still."""
    scene = draw_scene(np.random.default_rng(_stream(spec.seed, Draw.SCENE, spec.actor)))
    return replace(scene, pan=(0.0, 0.0), zoom=0.0)


def studio(spec: TakeSpec, view: str) -> Scene:
    """What stands behind the actor as one camera sees it: the same for all takes and actors."""
    rng = np.random.default_rng(_stream(spec.seed, Draw.STUDIO, VIEWS.index(view)))
    return replace(scene_of(spec), background_seed=int(rng.integers(2**31)))


def view_renderer(spec: TakeSpec, view: str) -> Renderer:
    """The take's actor as one of the cameras sees them."""
    yaw, pitch = VIEW_ANGLES[view]
    camera = Camera(yaw=yaw, pitch=pitch, size=spec.size, face_pixels=FACE_SHARE * spec.size)
    return Renderer(figure_of(identity_of(spec)), studio(spec, view), camera, supersampling=SUPERSAMPLING)


def performance_of(spec: TakeSpec) -> Performance:
    seed = _stream(spec.seed, Draw.PERFORMANCE, spec.actor, spec.take)
    played = draw_performance(seed, spec.emotion, spec.level, frames=spec.frames, fps=FPS)
    return replace(played, angles_T3=HEAD_SHARE * played.angles_T3, gaze_T2=HEAD_SHARE * played.gaze_T2)


def _expressions(config: MeadConfig, actor: int) -> Iterator[tuple[str, int]]:
    """Emotion and level of an actor's takes: every emotion once before any again, at another level each time."""
    for cycle in count():
        rng = np.random.default_rng(_stream(config.seed, Draw.LABEL, actor, cycle))
        levels = {emotion: rng.permutation(LEVELS) for emotion in EMOTIONS}
        for turn in range(len(LEVELS)):
            for emotion in rng.permutation(EMOTIONS):
                yield str(emotion), 1 if emotion == "neutral" else int(levels[emotion][turn])


def list_takes(config: MeadConfig) -> list[TakeSpec]:
    """Every take of a corpus, actor after actor."""
    takes = []
    for actor in range(config.actors):
        numbers: Counter[tuple[str, int]] = Counter()
        shown = islice(_expressions(config, actor), config.takes_per_actor)
        for take, (emotion, level) in enumerate(shown):
            numbers[emotion, level] += 1
            length = np.random.default_rng(_stream(config.seed, Draw.LENGTH, actor, take))
            takes.append(
                TakeSpec(
                    actor=actor,
                    take=take,
                    emotion=emotion,
                    level=level,
                    number=numbers[emotion, level],
                    frames=round(FPS * length.uniform(config.min_seconds, config.max_seconds)),
                    size=config.size,
                    seed=config.seed,
                )
            )
    return takes

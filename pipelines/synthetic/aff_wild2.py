"""A twin of Aff-Wild2: recordings of people who talk and change their expression, with sound, and their faces frame by
frame.

    videos/<recording>.mp4                       H.264 at 25 fps and AAC, mono, 16 kHz
    cropped_aligned/<video>/<NNNNN>.jpg          the face, as in the recording; some are missing
    annotations/cropped_aligned/<video>.csv      landmarks and action units of every frame
    <labels, lists and examples>                 as in pipelines.synthetic.aff_wild2_layout

The emotion is in the action units and, where the config says so, in the way people speak, and in nothing else. A
recording of two people shows them side by side; both talk at once.

Shape letters: T frames, S samples of sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from io import BytesIO
from itertools import groupby

import numpy as np

from pipelines.synthetic.aff_wild2_layout import Truth, Video, annotation_files, draw_gaps, list_videos
from pipelines.synthetic.affect_acting import EXPRESSIONS, Act, Segment, draw_act
from pipelines.synthetic.camera import Camera
from pipelines.synthetic.clip_rendering import figure_of, posed_frames, truth
from pipelines.synthetic.clip_specs import annotation_path
from pipelines.synthetic.config import FPS, AffWild2Config
from pipelines.synthetic.identity import Identity, draw_identity
from pipelines.synthetic.renderer import Renderer
from pipelines.synthetic.scene import draw_scene
from pipelines.synthetic.speech import MANNERS, Voice, add_sound, draw_voice, speak, vary
from pipelines.synthetic.twins import SUPERSAMPLING, encode_image
from pipelines.video import encode_h264

FACE_SHARE, FACE_CENTRE = 0.44, (0.0, 0.2, 0.35)
"""Framing as of the corpus's aligned crops: D (distance of the outer eye corners) over the side of the picture, and the
point in D in its middle."""
ALIGNED_ANGLES, ALIGNED_SHIFT = (0.5, 0.5, 0.0), 0.3
"""What remains of yaw, pitch and roll, and of movement across the picture, in crops that were aligned by landmarks; who
is filmed also turns less than in a conversation."""
_STREAMS = 103  # sets the streams apart from those of the other synthetic corpora


class Draw(IntEnum):
    """What is drawn of a person, each from a stream of its own. The values are part of the streams."""

    IDENTITY = 0
    SCENE = 1
    ACT = 2
    SEGMENTS = 3
    GAPS = 4
    VOICE = 5
    MANNER = 6
    SPEECH = 7


@dataclass(frozen=True)
class RecordingSpec:
    """One recording: where it and the faces of its people go, and everything they are drawn from."""

    recording: str
    people: tuple[Video, ...]
    """One, or two from left to right."""
    config: AffWild2Config

    @property
    def person(self) -> int:
        return self.people[0].person

    @property
    def paths(self) -> tuple[str, ...]:
        """The last image of each person, then the recording."""
        return (*(images_of(self.config, video)[-1] for video in self.people), self.video_path)

    @property
    def video_path(self) -> str:
        return f"videos/{self.recording}.mp4"

    def rows(self) -> list[dict[str, object]]:
        """Of the manifest, one per person."""
        return [
            {
                **video._asdict(),
                "path": folder_of(video),
                "video": self.video_path,
                "frames": num_frames(self.config),
                "segments": [segment._asdict() for segment in segments_of(self.config, video)],
                "voice": asdict(voice_of(self.config, video.person)),
                "annotation": annotation_path(folder_of(video)),
            }
            for video in self.people
        ]

    def render(self, paths: list[str]) -> Iterator[tuple[str, bytes | dict[str, bytes], bytes | None]]:
        """The faces of each person by their images and their truth; the recording, which has no truth of its own."""
        if not paths:
            return
        filmed = []
        for video, last in zip(self.people, self.paths[:-1], strict=True):
            pictures_T, annotation = _film(self.config, video)
            filmed.append(pictures_T)
            if last in paths:
                names = images_of(self.config, video)
                yield (
                    folder_of(video),
                    {name: encode_image(name, pictures_T[_frame(name)]) for name in names},
                    annotation,
                )
        if self.video_path in paths:
            yield self.video_path, self._record(filmed), None

    def _record(self, filmed: list[list[np.ndarray]]) -> bytes:
        file = BytesIO()
        side_by_side = (np.concatenate(pictures, axis=1) for pictures in zip(*filmed, strict=True))
        encode_h264(side_by_side, file, fps=FPS, crf=23, gop=250)
        sounds = [sound_of(self.config, video) for video in self.people]
        return add_sound(file.getvalue(), np.clip(sum(sounds) / np.sqrt(len(sounds)), -1, 1))


def list_recordings(config: AffWild2Config) -> list[RecordingSpec]:
    """Every recording of the twin."""
    by_recording = groupby(list_videos(config), key=lambda video: video.recording)
    return [RecordingSpec(recording, tuple(people), config) for recording, people in by_recording]


def aff_wild2_files(config: AffWild2Config) -> dict[str, bytes]:
    """The labels, lists and examples that come with the corpus, by name."""
    videos = list_videos(config)
    texts = annotation_files(videos, {video.name: truth_of(config, video) for video in videos})
    return {name: text.encode() for name, text in texts.items()}


def num_frames(config: AffWild2Config) -> int:
    return round(FPS * config.seconds)


def folder_of(video: Video) -> str:
    return f"cropped_aligned/{video.name}"


def images_of(config: AffWild2Config, video: Video) -> list[str]:
    """Paths of the images that are there."""
    has_image_T, _ = _gaps(config, video)
    return [f"{folder_of(video)}/{frame + 1:05d}.jpg" for frame in np.flatnonzero(has_image_T)]


def segments_of(config: AffWild2Config, video: Video) -> list[Segment]:
    """What a person shows and when: parts of about the same length."""
    rng = _generator(config, Draw.SEGMENTS, video.person)
    lengths = rng.uniform(0.85, 1.15, len(video.expressions))
    edges = np.concatenate([[0], np.cumsum(lengths) / lengths.sum()]) * num_frames(config)
    starts = edges.round().astype(int).tolist()
    return [Segment(*shown) for shown in zip(video.expressions, starts[:-1], starts[1:], strict=True)]


def act_of(config: AffWild2Config, video: Video) -> Act:
    seed = _stream(config, Draw.ACT, video.person)
    act = draw_act(seed, segments_of(config, video), frames=num_frames(config), fps=FPS)
    moved = act.performance
    aligned = replace(moved, angles_T3=moved.angles_T3 * ALIGNED_ANGLES, shift_T2=moved.shift_T2 * ALIGNED_SHIFT)
    return replace(act, performance=aligned)


def truth_of(config: AffWild2Config, video: Video) -> Truth:
    act = act_of(config, video)
    marks_TK = act.marks_TK.astype(int)
    return Truth(act.expression_T, marks_TK, act.affect_T2, *_gaps(config, video))


def identity_of(config: AffWild2Config, person: int) -> Identity:
    return draw_identity(_generator(config, Draw.IDENTITY, person))


def voice_of(config: AffWild2Config, person: int) -> Voice:
    return draw_voice(_generator(config, Draw.VOICE, person))


def renderer_of(config: AffWild2Config, video: Video) -> Renderer:
    scene = draw_scene(_generator(config, Draw.SCENE, video.person))
    camera = Camera(size=config.size, face_pixels=FACE_SHARE * config.size, target=FACE_CENTRE)
    return Renderer(figure_of(identity_of(config, video.person)), scene, camera, supersampling=SUPERSAMPLING)


def sound_of(config: AffWild2Config, video: Video) -> np.ndarray:
    """What a person says, float32 [S]. Where the audio is neutral, the manner of each part is that of an expression
    drawn at random, so that sounds are as different as where it follows what is shown."""
    rng = _generator(config, Draw.MANNER, video.person)
    manners = []
    for segment in segments_of(config, video):
        drawn = str(rng.choice(EXPRESSIONS))
        manner = vary(rng, MANNERS[segment.expression if config.audio == "emotional" else drawn])
        manners += [manner] * (segment.stop - segment.start)
    speech = _generator(config, Draw.SPEECH, video.person)
    opening_T = act_of(config, video).opening_T
    return speak(speech, voice_of(config, video.person), manners, opening_T, fps=FPS)


def _film(config: AffWild2Config, video: Video) -> tuple[list[np.ndarray], bytes]:
    """Pictures of all frames, and their truth."""
    renderer, performance = renderer_of(config, video), act_of(config, video).performance
    pictures, landmarks = [], []
    for posed in posed_frames(renderer.figure, renderer.scene, performance):
        picture, points = renderer.draw(posed)
        pictures.append(picture)
        landmarks.append(points)
    return pictures, truth(renderer.camera, performance, landmarks)


def _frame(image: str) -> int:
    return int(image.rpartition("/")[2].removesuffix(".jpg")) - 1


def _gaps(config: AffWild2Config, video: Video) -> tuple[np.ndarray, dict]:
    return draw_gaps(_generator(config, Draw.GAPS, video.person), video.person, num_frames(config))


def _stream(config: AffWild2Config, draw: Draw, person: int) -> np.random.SeedSequence:
    return np.random.SeedSequence((config.seed, person), spawn_key=(_STREAMS, int(draw)))


def _generator(config: AffWild2Config, draw: Draw, person: int) -> np.random.Generator:
    return np.random.default_rng(_stream(config, draw, person))

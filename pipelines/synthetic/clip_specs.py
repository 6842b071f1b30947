"""Which clips the VoxCeleb2-like corpus consists of: a pure function of its config."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum

import numpy as np

from pipelines.synthetic.config import FPS, SyntheticConfig
from pipelines.synthetic.expressions import EMOTIONS, LEVELS

BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


ANNOTATIONS = "annotations"
"""Folder of the ground truth, below the root of a corpus."""


def annotation_path(path: str) -> str:
    """Where the ground truth of a video lies, both below the root of a corpus."""
    return f"{ANNOTATIONS}/{path.removesuffix('.mp4')}.csv"


class Draw(IntEnum):
    """What is drawn, each from a stream of its own. The values are part of the streams."""

    IDENTITY = 0
    SCENE = 1
    PERFORMANCE = 2
    LABEL = 3
    LENGTH = 4
    STUDIO = 5


@dataclass(frozen=True)
class ClipSpec:
    """One clip: where it goes and everything it is drawn from."""

    path: str
    """Of the video, below the root of the corpus."""
    split: str
    speaker: int
    video: int
    clip: int
    emotion: str
    level: int
    frames: int
    size: int
    seed: int

    @property
    def annotation_path(self) -> str:
        return annotation_path(self.path)

    @property
    def person(self) -> int:
        return self.speaker

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def rows(self) -> list[dict[str, object]]:
        """Of the manifest."""
        return [{**asdict(self), "annotation": self.annotation_path}]

    def render(self, paths: list[str]) -> Iterator[tuple[str, bytes, bytes]]:
        """Path, video and annotation of each."""
        from pipelines.synthetic.clip_rendering import render_clip

        for path in paths:
            yield path, *render_clip(self)

    def stream(self, draw: Draw) -> np.random.SeedSequence:
        """Where the randomness of one aspect of this clip comes from."""
        keys = {Draw.IDENTITY: (self.speaker,), Draw.SCENE: (self.speaker, self.video)}
        return _stream(self.seed, draw, *keys.get(draw, (self.speaker, self.video, self.clip)))


def _stream(seed: int, draw: Draw, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence((seed, *key), spawn_key=(int(draw),))


def _video_name(config: SyntheticConfig, speaker: int, video: int) -> str:
    """Eleven characters, as YouTube names videos; other configs give other names."""
    digest = hashlib.sha256(f"{config.fingerprint}/{speaker}/{video}".encode()).digest()
    return "".join(BASE64[byte % 64] for byte in digest[:11])


def list_clips(config: SyntheticConfig) -> list[ClipSpec]:
    """Every clip of a corpus, speakers of `dev` first. No speaker is in both splits."""
    clips = []
    for speaker in range(config.speakers_dev + config.speakers_test):
        split = "dev" if speaker < config.speakers_dev else "test"
        for clip in range(config.clips_per_speaker):
            video = clip // config.clips_per_video
            key = (speaker, video, clip)
            label = np.random.default_rng(_stream(config.seed, Draw.LABEL, *key))
            length = np.random.default_rng(_stream(config.seed, Draw.LENGTH, *key))
            folder = f"{split}/mp4/id{speaker + 1:05d}/{_video_name(config, speaker, video)}"
            clips.append(
                ClipSpec(
                    path=f"{folder}/{clip % config.clips_per_video + 1:05d}.mp4",
                    split=split,
                    speaker=speaker,
                    video=video,
                    clip=clip,
                    emotion=str(label.choice(EMOTIONS)),
                    level=int(label.choice(LEVELS)),
                    frames=round(FPS * length.uniform(config.min_seconds, config.max_seconds)),
                    size=config.size,
                    seed=config.seed,
                )
            )
    return clips

"""A detector that tells videos apart by their grey level, and keeps a list of what it was given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipelines.annotate_video import AnnotateConfig
from pipelines.face_tracks import FaceTrack
from tests.pipelines.face_samples import track
from tests.pipelines.stream_corpus import grey

FOLDER = "FAKE_DETECTOR_FOLDER"
"""Environment variable: where `seen` is written and where a file `fuse` may lie, the number of videos after which the
detector fails."""
NAME = "tests.pipelines.fake_detector:make"
WITHOUT_FACE, WITH_TWO = 6, 7
"""Videos in which it finds no face, and two."""


def tracks_of(number: int, frames: int) -> list[FaceTrack]:
    """What the detector finds in the video of that number."""
    found = [track(frames, seed=number), track(frames, seed=100 + number, face_id=1)]
    return found[: {WITHOUT_FACE: 0, WITH_TWO: 2}.get(number, 1)]


def seen() -> list[int]:
    """Numbers of the videos that all detectors were given, in their order."""
    path = Path(os.environ[FOLDER]) / "seen"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def make(config: AnnotateConfig) -> Callable[[Iterator[np.ndarray]], list[FaceTrack]]:
    assert config.max_faces >= 2
    folder = Path(os.environ[FOLDER])

    def detect(frames: Iterator[np.ndarray]) -> list[FaceTrack]:
        levels = [float(frame_HWC.mean()) for frame_HWC in frames]
        number = round((levels[0] - grey(0)) / (grey(1) - grey(0)))
        fuse = folder / "fuse"
        if fuse.exists() and len(seen()) >= int(fuse.read_text()):
            raise ValueError("the fuse is blown")
        with open(folder / "seen", "a") as file:
            file.write(f"{number}\n")
        return tracks_of(number, len(levels))

    return detect

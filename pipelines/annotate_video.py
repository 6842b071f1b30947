"""The faces of one video: from its OpenFace CSV where there is one, else found in its frames.

The two are never mixed within a video.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from pipelines.batch_reader import fetch
from pipelines.catalog import OK
from pipelines.containers import HEAD_BYTES, check_head
from pipelines.decoders import decoder_errors, main_stream, open_video
from pipelines.face_tracks import FaceTrack
from pipelines.frame_folder import FrameFolder
from pipelines.quarantine import Reason, SampleError, short_detail
from pipelines.sample import Video
from pipelines.still_image import StillImage
from pipelines.storage import ObjectMissing, Storage
from pipelines.track_file import NO_FACE, VideoFaces
from pipelines.video import Images

Detector = Callable[[Iterator[np.ndarray]], list[FaceTrack]]
"""From the frames of a video, uint8 [H, W, 3] one by one, to its faces, scored against themselves."""


@dataclass(frozen=True)
class AnnotateConfig:
    """Where faces come from and which are kept."""

    openface: str | None = None
    """Local folder or s3://bucket/prefix of OpenFace 2 CSVs, named as the videos with .csv. A video that has one there
    is not read. None: faces are found in the frames of every video."""
    faces: Literal["largest", "all"] = "largest"
    """largest: one face per video, the longest largest; all: every face that was followed, the small ones too."""
    max_faces: int = 8
    """Faces looked for in a frame. 1 suits videos that are cropped to a face, and is the fastest."""
    detector: str = "pipelines.annotate_video:mesh_detector"
    """module:function that makes a Detector of this config in the process that uses it."""

    def __post_init__(self) -> None:
        if self.max_faces < 1:
            raise ValueError(f"max_faces={self.max_faces} must be at least 1")
        if ":" not in self.detector:
            raise ValueError(f"detector={self.detector!r} must read module:function")

    @property
    def small_faces(self) -> bool:
        """Faces that are small in a large frame are looked for: where one face is wanted it is taken to be larger."""
        return self.faces == "all" and self.max_faces > 1


class VideoAnnotator:
    """Annotates videos of a corpus one after the other. One per process: a detector leaks when it is made anew."""

    def __init__(self, storage: Storage, config: AnnotateConfig) -> None:
        self._storage = storage
        self._config = config
        self._openface = None if config.openface is None else Storage(config.openface)
        self._detect: Detector | None = None

    def fetch(self, video: Video, *, has_csv: bool) -> bytes | Images | SampleError:
        """What tells where the faces are, of the CSV or of the video; or why there are none."""
        try:
            if has_csv and self._openface is not None:
                return self._openface.read(csv_name(video.uri))
            return fetch(self._storage, video)
        except ObjectMissing as error:
            return SampleError(Reason.missing, str(error))
        except SampleError as error:
            return error

    def annotate(self, video: Video, data: bytes | Images | SampleError, *, has_csv: bool) -> VideoFaces:
        """The faces in what `fetch` gave, or why the video cannot be used.

        Raises:
            ValueError: a CSV of another program than OpenFace 2; the others will be no better.
        """
        try:
            if isinstance(data, SampleError):
                raise data
            tracks = self._read_csv(video, data) if has_csv else self._find(video, data)
        except SampleError as error:
            return VideoFaces(video.uri, error.reason.value, short_detail(error.detail), [])
        tracks = [track for track in tracks if track.valid_T.any()]
        kept = tracks[:1] if self._config.faces == "largest" else tracks
        return VideoFaces(video.uri, OK if kept else NO_FACE, "", kept)

    def _read_csv(self, video: Video, data: bytes) -> list[FaceTrack]:
        from pipelines.openface import read_csv

        try:
            return [read_csv(data, video.frames)]
        except ValueError as error:
            raise ValueError(f"{self._config.openface}/{csv_name(video.uri)}: {error}") from None

    def _find(self, video: Video, data: bytes | Images) -> list[FaceTrack]:
        if self._detect is None:
            self._detect = make_detector(self._config)
        if isinstance(data, StillImage):
            return self._detect(iter(data.read([0])))
        if isinstance(data, FrameFolder):
            return self._detect(image_HWC for _, image_HWC in data.images())
        return self._detect(read_one_by_one(data, expect_frames=video.frames))


def csv_name(uri: str) -> str:
    """Name of the CSV of a video below the folder of CSVs."""
    return str(PurePosixPath(uri).with_suffix(".csv"))


def make_detector(config: AnnotateConfig) -> Detector:
    module, _, function = config.detector.partition(":")
    return getattr(importlib.import_module(module), function)(config)


def mesh_detector(config: AnnotateConfig) -> Detector:
    """MediaPipe's face mesh, its meshes linked to tracks. It stays open for as long as the process lives.

    A single face is followed from frame to frame, which is faster than to search every frame for it. Where small faces
    are wanted every large frame is searched in squares too.
    """
    import cv2

    from pipelines.face_mesh import FaceMesh
    from pipelines.face_search import detect_small
    from pipelines.face_tracks import build_tracks

    cv2.setNumThreads(1)  # the actor was given one CPU; OpenCV would take all of the machine
    mesh = FaceMesh(num_faces=config.max_faces, follow=config.max_faces == 1)
    search = partial(detect_small, mesh) if config.small_faces else mesh.detect

    def detect(frames: Iterator[np.ndarray]) -> list[FaceTrack]:
        mesh.forget()
        return build_tracks((frame_HWC, search(frame_HWC)) for frame_HWC in frames)

    return detect


def read_one_by_one(data: bytes, *, expect_frames: int) -> Iterator[np.ndarray]:
    """Every frame of a video in turn, uint8 [H, W, 3], RGB, upright; one is held at a time.

    Raises SampleError: the reasons of `check_head`, decode, short_read or changed (not `expect_frames` frames).
    """
    from av.video.reformatter import VideoReformatter

    check_head(data[:HEAD_BYTES])
    reformatter, found = VideoReformatter(), 0
    try:
        with open_video(data) as container:
            stream = main_stream(container)
            if stream is None:
                raise SampleError(Reason.no_video, "there is no video stream")
            for frame in container.decode(stream):
                found += 1
                if found > expect_frames:
                    raise SampleError(Reason.changed, f"more than the {expect_frames} frames of the catalog")
                image_HWC = reformatter.reformat(frame, format="rgb24").to_ndarray()
                yield np.rot90(image_HWC, k=frame.rotation // 90) if frame.rotation else image_HWC
    except decoder_errors() as error:
        raise SampleError(Reason.decode, f"frame {found} cannot be decoded: {error}") from None
    if found < expect_frames:
        raise SampleError(Reason.short_read, f"{found} frames can be decoded, the catalog says {expect_frames}")

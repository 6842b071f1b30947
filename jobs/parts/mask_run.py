"""The work of jobs/show_masks.py: videos and their annotation in, pictures and a few numbers out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jobs.parts.activity_chart import Activity, draw_activity
from jobs.parts.mask_pictures import MaskedClip, draw_atlas, draw_masked_clip, draw_view_atlas
from jobs.parts.pictures import png
from models.tokens import ClipGeometry
from pipelines.action_units import ACTION_UNITS
from pipelines.alignment import AlignConfig, central_crop, clip_landmarks, cut_clip
from pipelines.au_masks import AUMaskConfig, draw_au_mask
from pipelines.clip_masks import active_in_span
from pipelines.clips import ClipConfig, central_frame_indices
from pipelines.probe import probe
from pipelines.quarantine import Reason, SampleError
from pipelines.storage import Storage
from pipelines.video import read_frames

if TYPE_CHECKING:
    from pipelines.face_tracks import FaceTrack

_SOURCES = {"openface": "OpenFace", "mediapipe": "MediaPipe"}


class FaceVideo(NamedTuple):
    name: str
    data: bytes
    csv: bytes | None
    """OpenFace 2's output; None: the face is looked for in the frames."""


@dataclass(frozen=True)
class MaskPictureConfig:
    """What is cut out of a video, and how it is masked."""

    geometry: ClipGeometry
    clip: ClipConfig
    align: AlignConfig
    mask: AUMaskConfig
    seed: int


@dataclass(frozen=True)
class _View:
    """One video, as far as the pictures need it."""

    name: str
    track: FaceTrack
    fps: float
    indices_T: np.ndarray
    clip_THWC: np.ndarray
    landmarks_T682: np.ndarray
    active_18: np.ndarray

    @property
    def valid_T(self) -> np.ndarray:
        return self.track.valid_T[self.indices_T]

    @property
    def active(self) -> list[int]:
        return [unit for unit, active in zip(ACTION_UNITS, self.active_18, strict=True) if active]

    @property
    def strongest(self) -> int | None:
        """The unit of highest score; None where none moves at all."""
        total_18 = self.track.score_T18[self.indices_T[self.valid_T]].sum(0)
        return ACTION_UNITS[int(total_18.argmax())] if total_18.any() else None


def show_masks(
    videos: Sequence[FaceVideo], config: MaskPictureConfig, *, unit: int | None, output: str
) -> dict[str, Any]:
    """Pictures and numbers, as jobs/show_masks.py describes them; also written to OUTPUT/result.json.

    Of several videos all show the unit that was drawn for the first. `unit` (None: draw one) is shown even if it is not
    active.

    Raises:
        SampleError: a video that cannot be read, is too short or shows no face; it is named.
        FaceMeshUnavailable: a video without a CSV, where MediaPipe is not installed.
        StorageError: the output cannot be written.
        ValueError: a CSV of another program.
    """
    storage = Storage(output)
    views = []
    for video in videos:
        try:
            views.append(_read_view(video, config))
        except SampleError as error:
            raise SampleError(error.reason, f"{video.name}: {error.detail}") from error
    files: dict[str, bytes] = {}
    rows = []
    for view in views:
        rng = np.random.default_rng(config.seed)
        wanted_18 = view.active_18 if unit is None else np.isin(ACTION_UNITS, unit)
        visible_V, record = draw_au_mask(
            config.geometry,
            view.landmarks_T682,
            view.valid_T,
            wanted_18,
            config.mask,
            rng,
            strongest=view.strongest,
        )
        unit = unit or record.unit or None
        masked = MaskedClip(
            view.name, view.clip_THWC, view.landmarks_T682, view.valid_T, view.active, visible_V, record
        )
        files[f"{view.name}-mask.png"] = png(
            draw_masked_clip(masked, config.geometry, config.mask, setting=_setting(view, config))
        )
        files[f"{view.name}-units.png"] = draw_activity(_activity(view))
        rows.append({"name": view.name, "source": view.track.source, "active": view.active, **record._asdict()})
    files |= _atlas(views, config)
    for name, content in files.items():
        storage.write(name, content)
    result = {"output": storage.uri, "files": list(files), "clips": rows}
    storage.write("result.json", json.dumps(result, indent=1).encode())
    return result


def load_videos(paths: Sequence[Path], csvs: Sequence[Path]) -> list[FaceVideo]:
    """Videos and their CSVs, which come in the same order or not at all, named by what sets their paths apart.

    Raises SampleError (missing) where there is no such file.
    """
    common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    names = ["-".join(path.absolute().relative_to(common).with_suffix("").parts) for path in paths]
    annotations = [_bytes(csv) for csv in csvs] or [None] * len(paths)
    return [FaceVideo(name, _bytes(path), csv) for name, path, csv in zip(names, paths, annotations, strict=True)]


def synthetic_views() -> list[FaceVideo]:
    """A performance of the synthetic corpus, seen by its seven cameras."""
    from pipelines.corpora.mead import VIEWS
    from pipelines.synthetic.mead import TakeSpec

    take = TakeSpec(actor=0, take=0, emotion="happy", level=3, number=1, frames=40, size=320, seed=0)
    rendered = take.render(list(take.paths))
    return [FaceVideo(view, data, csv) for view, (_, data, csv) in zip(VIEWS, rendered, strict=True)]


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise SampleError(Reason.missing, f"there is no file {path}")
    return path.read_bytes()


def _find_face(video: FaceVideo, frames: int) -> FaceTrack:
    """The longest largest face of the video, which has so many frames."""
    if video.csv is not None:
        from pipelines.openface import read_csv

        return read_csv(video.csv, frames)
    from pipelines.annotate_video import AnnotateConfig, read_one_by_one
    from pipelines.face_mesh import FaceMesh
    from pipelines.face_tracks import build_tracks

    with FaceMesh(num_faces=AnnotateConfig().max_faces) as mesh:
        pictures = read_one_by_one(video.data, expect_frames=frames)
        tracks = build_tracks((frame_HWC, mesh.detect(frame_HWC)) for frame_HWC in pictures)
    if not tracks:
        raise SampleError(Reason.no_face, f"no face in any of the {frames} frames")
    return tracks[0]


def _read_view(video: FaceVideo, config: MaskPictureConfig) -> _View:
    info = probe(video.data)
    track = _find_face(video, info.frames)
    indices_T = central_frame_indices(info.frames, info.fps, config.clip)
    crop = central_crop(config.align, config.geometry.width)
    clip_THWC = np.empty((config.geometry.frames, config.geometry.height, config.geometry.width, 3), np.uint8)
    frames_THWC = read_frames(video.data, indices_T, expect_frames=info.frames)
    cut_clip(frames_THWC, track, indices_T, crop, config.align, out_THWC=clip_THWC)
    landmarks_T682 = clip_landmarks(track, indices_T, crop, config.align)
    active_18, _ = active_in_span(track, indices_T)
    return _View(video.name, track, info.fps, indices_T, clip_THWC, landmarks_T682, active_18)


def _setting(view: _View, config: MaskPictureConfig) -> str:
    mask, (time, rows, columns) = config.mask, config.geometry.grid
    return (
        f"{len(view.indices_T)} frames from the middle of the video, stride {config.clip.stride}; faces by "
        f"{_SOURCES[view.track.source]}; {config.align.mode} crop; {time}x{rows}x{columns} tokens; "
        f"mask ratio {mask.ratio:g}, rest {mask.rest}, dilation {mask.dilation}."
    )


def _activity(view: _View) -> Activity:
    clip = int(view.indices_T[0]), int(view.indices_T[-1])
    track = view.track
    source = _SOURCES[track.source]
    return Activity(view.name, track.score_T18, track.valid_T, view.fps, clip, view.active, source)


def _atlas(views: Sequence[_View], config: MaskPictureConfig) -> dict[str, bytes]:
    """All units on the middle one of each clip's frames that show a face; nothing where none does."""
    faces = {}
    for view in views:
        shown = np.flatnonzero(view.valid_T)
        if len(shown):
            t = shown[len(shown) // 2]
            faces[view.name] = view.clip_THWC[t], view.landmarks_T682[t]
    if not faces:
        return {}
    title = "The 18 action units and the patches that show them"
    if len(faces) == 1:
        (face,) = faces.values()
        return {"atlas.png": draw_atlas(*face, config.geometry, config.mask.dilation, title=title)}
    return {"atlas.png": png(draw_view_atlas(faces, config.geometry, config.mask.dilation, title=title))}

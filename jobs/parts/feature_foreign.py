"""Features that were computed elsewhere, brought into a store: tables found by the names of videos, put at the times of
their frames."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.parts.feature_audio import find_recordings, open_recording, times_of_frames, units_of
from jobs.parts.feature_config import ForeignConfig
from jobs.parts.feature_rejections import rejected, write_rejections
from pipelines.catalog import Catalog
from pipelines.feature_store import FeatureStore, FrameFeatures, Kind, frame_times
from pipelines.foreign_features import ForeignTable, at_frames_of, list_tables, read_table
from pipelines.frame_videos import FrameVideo, recording_of
from pipelines.progress import progress
from pipelines.quarantine import Reason, SampleError
from pipelines.storage import Storage
from pipelines.unit_map import WorkerPool, map_units


@dataclass(frozen=True)
class ForeignExtraction:
    """Tables of all videos of a catalog."""

    folder: Storage
    tables: Mapping[str, str]
    """By the name of their video."""
    recordings: tuple[Storage, Mapping[str, str]] | None
    """Where the times of frames are told; None: the rate tells them, or the tables tell frames."""
    fps: float | None
    nominal_fps: float
    width: int
    made_with: Mapping[str, Any]
    kind: Kind = "foreign"

    def extract(self, videos: Sequence[FrameVideo], store: FeatureStore) -> dict[str, int]:
        """Raises StorageError, and ValueError for tables of another width and times that nothing puts to frames."""
        units, frames = units_of(videos, self.tables), {}
        arguments = {"extraction": self, "store": store}
        with progress("tables", len(units)) as advance:
            for unit, counts in map_units(units, bring_in, arguments, WorkerPool()):
                frames |= dict(zip(unit["videos"], counts, strict=True))
                advance(1)
        return frames


def prepare_foreign(config: ForeignConfig, catalog: Catalog) -> ForeignExtraction:
    """For a config that says which folder. Raises ValueError for one that holds no table of any video, or none that
    can be read."""
    folder = Storage(config.folder)
    tables = list_tables(folder)
    videos = catalog.table["video"].unique().to_pylist()
    named = sorted({table for video in videos if (table := recording_of(video, tables)) is not None})
    if not named:
        raise ValueError(f"{folder.uri} holds no table of any video; {videos[0]}.npy would be that of the first")
    first = _first_table(folder, named)
    needs_times = first.time_M is not None and config.fps is None
    found = find_recordings(config, catalog) if needs_times or config.recordings is not None else None
    content = [[item.name, item.size, item.etag] for item in folder.list()]
    return ForeignExtraction(
        folder=folder,
        tables=tables,
        recordings=found and found[:2],
        fps=config.fps,
        nominal_fps=catalog.table["fps"][0].as_py(),
        width=first.feature_MD.shape[1],
        made_with={
            "tables": hashlib.sha256(repr(content).encode()).hexdigest()[:32],
            "recordings": found and found[2],
            "fps": config.fps,
            "catalog": catalog.fingerprint,
        },
    )


def bring_in(unit: dict[str, Any], extraction: ForeignExtraction, store: FeatureStore) -> list[int]:
    """Writes the features of the videos that a table is of; answers with how many frames of each have some."""
    counts = []
    for video in unit["videos"]:
        features, problem = _features(video, unit["file"], extraction)
        if problem is not None:
            write_rejections(store.place, video, [rejected(video, unit["file"], *problem)])
        store.write(video, *features)
        counts.append(len(features.frame_M))
    return counts


def _features(video: str, name: str, extraction: ForeignExtraction) -> tuple[FrameFeatures, tuple[str, str] | None]:
    try:
        if not name:
            raise SampleError(Reason.missing, f"no table in {extraction.folder.uri} is named as the video")
        table = read_table(extraction.folder, name)
        features = at_frames_of(table, _times(video, table, extraction))
    except SampleError as error:
        nothing = np.zeros((0, extraction.width), np.float32)
        return FrameFeatures(np.zeros(0, np.int32), np.zeros(0), nothing), (error.reason, error.detail)
    if table.left_out:
        return features, (Reason.format, f"{table.left_out} rows with values that are not finite")
    return features, None


def _times(video: str, table: ForeignTable, extraction: ForeignExtraction) -> np.ndarray:
    """When the frames of the video are shown, float64 [N]."""
    if table.frame_M is not None:
        return frame_times(_count(table.frame_M, 1), extraction.fps or extraction.nominal_fps)
    last = float(table.time_M[-1]) if len(table.time_M) else 0.0
    if extraction.recordings is not None:
        place, files = extraction.recordings
        file = recording_of(video, files)
        if file is not None or extraction.fps is None:
            return times_of_frames(open_recording(place, file or ""), file or "", extraction.fps, seconds=last)
    if extraction.fps is None:
        raise ValueError(f"the table of {video} tells times, others frames: give --recordings or --fps")
    return frame_times(_count(table.time_M, extraction.fps), extraction.fps)


def _count(number_M: np.ndarray, rate: float) -> int:
    """Frames up to the last one that a table tells of."""
    return int(number_M[-1] * rate) + 1 if len(number_M) else 0


def _first_table(folder: Storage, names: Sequence[str]) -> ForeignTable:
    problems = []
    for name in names:
        try:
            return read_table(folder, name)
        except SampleError as error:
            problems.append(str(error))
    raise ValueError(f"none of the {len(names)} tables in {folder.uri} can be read; the first: {problems[0]}")

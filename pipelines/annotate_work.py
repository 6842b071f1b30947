"""What the actors of the annotation do: find the faces of a part, take baselines, score the parts of a shard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np

from pipelines.action_units import Baseline, baseline_of
from pipelines.annotate_plan import part_name
from pipelines.annotate_video import AnnotateConfig, VideoAnnotator
from pipelines.annotations import write_shard
from pipelines.face_tracks import FaceTrack, rescored
from pipelines.quarantine import SampleError
from pipelines.sample import Video
from pipelines.storage import Storage
from pipelines.track_file import VideoFaces, read_file, write_file


class PartWorker:
    """Finds the faces of the videos of one part, a unit of Plan.part_units, and writes them. Answers with what it
    took."""

    def __init__(self, storage: Storage, place: Storage, config: AnnotateConfig) -> None:
        self._place = place
        self._annotator = VideoAnnotator(storage, config)
        # Local files are in the page cache or on a disk that threads do not make faster.
        self._prefetch = None if storage.is_local else ThreadPoolExecutor(1, thread_name_prefix="fetch")

    def __call__(self, unit: dict[str, Any]) -> dict[str, Any]:
        begun = time.process_time()
        rows = [(Video(*video), has_csv) for *video, has_csv in unit["videos"]]
        found = [self._annotator.annotate(video, data, has_csv=has_csv) for video, has_csv, data in self._fetch(rows)]
        self._place.write(part_name(unit["part"]), write_file(found))
        return {"frames": sum(video.frames for video, _ in rows), "cpu_seconds": time.process_time() - begun}

    def _fetch(self, rows: list[tuple[Video, bool]]) -> Iterator[tuple[Video, bool, bytes | SampleError]]:
        """Videos with their bytes; a remote one arrives while the one before it is worked on."""
        if self._prefetch is None:
            for video, has_csv in rows:
                yield video, has_csv, self._annotator.fetch(video, has_csv=has_csv)
            return
        coming = None
        for index, (video, has_csv) in enumerate(rows):
            data = (coming or self._submit(rows[index])).result()
            coming = self._submit(rows[index + 1]) if index + 1 < len(rows) else None
            yield video, has_csv, data

    def _submit(self, row: tuple[Video, bool]) -> Future[bytes | SampleError]:
        return self._prefetch.submit(self._annotator.fetch, row[0], has_csv=row[1])


def take_baselines(unit: list[dict[str, Any]], place: Storage) -> list[tuple[int, list[float], int]]:
    """The neutral faces of some groups of videos, a unit of Plan.baseline_units: group, values and number of frames of
    every group that has a face without the scores of its source."""
    # The next group often begins in the part where the one before it ends.
    read_part = lru_cache(maxsize=1)(lambda part: list(_read_part(place, part)))
    answers = []
    for group in unit:
        firsts = (read_part(part)[row].tracks[:1] for part, rows in group["rows"] for row in rows)
        features = [
            track.features_TF[track.facing_T][:: group["step"]]
            for track in chain.from_iterable(firsts)
            if track.features_TF is not None
        ]
        if features:
            baseline = baseline_of(features)
            answers.append((group["group"], baseline.values.tolist(), sum(map(len, features))))
    return answers


def score_shard(unit: dict[str, Any], place: Storage) -> dict[str, Any]:
    """Scores the parts of a shard and writes it. Returns what `publish` wants to know."""
    baselines = {int(group): Baseline(np.array(values, np.float32)) for group, values in unit["baselines"].items()}

    def videos() -> Iterator[VideoFaces]:
        for part, groups in unit["parts"]:
            for video, group in zip(_read_part(place, part), groups, strict=True):
                yield video._replace(tracks=[_scored(track, baselines.get(group)) for track in video.tracks])

    return write_shard(place, unit["shard"], videos())


def _read_part(place: Storage, part: int) -> Iterator[VideoFaces]:
    name = part_name(part)
    return read_file(place.read(name), name=place.full(name))


def _scored(track: FaceTrack, baseline: Baseline | None) -> FaceTrack:
    """A track scored against the baseline of its subject, which its first face is taken for. The others are nobody we
    know: their scores stay relative to their own track."""
    if track.features_TF is None or track.face_id > 0 or baseline is None:
        return track
    return rescored(track, baseline)

"""The work of jobs/evaluate_units.py: a rendered corpus in, a report and a picture out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.parts.unit_evaluation import (
    BEYOND,
    UP_TO,
    Comparison,
    DrawnMask,
    compare,
    draw_mask,
    joined,
    mask_rates,
    summary,
    yaw_group,
)
from jobs.parts.unit_evaluation_report import draw_heat_map, show
from pipelines.action_units import baseline_of, features
from pipelines.annotate_video import AnnotateConfig, VideoAnnotator
from pipelines.catalog import OK
from pipelines.corpora.mead import VIEWS
from pipelines.face_mesh import FaceMeshUnavailable, require_mediapipe
from pipelines.face_tracks import FaceTrack, rescored
from pipelines.landmarks import eye_distance
from pipelines.progress import progress
from pipelines.quarantine import Reason, SampleError
from pipelines.sample import Video
from pipelines.synthetic.clip_specs import ANNOTATIONS
from pipelines.synthetic.config import FPS, MeadConfig
from pipelines.synthetic.corpus import ensure_corpus, list_specs
from pipelines.take_sample import FRONT, Take, TakeSampleConfig
from pipelines.track_file import NO_FACE

if TYPE_CHECKING:
    from pipelines.storage import Storage
    from pipelines.synthetic.mead import TakeSpec

ALL = "all"
TRUE_LANDMARKS, MEDIAPIPE = "true landmarks", "MediaPipe"
_MASKS_OF_TAKE = 4 * len(VIEWS)
"""Masks drawn of every take, each of a random view."""


class ScoredTake(NamedTuple):
    """The face of every view, in the order of VIEWS."""

    take: Take
    truth: list[FaceTrack]
    found: dict[str, list[FaceTrack | None]]
    """By source."""


@dataclass(frozen=True)
class _Reader:
    """Reads the faces of a corpus: the true ones, and those that the pixels show."""

    storage: Storage
    true_faces: VideoAnnotator
    seen_faces: VideoAnnotator | None

    def read(self, take: Take) -> ScoredTake:
        """Scores are still relative to each video itself, or not there yet."""
        truth = [self._face(self.true_faces, video, has_csv=True) for video in take.videos]
        found = {TRUE_LANDMARKS: [replace(face, features_TF=features(face.landmarks_T682)) for face in truth]}
        if self.seen_faces is not None:
            found[MEDIAPIPE] = [self._face(self.seen_faces, video, has_csv=False) for video in take.videos]
        return ScoredTake(take, truth, found)

    @staticmethod
    def _face(annotator: VideoAnnotator, video: Video, *, has_csv: bool) -> FaceTrack | None:
        faces = annotator.annotate(video, annotator.fetch(video, has_csv=has_csv), has_csv=has_csv)
        if faces.status not in (OK, NO_FACE):
            raise SampleError(Reason(faces.status), f"{video.uri}: {faces.detail}")
        return faces.tracks[0] if faces.tracks else None


def evaluate_units(corpus: MeadConfig, place: Storage, output: Storage) -> dict[str, Any]:
    """What jobs/evaluate_units.py reports; writes units.png and shows tables on stderr.

    The corpus is rendered below `place` unless it is there.

    Raises:
        SampleError: a video of the corpus that cannot be read.
        StorageError: the output cannot be written.
    """
    storage = ensure_corpus(place, corpus)
    left_out = _left_out()
    reader = _Reader(
        storage,
        VideoAnnotator(storage, AnnotateConfig(openface=storage.full(ANNOTATIONS))),
        None if left_out else VideoAnnotator(storage, AnnotateConfig()),
    )
    specs = list_specs(corpus)
    compared: dict[str, dict[str, list[Comparison]]] = defaultdict(lambda: defaultdict(list))
    masks: dict[str, list[DrawnMask]] = defaultdict(list)
    with progress("finding faces", len(specs)) as advance:
        for scored in scored_takes(reader.read, storage, specs, advance):
            eye_T = eye_distance(scored.truth[FRONT].landmarks_T682)
            for source, found in scored.found.items():
                for view, truth, face in zip(VIEWS, scored.truth, found, strict=True):
                    compared[source][view].append(compare(truth, face, eye_T))
                masks[source] += [
                    draw_mask(scored.take, scored.truth, found, TakeSampleConfig(), epoch=epoch)
                    for epoch in range(_MASKS_OF_TAKE)
                ]
    sources = {source: _report(compared[source], masks[source]) for source in compared}
    result = {"corpus": storage.uri, "takes": len(specs), "left_out": left_out, "sources": sources}
    output.write("units.png", draw_heat_map(sources))
    show(sources, left_out)
    return {"output": output.uri, **result}


def scored_takes(
    read: Callable[[Take], ScoredTake], storage: Storage, specs: Sequence[TakeSpec], advance: Callable[[int], None]
) -> Iterator[ScoredTake]:
    """Takes scored against the baseline of their subject in each view, one subject in memory at a time."""
    numbered = enumerate(specs)
    for _, group in groupby(numbered, key=lambda item: item[1].subject):
        takes = []
        for sample_id, spec in group:
            videos = [Video(sample_id, path, storage.size(path), "", spec.frames, FPS) for path in spec.paths]
            takes.append(read(Take(sample_id, tuple(videos))))
            advance(1)
        for source in takes[0].found:
            for view in range(len(VIEWS)):
                faces = scored_together([take.found[source][view] for take in takes])
                for take, face in zip(takes, faces, strict=True):
                    take.found[source][view] = face
        yield from takes


def scored_together(faces: Sequence[FaceTrack | None]) -> list[FaceTrack | None]:
    """Faces of one subject from one view, scored against the baseline of them all; None stays."""
    measured = [face.features_TF[face.facing_T] for face in faces if face is not None]
    if not measured:
        return list(faces)
    baseline = baseline_of(measured)
    return [None if face is None else rescored(face, baseline) for face in faces]


def _left_out() -> dict[str, str]:
    """Sources that cannot be asked here, and why."""
    try:
        require_mediapipe()
    except FaceMeshUnavailable as error:
        return {MEDIAPIPE: str(error)}
    return {}


def _report(compared: dict[str, list[Comparison]], masks: list[DrawnMask]) -> dict[str, Any]:
    by_view = {view: joined(parts) for view, parts in compared.items()}
    by_view[ALL] = joined(list(by_view.values()))
    groups = {view: [mask for mask in masks if VIEWS[mask.view] == view] for view in VIEWS}
    groups |= {group: [mask for mask in masks if yaw_group(mask) == group] for group in (UP_TO, BEYOND)}
    return {
        "views": {view: summary(comparison) for view, comparison in by_view.items()},
        "masks": {group: mask_rates(drawn) for group, drawn in groups.items()},
    }

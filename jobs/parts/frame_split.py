"""Which videos of a corpus that is labelled frame by frame are learned from, validated with and tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from jobs.parts.affect_scores import task_columns
from jobs.parts.fold_config import FoldConfig
from pipelines.corpora.aff_wild2 import frame_labels, subject_of
from pipelines.frame_labels import read_frame_labels
from pipelines.labelled_stream import LabelledStreamConfig, chosen_videos

if TYPE_CHECKING:
    from pipelines.catalog import Catalog
    from pipelines.frame_labels import FrameLabels
    from pipelines.labels import EvaluationProtocol
    from pipelines.storage import Storage


@dataclass(frozen=True)
class FrameSplit:
    """Names of videos, of one fold."""

    labels: FrameLabels
    learned: tuple[str, ...]
    validation: tuple[str, ...]
    tested: tuple[str, ...]
    part: str
    """That is tested."""

    def subjects(self) -> list[str]:
        """The people that are learned from."""
        return sorted({subject_of(video) for video in self.learned})


def split_frames(catalog: Catalog, protocol: EvaluationProtocol, config: FoldConfig) -> FrameSplit:
    """The videos of the config of a single run. The clean evaluation holds out the same people as a fine-tuning on the
    frames of the same corpus does.

    Raises ValueError for a corpus that is not labelled frame by frame, and a part without a video.
    """
    if config.corpus.name != "aff_wild2":
        raise ValueError(f"corpus.name={config.corpus.name} is not labelled frame by frame; aff_wild2 is")
    labels = read_frame_labels(catalog.storage, protocol.name)
    parts, tested_part = config.training_parts(protocol), config.test_part(protocol)
    usable = {video: labels.part(video) for video in labels.videos() if not np.isnan(labels.targets(video)).all()}
    if empty := [part for part in (*parts, tested_part) if part not in usable.values()]:
        raise ValueError(
            f"no video with a labelled frame is in the parts {', '.join(empty)} of protocol {protocol.name}; every "
            "part needs one: complete the corpus"
        )
    tested = tuple(video for video, part in usable.items() if part == tested_part)
    known = tuple(video for video, part in usable.items() if part in parts)
    if config.evaluation == "paper":
        return FrameSplit(labels, known, tested, tested, tested_part)
    stream = LabelledStreamConfig(
        catalog="", protocol=protocol.name, parts=parts, validation_share=config.validation_share
    )
    _, held_out = chosen_videos(replace(catalog, protocols=(protocol,)), stream)
    people = set(held_out["subject"].to_pylist())
    validation = tuple(video for video in known if subject_of(video) in people)
    return FrameSplit(
        labels, tuple(video for video in known if video not in validation), validation, tested, tested_part
    )


def submitted_videos(storage: Storage, labels: FrameLabels) -> dict[str, dict[str, int | None]]:
    """What is to be submitted for each task (expr, au, va): the videos of its own test set in their order, with their
    frames, None where nothing tells how many. Of several tasks at once a video may be in the test set of one and have
    labels of another."""
    if labels.protocol.task != "affect" or not labels.test_frames:
        return {name: dict(labels.test_frames) for name in task_columns(labels.protocol)}
    lengths = labels.test_frames | {video: labels.num_frames(video) for video in labels.videos()}
    offered = frame_labels(storage)
    return {
        name: {video: frames or lengths[video] for video, frames in offered[name].test_frames.items()}
        for name in task_columns(labels.protocol)
    }

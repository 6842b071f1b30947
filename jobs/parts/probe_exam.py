"""The part of a labelled corpus on which everything probed is tested: who is trained on, and who is tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jobs.parts.predictions import prediction_table
from models.probes import check_folds
from pipelines.labelled_videos import check_all_usable, in_parts, labelled_videos, targets, usable_videos

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog
    from pipelines.labelled_sample import LabelledSampleConfig
    from pipelines.labels import EvaluationProtocol

_TEST = "test"

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Positions of training and of test videos to scores of the latter [M, K]."""


@dataclass(frozen=True, eq=False)
class Exam:
    """The videos of a protocol. With folds each part is tested by what was trained on the others, else test by train;
    validation videos have no part in it."""

    protocol: EvaluationProtocol
    catalog: Catalog
    videos: pa.Table

    @property
    def target_NK(self) -> np.ndarray:
        return targets(self.videos)

    def column(self, name: str) -> np.ndarray:
        return np.array(self.videos[name].to_pylist(), dtype=np.str_)

    @property
    def tested_N(self) -> np.ndarray:
        """Which videos are tested, bool."""
        return np.full(len(self.videos), True) if self.protocol.folds else self.column("part") == _TEST

    def scores(self, fit: Fit) -> np.ndarray:
        """Scores of the tested videos, float32 [M, K], each by what did not see its part."""
        part_N = self.column("part")
        score_NK = np.empty(self.target_NK.shape, np.float32)
        for part in np.unique(part_N[self.tested_N]):
            test_N = part_N == part
            score_NK[test_N] = fit(np.flatnonzero(~test_N), np.flatnonzero(test_N))
        return score_NK[self.tested_N]

    def predictions(self, score_MK: np.ndarray, clips_N: np.ndarray) -> pa.Table:
        """The tested videos with their scores (jobs.parts.scores); `clips_N` are the clips of all videos."""
        import pyarrow as pa

        tested = self.videos.filter(pa.array(self.tested_N)).combine_chunks()
        sample_ids = tested["sample_id"].to_pylist()
        scores = {sample_id: score_K[None] for sample_id, score_K in zip(sample_ids, score_MK, strict=True)}
        table = prediction_table(self.catalog.table, tested, scores)
        clips = pa.array(clips_N[self.tested_N], pa.int32())
        return table.set_column(table.schema.get_field_index("clips"), "clips", clips)


def make_exam(
    catalog: Catalog,
    protocol: EvaluationProtocol,
    sample: LabelledSampleConfig | None = None,
    annotations: Annotations | None = None,
) -> Exam:
    """All labelled videos, or of fixed parts those for training and test; such for training that cannot be used for
    this sample are left out.

    Raises ValueError for a test video that cannot be used, people in several folds or too few of them.
    """
    videos = labelled_videos(catalog, protocol, sample, annotations)
    if not protocol.folds:
        check_all_usable(in_parts(videos, (_TEST,)))
        return Exam(protocol, catalog, usable_videos(in_parts(videos, ("train", _TEST))))
    check_all_usable(videos)
    exam = Exam(protocol, catalog, videos)
    check_folds(exam.column("subject"), exam.column("part"))
    return exam

"""The videos of one evaluation protocol: which there are, what they are labelled with and which can be used."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from pipelines.catalog import OK
from pipelines.labels import EvaluationProtocol, label_rows, listed
from pipelines.randomness import Draw, generator

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog
    from pipelines.labelled_sample import LabelledSampleConfig


def labelled_videos(
    catalog: Catalog,
    protocol: EvaluationProtocol,
    sample: LabelledSampleConfig | None = None,
    annotations: Annotations | None = None,
) -> pa.Table:
    """The videos that a protocol labels, usable or not, in catalog order: VIDEO_COLUMNS, subject, status, detail, part
    (string) and target (fixed_size_list<float32>[K]).

    With a sample config the status is also that of files which are fine and cannot make such a sample
    (pipelines.video_stream.judged_videos).
    """
    import pyarrow as pa

    from pipelines.batch_reader import VIDEO_COLUMNS
    from pipelines.video_stream import judged_videos

    table = catalog.table if sample is None else judged_videos(catalog, sample, annotations)
    row_N, target_NK, part_N = label_rows(table["labels"], protocol)
    videos = table.select([*VIDEO_COLUMNS, "subject", "status", "detail"]).take(pa.array(row_N))
    target = pa.FixedSizeListArray.from_arrays(pa.array(target_NK.ravel()), len(protocol.classes))
    videos = videos.append_column("part", pa.array(part_N.tolist(), pa.string()))
    return videos.append_column("target", target).combine_chunks()


def in_parts(videos: pa.Table, parts: Collection[str]) -> pa.Table:
    """The labelled videos of some parts. Raises ValueError, listing the parts there are, for one without any."""
    import pyarrow as pa
    import pyarrow.compute as pc

    there = pc.unique(videos["part"]).to_pylist()
    if missing := sorted(set(parts) - set(there)):
        raise ValueError(f"no video is in the parts {missing}; there are {sorted(there)}")
    return videos.filter(pc.is_in(videos["part"], value_set=pa.array(list(parts)))).combine_chunks()


def usable_videos(videos: pa.Table) -> pa.Table:
    """Those labelled videos that can be learned from. Raises ValueError where there is none."""
    import pyarrow.compute as pc

    usable = videos.filter(pc.equal(videos["status"], OK)).combine_chunks()
    if not usable.num_rows:
        raise ValueError(f"none of the {videos.num_rows} labelled videos can be used")
    return usable


def check_all_usable(videos: pa.Table) -> None:
    """Raises ValueError naming labelled videos that cannot be used: evaluation scores every one of them."""
    import pyarrow.compute as pc

    bad = videos.filter(pc.not_equal(videos["status"], OK))
    if bad.num_rows:
        names = [f"{uri} ({why})" for uri, why in zip(*bad.select(["uri", "status"]).to_pydict().values(), strict=True)]
        raise ValueError(
            f"{len(names)} of {videos.num_rows} labelled videos cannot be used: {listed(names)}; give the files back, "
            "or name them in the exclusion list of the catalog, which every result then carries"
        )


def split_validation(videos: pa.Table, share: float, seed: int) -> tuple[pa.Table, pa.Table]:
    """Labelled videos to learn from and to validate with, about `share` of them, no subject in both.

    Subjects are drawn in the order of a hash of seed and name, so those of a larger share include those of a smaller
    one. Every class is learned from, and is in the validation part too where that can be had.

    Raises:
        ValueError: share is not in (0, 1), or a single subject has all videos.
    """
    import pyarrow as pa

    if not 0 < share < 1:
        raise ValueError(f"share={share} must lie in (0, 1)")
    subject_N = np.array(videos["subject"].to_pylist(), dtype=np.str_)
    subjects, index_N = np.unique(subject_N, return_inverse=True)
    order = sorted(range(len(subjects)), key=lambda s: sha256(f"{seed}:{subjects[s]}".encode()).digest())
    chosen_S = _draw_subjects(_classes_of(videos, index_N, len(subjects)), np.bincount(index_N), order, share)
    if not chosen_S.any():
        raise ValueError(f"no subject of {len(subjects)} can be spared for validation; learn without it")
    chosen_N = chosen_S[index_N]
    return videos.filter(pa.array(~chosen_N)).combine_chunks(), videos.filter(pa.array(chosen_N)).combine_chunks()


def draw_per_class(videos: pa.Table, per_class: int, *, seed: int) -> pa.Table:
    """At most so many usable videos of each class (the highest number of a target), in their order. A class with fewer
    keeps them all."""
    import pyarrow as pa

    class_N = targets(videos).argmax(1)
    (usable_M,) = np.nonzero(np.array(videos["status"].to_pylist(), dtype=np.str_) == OK)
    drawn = []
    for k in np.unique(class_N[usable_M]):
        row_M = usable_M[class_N[usable_M] == k]
        order_M = generator(Draw.CLASS, seed=seed, sample_id=int(k)).permutation(len(row_M))
        drawn.append(row_M[order_M[:per_class]])
    rows = np.sort(np.concatenate(drawn)) if drawn else np.array([], np.int64)
    return videos.take(pa.array(rows)).combine_chunks()


def _classes_of(videos: pa.Table, index_N: np.ndarray, subjects: int) -> np.ndarray:
    """Which classes the videos of each subject are of, bool [S, K]: those of the highest number of a target, which of
    several labels is every one that is marked. For a regression this means little, and does no harm."""
    target_NK = targets(videos)
    has_SK = np.zeros((subjects, target_NK.shape[1]), bool)
    np.logical_or.at(has_SK, index_N, (target_NK > 0) & (target_NK == target_NK.max(1, keepdims=True)))
    return has_SK


def _draw_subjects(has_SK: np.ndarray, videos_S: np.ndarray, order: list[int], share: float) -> np.ndarray:
    """The subjects of the validation part, bool [S]. First one for every class, the rarest first; then in order, until
    there are enough videos. None is the last of a class, nor the last of all."""
    chosen_S = np.zeros(len(videos_S), bool)

    def spare(subject: int) -> bool:
        left_K = has_SK[~chosen_S].sum(0)
        can = not chosen_S[subject] and chosen_S.sum() + 1 < len(chosen_S) and (left_K[has_SK[subject]] > 1).all()
        chosen_S[subject] |= can
        return can

    for k in np.argsort(has_SK.sum(0), kind="stable"):
        if not has_SK[chosen_S, k].any():
            next((subject for subject in order if has_SK[subject, k] and spare(subject)), None)
    for subject in order:
        if videos_S[chosen_S].sum() >= share * videos_S.sum():
            break
        spare(subject)
    return chosen_S


def targets(videos: pa.Table) -> np.ndarray:
    """Targets of labelled videos, float32 [N, K]."""
    column = videos["target"].combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(videos.num_rows, -1)

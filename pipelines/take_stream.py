"""The stream of takes: which rows belong to it, and who reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipelines.corpora.mead import LEVELS
from pipelines.order import PADDING
from pipelines.stream import SampleStream, StreamConfig
from pipelines.take_sample import TakeSampleConfig
from pipelines.takes import TakeConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog


@dataclass(frozen=True)
class TakeChoice:
    """Which takes of a split are learned from."""

    takes: TakeConfig = field(default_factory=TakeConfig)
    levels: tuple[int, ...] = LEVELS
    """Intensities: 1 is MAURA's low, 3 its high."""
    without_fold: int | None = None
    """Leave out the subjects of this fold, who are to test the encoder later (inductive); None: all (transductive)."""

    def __post_init__(self) -> None:
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise ValueError(f"levels={self.levels} must be one or more of {LEVELS}")
        if self.without_fold is not None and not 0 <= self.without_fold < self.takes.folds:
            raise ValueError(f"without_fold={self.without_fold} must lie in [0, {self.takes.folds})")


@dataclass(frozen=True)
class TakeStreamConfig(StreamConfig):
    """Where the takes and the annotations of their views are, who decodes, and what a sample looks like."""

    annotations: str = ""
    """Address of the annotations of the catalog."""
    choice: TakeChoice = field(default_factory=TakeChoice)
    sample: TakeSampleConfig = field(default_factory=TakeSampleConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.annotations:
            raise ValueError("annotations must be the address of the annotations of the catalog")


def build_stream(config: TakeStreamConfig) -> SampleStream:
    """The stream of the catalog and annotations of a config.

    Raises:
        ValueError: the split has no take, or the annotations are of another catalog.
    """
    from pipelines.annotations import open_annotations
    from pipelines.catalog import load

    return stream_of(load(config.catalog), open_annotations(config.annotations), config)


def stream_of(catalog: Catalog, annotations: Annotations, config: TakeStreamConfig) -> SampleStream:
    """As `build_stream`, of a catalog and annotations that are open already."""
    from pipelines.annotations import check_annotations, fingerprint_of
    from pipelines.take_reader import TakeReader

    check_annotations(catalog, annotations)
    rows, num_takes = take_rows(catalog, config.split, config.choice, config.sample)
    return SampleStream(
        config,
        rows,
        num_ids=num_takes,
        seed=config.sample.seed,
        make_reader=partial(
            TakeReader,
            storage=catalog.storage,
            annotations=annotations,
            config=config.sample,
            fetch_threads=config.fetch_threads,
        ),
        sample_bytes=2 * math.prod(config.sample.clip_shape),
        fingerprint=fingerprint_of(catalog, annotations),
    )


def take_rows(catalog: Catalog, split: str, choice: TakeChoice, sample: TakeSampleConfig) -> tuple[pa.Table, int]:
    """The takes of a split: sample_id and `videos`, a list of structs of pipelines.sample.Video per view, whose
    sample_id is PADDING where the take lacks the view. And how many takes the catalog has.

    A take of a single view is left out where the target must be another.

    Raises:
        ValueError: nothing is chosen.
    """
    import pyarrow as pa

    from pipelines.batch_reader import VIDEO_COLUMNS

    fewest_views = 2 if sample.target_views == "other" else 1
    takes, num_takes = chosen_takes(catalog, split, choice, fewest_views=fewest_views)
    ids_V = takes["video_ids"].combine_chunks().flatten().to_numpy()
    videos = catalog.table.select(VIDEO_COLUMNS).take(pa.array(np.maximum(ids_V, 0))).combine_chunks()
    videos = videos.set_column(0, "sample_id", pa.array(np.where(ids_V < 0, PADDING, ids_V)))
    per_take = pa.FixedSizeListArray.from_arrays(
        pa.StructArray.from_arrays([column.combine_chunks() for column in videos.columns], names=VIDEO_COLUMNS),
        len(ids_V) // takes.num_rows,
    )
    return pa.table({"sample_id": takes["take_id"], "videos": per_take}), num_takes


def chosen_takes(catalog: Catalog, split: str, choice: TakeChoice, *, fewest_views: int) -> tuple[pa.Table, int]:
    """The takes of a split (pipelines.takes.SCHEMA) that are chosen and have as many views; and how many takes the
    catalog has.

    Raises:
        ValueError: nothing is chosen.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.takes import take_table

    takes = take_table(catalog, choice.takes).table
    views_N = (takes["video_ids"].combine_chunks().flatten().to_numpy().reshape(takes.num_rows, -1) >= 0).sum(1)
    chosen = pc.and_(
        pc.and_(pc.equal(takes["split"], split), pc.is_in(takes["level"], value_set=pa.array(choice.levels))),
        pa.array(views_N >= fewest_views),
    )
    if choice.without_fold is not None:
        chosen = pc.and_(chosen, pc.not_equal(takes["fold"], choice.without_fold))
    found = takes.filter(chosen)
    if not found.num_rows:
        splits = sorted(set(takes["split"].to_pylist()))
        raise ValueError(
            f"split={split!r} has no take of levels={choice.levels} with {fewest_views} views or more; the catalog has "
            f"takes in {splits}"
        )
    return found, takes.num_rows

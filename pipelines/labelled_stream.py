"""The stream of labelled videos: which rows of a catalog are learned from under a protocol, and who reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.stream import SampleStream, StreamConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog


@dataclass(frozen=True)
class LabelledStreamConfig(StreamConfig):
    """Where the videos are, which of them are learned from, who decodes, and what a sample looks like."""

    protocol: str = ""
    """Name of one of the catalog's protocols."""
    parts: tuple[str, ...] = ("train",)
    """Parts that are learned from: of a protocol with folds all numbers but that of the test fold."""
    validation_share: float = 0.0
    """Share of their videos that is held out, by subject, and not learned from (clean protocol); 0: none."""
    validation_seed: int = 0
    """Decides which subjects; the same in all runs that are compared."""
    per_class: int | None = None
    """At most so many samples of each class are learned from, drawn by the seed of the samples once for all epochs
    (Emotic-MAE 4.1); None: all."""
    sample: LabelledSampleConfig = field(default_factory=LabelledSampleConfig)
    annotations: str | None = None
    """Address of the annotations of the catalog; for crops that follow the face."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.protocol:
            raise ValueError("protocol must be the name of one of the catalog's protocols")
        if self.split != StreamConfig.split:
            raise ValueError(f"split={self.split!r} has no effect on labelled videos; choose parts")
        if not self.parts or len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts={self.parts} must be one or more different parts of the protocol")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share} must lie in [0, 1)")
        if self.validation_seed and not self.validation_share:
            raise ValueError(f"validation_seed={self.validation_seed} has no effect without validation_share")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"per_class={self.per_class} must be at least 1")


def build_stream(config: LabelledStreamConfig) -> SampleStream:
    """The stream of the catalog and annotations of a config.

    Raises:
        ValueError: there is no such protocol or part, none of their videos can be used, or the annotations are of
            another catalog, missing or without effect.
    """
    from pipelines.annotations import open_annotations
    from pipelines.catalog import load

    annotations = None if config.annotations is None else open_annotations(config.annotations)
    return stream_of(load(config.catalog), config, annotations)


def stream_of(catalog: Catalog, config: LabelledStreamConfig, annotations: Annotations | None = None) -> SampleStream:
    """As `build_stream`, of a catalog and annotations that are open already."""
    from pipelines.annotations import check_annotations, fingerprint_of
    from pipelines.batch_reader import check_faces
    from pipelines.labelled_reader import LabelledBatchReader
    from pipelines.labelled_videos import usable_videos

    check_faces(config.sample, annotations)
    if annotations is not None:
        check_annotations(catalog, annotations)
    learned, _ = chosen_videos(catalog, config, annotations)
    chosen = [config.protocol, ",".join(config.parts), f"{config.validation_share:g}", str(config.validation_seed)]
    chosen += [] if config.per_class is None else [f"per_class={config.per_class}"]
    return SampleStream(
        config,
        usable_videos(learned),
        num_ids=catalog.table.num_rows,
        seed=config.sample.seed,
        make_reader=partial(
            LabelledBatchReader,
            storage=catalog.storage,
            config=config.sample,
            fetch_threads=config.fetch_threads,
            annotations=annotations,
        ),
        sample_bytes=config.sample.repeats * math.prod(config.sample.clip_shape),
        fingerprint=":".join([fingerprint_of(catalog, annotations), *chosen]),
    )


def chosen_videos(
    catalog: Catalog, config: LabelledStreamConfig, annotations: Annotations | None = None
) -> tuple[pa.Table, pa.Table]:
    """The labelled videos of the parts (pipelines.labelled_videos), usable or not: those that are learned from, and
    those that are held out for validation, none where the config says so. Raises ValueError as `build_stream`."""
    from pipelines.labelled_videos import draw_per_class, in_parts, labelled_videos, split_validation

    protocol = catalog.protocol(config.protocol)
    videos = in_parts(labelled_videos(catalog, protocol, config.sample, annotations), config.parts)
    learned, held_out = videos, videos.slice(0, 0)
    if config.validation_share:
        learned, held_out = split_validation(videos, config.validation_share, config.validation_seed)
    if config.per_class is not None:
        if protocol.task != "classes":
            raise ValueError(
                f"per_class={config.per_class} has no effect on protocol {protocol.name} ({protocol.task})"
            )
        learned = draw_per_class(learned, config.per_class, seed=config.sample.seed)
    return learned, held_out

"""The stream of single videos: which rows of a catalog belong to it, and who reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pipelines.clips import ClipConfig, too_short
from pipelines.quarantine import Reason
from pipelines.sample import SampleConfig
from pipelines.stream import SampleStream, StreamConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog


@dataclass(frozen=True)
class VideoStreamConfig(StreamConfig):
    """Where the videos are, who decodes, and what a sample looks like."""

    sample: SampleConfig = field(default_factory=SampleConfig)
    annotations: str | None = None
    """Address of the annotations of the catalog; for masks that follow the face."""


def build_stream(config: VideoStreamConfig) -> SampleStream:
    """The stream of the catalog and annotations of a config.

    Raises:
        ValueError: the split has no usable video, or the annotations are of another catalog, missing or without effect.
    """
    from pipelines.annotations import open_annotations
    from pipelines.catalog import load

    annotations = None if config.annotations is None else open_annotations(config.annotations)
    return stream_of(load(config.catalog), config, annotations)


def stream_of(catalog: Catalog, config: VideoStreamConfig, annotations: Annotations | None = None) -> SampleStream:
    """As `build_stream`, of a catalog and annotations that are open already."""
    from pipelines.annotations import check_annotations, fingerprint_of
    from pipelines.batch_reader import MicroBatchReader, check_faces

    check_faces(config.sample, annotations)
    if annotations is not None:
        check_annotations(catalog, annotations)
    return SampleStream(
        config,
        eligible_videos(catalog, config.split, config.sample.clip),
        num_ids=catalog.table.num_rows,
        seed=config.sample.seed,
        make_reader=partial(
            MicroBatchReader,
            storage=catalog.storage,
            config=config.sample,
            fetch_threads=config.fetch_threads,
            annotations=annotations,
        ),
        sample_bytes=math.prod(config.sample.clip_shape),
        fingerprint=fingerprint_of(catalog, annotations),
    )


def eligible_videos(catalog: Catalog, split: str, clip: ClipConfig) -> pa.Table:
    """The videos of a split that can be used, in catalog order, with the columns a reader needs.

    Raises:
        ValueError: there is none; lists the splits there are.
    """
    import pyarrow.compute as pc

    from pipelines.batch_reader import VIDEO_COLUMNS
    from pipelines.catalog import OK

    table = judged_videos(catalog, clip)
    usable = pc.and_(pc.equal(table["split"], split), pc.equal(table["status"], OK))
    videos = table.filter(usable).select(VIDEO_COLUMNS).combine_chunks()
    if not videos.num_rows:
        splits = sorted(set(pc.unique(table["split"]).to_pylist()))
        raise ValueError(f"split={split!r} has no usable video; the catalog has the splits {splits}")
    return videos


def judged_videos(catalog: Catalog, clip: ClipConfig) -> pa.Table:
    """The catalog's table, with the status too_short where the file is fine and `clip` drops it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.catalog import OK

    table = catalog.table
    dropped = pa.array(too_short(table["frames"].to_numpy(), table["fps"].to_numpy(), clip))
    dropped = pc.and_(pc.equal(table["status"], OK), dropped)
    found = pc.binary_join_element_wise(pc.cast(table["frames"], pa.string()), "frames", " ")
    for name, value in (("status", str(Reason.too_short)), ("detail", found)):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(name), pc.if_else(dropped, value, table[name]))
    return table

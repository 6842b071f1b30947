"""The stream of single videos: which rows of a catalog belong to it, and who reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pipelines.clips import too_short
from pipelines.quarantine import Reason
from pipelines.sample import SampleConfig
from pipelines.stream import SampleStream, StreamConfig

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog
    from pipelines.labelled_sample import LabelledSampleConfig


@dataclass(frozen=True)
class VideoStreamConfig(StreamConfig):
    """Where the videos are, who decodes, and what a sample looks like."""

    sample: SampleConfig = field(default_factory=SampleConfig)
    annotations: str | None = None
    """Address of the annotations of the catalog; for crops and masks that follow the face."""
    weights: tuple[tuple[str, float], ...] = ()
    """Of a union of corpora: how often a pass visits each sample of a corpus, on the average; others count 1."""


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
    videos = eligible_videos(catalog, config.split, config.sample, annotations)
    return SampleStream(
        config,
        videos,
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
        fingerprint=":".join([fingerprint_of(catalog, annotations), *(f"{n}={w:g}" for n, w in config.weights)]),
        shares_N=corpus_shares(videos["uri"], config.weights) if config.weights else None,
    )


def corpus_shares(uris: pa.ChunkedArray, weights: Sequence[tuple[str, float]]) -> np.ndarray:
    """The weight of the corpus of each video of a union, float64 [N]: uris begin with its name. Raises ValueError for a
    corpus without a video."""
    import numpy as np
    import pyarrow.compute as pc

    shares_N = np.ones(len(uris))
    for name, weight in weights:
        is_of_N = pc.starts_with(uris, f"{name}/").to_numpy()
        if not is_of_N.any():
            raise ValueError(f"the weight {weight:g} of {name} has no effect: no usable sample is of it")
        shares_N[is_of_N] = weight
    return shares_N


def eligible_videos(
    catalog: Catalog, split: str, sample: SampleConfig, annotations: Annotations | None = None
) -> pa.Table:
    """The videos of a split that can be used, in catalog order, with the columns a reader needs.

    Raises:
        ValueError: there is none; lists the splits there are.
    """
    import pyarrow.compute as pc

    from pipelines.batch_reader import VIDEO_COLUMNS
    from pipelines.catalog import OK

    table = judged_videos(catalog, sample, annotations)
    usable = pc.and_(pc.equal(table["split"], split), pc.equal(table["status"], OK))
    videos = table.filter(usable).select(VIDEO_COLUMNS).combine_chunks()
    if not videos.num_rows:
        splits = sorted(set(pc.unique(table["split"]).to_pylist()))
        raise ValueError(f"split={split!r} has no usable video; the catalog has the splits {splits}")
    return videos


def judged_videos(
    catalog: Catalog, sample: SampleConfig | LabelledSampleConfig, annotations: Annotations | None = None
) -> pa.Table:
    """The catalog's table with the status of files that are fine and cannot make a sample: too_short where the clip
    drops them; where the crop follows the face no_face, if fewer frames show one than a clip has, or why the
    annotations (of this catalog) could not tell."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.catalog import OK

    table = catalog.table
    found = pc.binary_join_element_wise(pc.cast(table["frames"], pa.string()), "frames", " ")
    dropped = pa.array(too_short(table["frames"].to_numpy(), table["fps"].to_numpy(), sample.clip))
    table = _rejected(table, dropped, str(Reason.too_short), found)
    if annotations is None or not sample.needs_face:
        return table
    faces = annotations.videos
    rows = pc.index_in(table["uri"], value_set=faces["uri"])  # of unusable videos none
    status, detail, shown = (pc.take(faces[name], rows) for name in ("status", "detail", "frames_with_face"))
    table = _rejected(table, _true(pc.not_equal(status, OK)), status, pc.if_else(pc.equal(detail, ""), found, detail))
    share = pc.binary_join_element_wise(pc.cast(shown, pa.string()), "of", found, "show a face", " ")
    enough = pc.min_element_wise(table["frames"], sample.clip.frames)
    return _rejected(table, _true(pc.less(shown, enough)), str(Reason.no_face), share)


def _true(chosen: pa.Array) -> pa.Array:
    """Null, of videos without annotations, is not."""
    import pyarrow.compute as pc

    return pc.fill_null(chosen, False)


def _rejected(table: pa.Table, chosen: pa.Array, status: pa.Array | str, detail: pa.Array) -> pa.Table:
    """With this status and detail for the chosen of the videos that were usable."""
    import pyarrow.compute as pc

    from pipelines.catalog import OK

    chosen = pc.and_(pc.equal(table["status"], OK), chosen)
    for name, value in (("status", status), ("detail", detail)):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(name), pc.if_else(chosen, value, table[name]))
    return table

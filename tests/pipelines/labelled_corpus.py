"""A catalog of tiny labelled videos: three folds, two classes, five people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from models.tokens import ClipGeometry
from pipelines.catalog import SCHEMA, Catalog, make_catalog
from pipelines.clips import ClipConfig
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.labels import EvaluationProtocol, Label, one_hot, with_labels
from pipelines.transforms import CropConfig
from tests.pipelines.stream_corpus import FRAMES, write_corpus

VIDEOS, UNLABELLED = 10, 9
PROTOCOL = EvaluationProtocol("toy", "classes", ("calm", "glad"), folds=3)
LABELLED_SAMPLE = LabelledSampleConfig(
    clip=ClipConfig(frames=4, stride=2),
    crop=CropConfig(window=None, size=32),
    geometry=ClipGeometry(frames=4, height=32, width=32),
    repeats=2,
)


def part_of(sample_id: int) -> str:
    return str(sample_id % 3 + 1)


def class_of(sample_id: int) -> int:
    return sample_id % 2


def write_labelled(root: Path, changes: dict[int, dict] | None = None) -> Catalog:
    """All videos but UNLABELLED have a label of PROTOCOL; `changes` are other values of some rows."""
    rows = write_corpus(root, VIDEOS).table.to_pylist()
    for row in rows:
        i = row["sample_id"]
        row |= {"etag": "", "subject": f"s{i % 5}", "video": f"v{i}", "width": 48, "height": 48, "seconds": FRAMES / 25}
        row |= {"kind": "video", "labels": [], "attributes": []} | (changes or {}).get(i, {})
    labels = [
        [] if i == UNLABELLED else [Label("toy", one_hot(class_of(i), PROTOCOL.classes), part_of(i))]
        for i in range(VIDEOS)
    ]
    table = with_labels(pa.Table.from_pylist(rows, SCHEMA), labels).select(SCHEMA.names).cast(SCHEMA)
    return make_catalog(table, corpus="table", root=str(root), protocols=(PROTOCOL,))


def with_status(catalog: Catalog, sample_id: int, status: str) -> Catalog:
    """The catalog with a video that cannot be used."""
    values = [status if i == sample_id else value for i, value in enumerate(catalog.table["status"].to_pylist())]
    index = SCHEMA.get_field_index("status")
    return replace(catalog, table=catalog.table.set_column(index, SCHEMA.field(index), pa.array(values)))

"""A corpus of tiny videos whose grey level tells the sample id, and a catalog of it with some bad rows."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.tokens import ClipGeometry
from pipelines.clips import ClipConfig
from pipelines.masks import MaskConfig
from pipelines.sample import SampleConfig
from pipelines.storage import AccessDenied, Storage, content_digest
from pipelines.transforms import CropConfig
from pipelines.video import encode_h264

SAMPLE = SampleConfig(
    clip=ClipConfig(frames=4, stride=2),
    crop=CropConfig(window=None, size=32),
    mask=MaskConfig("tube", 0.5),
    geometry=ClipGeometry(frames=4, height=32, width=32),
    decoder="pyav",
)
FRAMES = 12


@dataclass(frozen=True)
class FakeCatalog:
    """What the stream reads of a catalog."""

    table: pa.Table
    storage: Storage
    fingerprint: str = "of-the-fake"


def grey(sample_id: int) -> int:
    return 20 + 3 * (sample_id % 70)


def video_bytes(sample_id: int, *, size: int = 48) -> bytes:
    file = io.BytesIO()
    encode_h264(np.full((FRAMES, size, size, 3), grey(sample_id), np.uint8), file, fps=25.0)
    return file.getvalue()


def write_corpus(root: Path, number: int, *, split: str = "train") -> FakeCatalog:
    """`number` good videos of one split under `root`."""
    root.mkdir(parents=True, exist_ok=True)
    contents = []
    for sample_id in range(number):
        data = video_bytes(sample_id)
        (root / f"{sample_id}.mp4").write_bytes(data)
        contents.append(data)
    columns = {
        "sample_id": np.arange(number, dtype=np.int64),
        "uri": [f"{sample_id}.mp4" for sample_id in range(number)],
        "size": np.array([len(data) for data in contents]),
        "digest": [content_digest(data) for data in contents],
        "frames": np.full(number, FRAMES, dtype=np.int64),
        "fps": np.full(number, 25.0),
        "split": [split] * number,
        "status": ["ok"] * number,
        "detail": [""] * number,
        "kind": ["video"] * number,
        "archive_offset": np.full(number, -1),
        "archive_bytes": np.zeros(number, np.int64),
    }
    return FakeCatalog(pa.table(columns), Storage(root))


def with_column(catalog: FakeCatalog, name: str, values: dict[int, object]) -> FakeCatalog:
    """The catalog with some values of one column replaced, by sample id."""
    column = catalog.table[name].to_pylist()
    for sample_id, value in values.items():
        column[sample_id] = value
    index = catalog.table.schema.get_field_index(name)
    field = catalog.table.schema.field(index)
    table = catalog.table.set_column(index, field, pa.array(column, field.type))
    return FakeCatalog(table, catalog.storage, catalog.fingerprint)


class Locked(Storage):
    """Refuses every read."""

    def read(self, name: str) -> bytes:
        raise AccessDenied(name)


class Deadly(Storage):
    """Ends the process that reads 9.mp4, as a decoder that crashes does."""

    def read(self, name: str) -> bytes:
        if name == "9.mp4":
            with open(f"{self.uri}/deaths", "a") as file:
                file.write("+")
            os._exit(1)
        return super().read(name)


class WideReader:
    """Reads nothing: blocks of a megabyte per row."""

    def __init__(self, rows: pa.Table, *, epoch: int, same_draws_every: int | None) -> None:
        pass

    def read(self, positions_B: np.ndarray) -> dict[str, np.ndarray]:
        return {"sample_id_B": positions_B, "pixels_BN": np.zeros((len(positions_B), 2**20), np.uint8)}

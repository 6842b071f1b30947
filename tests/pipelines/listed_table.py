"""The table that a corpus reader is given, from the names of objects alone."""

from __future__ import annotations

from types import ModuleType

import pyarrow as pa


def listed_table(corpus: ModuleType, names: list[str]) -> pa.Table:
    """One row per file and per folder of frames, as pipelines.catalog_build lists them."""
    rows = {}
    for name in sorted(names):
        labels = corpus.parse(name)
        if labels is not None:
            rows[labels.folder or name] = {**labels._asdict(), "uri": labels.folder or name}
    columns = ("uri", "split", "subject", "video")
    return pa.table({name: [rows[uri][name] for uri in sorted(rows)] for name in columns})

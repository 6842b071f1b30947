"""A small corpus of takes on disk, its catalog without decoding, and annotations read from its ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from models.tokens import ClipGeometry
from pipelines.alignment import AlignConfig
from pipelines.catalog import SCHEMA, UNLABELLED, Catalog, make_catalog
from pipelines.clips import ClipConfig
from pipelines.corpora import mead
from pipelines.face_tracks import FaceTrack
from pipelines.openface import read_csv
from pipelines.order import PADDING
from pipelines.probe import probe
from pipelines.sample import Video
from pipelines.storage import Storage, content_digest
from pipelines.synthetic.config import MeadConfig
from pipelines.synthetic.corpus import render_corpus
from pipelines.take_sample import Take, TakeSampleConfig

CORPUS = MeadConfig(actors=2, takes_per_actor=2, min_seconds=0.4, max_seconds=0.6, size=96)
SAMPLE = TakeSampleConfig(
    clip=ClipConfig(frames=4, stride=2),
    align=AlignConfig(size=72),
    geometry=ClipGeometry(frames=4, height=64, width=64),
)


@dataclass(frozen=True)
class TrueAnnotations:
    """What a reader needs of pipelines.annotations.Annotations. Videos in `faceless` have no face."""

    place: Storage
    catalog_fingerprint: str
    faceless: frozenset[str] = frozenset()
    fingerprint: str = "of-the-truth"

    def tracks(self, uri: str) -> list[FaceTrack]:
        if uri in self.faceless:
            return []
        data = self.place.read(f"annotations/{uri.removesuffix('.mp4')}.csv")
        return [read_csv(data, len(data.splitlines()) - 1)]


@dataclass(frozen=True)
class TakeCorpus:
    storage: Storage

    @cached_property
    def catalog(self) -> Catalog:
        """All actors are in "dev"."""
        rows = []
        for item in self.storage.list():
            labels = mead.parse(item.name)
            if labels is None:
                continue
            data, numbers = self.storage.read(item.name), {"sample_id": len(rows), "status": "ok", "detail": ""}
            info = vars(probe(data))
            named = {**labels._asdict(), "split": "dev", "uri": item.name, "etag": "", "digest": content_digest(data)}
            rows.append({**info, **named, **numbers, **UNLABELLED, "size": len(data)})
        table = pa.Table.from_pylist(rows, SCHEMA)
        return make_catalog(table, corpus="mead", root=self.storage.uri)

    def annotations(self, **fields: object) -> TrueAnnotations:
        return TrueAnnotations(self.storage, self.catalog.fingerprint, **fields)


def render(folder: Path, config: MeadConfig = CORPUS) -> TakeCorpus:
    storage = Storage(str(folder))
    render_corpus(storage, config, show_progress=False)
    return TakeCorpus(storage)


def table_of(rows: pa.Table, takes: list[Take]) -> pa.Table:
    """Rows of these takes, in the form of `rows` (pipelines.take_stream.take_rows)."""
    lacking = Video(PADDING, "", 0, "", 0, 0.0)
    videos = [[(video or lacking)._asdict() for video in take.videos] for take in takes]
    ids = [take.sample_id for take in takes]
    return pa.table({"sample_id": ids, "videos": videos}, schema=rows.schema)

"""Twins with the names and lists of rendered ones and the same few pixels in every file: quick to write and to read."""

from __future__ import annotations

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipelines import catalog_build
from pipelines.catalog import Catalog
from pipelines.catalog_build import build
from pipelines.catalog_probe import probe_block, probed_schema
from pipelines.image_cleaning import CleaningConfig
from pipelines.storage import Storage
from pipelines.synthetic.config import MeadConfig, TwinConfig
from pipelines.synthetic.corpus import list_files, list_specs
from tests.pipelines.media import video

FRAMES, SIZE = 5, 64


def twin_of(name: str) -> TwinConfig | MeadConfig:
    """The smallest twin of a corpus; of MEAD one with all levels and a person for each of five folds."""
    if name == "mead":
        return MeadConfig(actors=5, takes_per_actor=24, min_seconds=0.2, max_seconds=0.2, size=SIZE)
    return TwinConfig(name, clips_per_class=1, seconds=FRAMES / 25, size=SIZE)


def write_stub(place: Storage, config: TwinConfig | MeadConfig) -> None:
    clip, grey_HWC = video(FRAMES, height=SIZE, width=SIZE), np.full((SIZE, SIZE, 3), 90, np.uint8)
    pictures = {suffix: cv2.imencode(suffix, grey_HWC)[1].tobytes() for suffix in (".jpg", ".png")}
    for spec in list_specs(config):
        for name in getattr(spec, "images", ()) or spec.paths:
            place.write(name, pictures.get(name[-4:], clip))
    for name, content in list_files(config).items():
        place.write(name, content)


def catalog_of(place: Storage, name: str) -> Catalog:
    """Its catalog, built in this process."""

    def probe_here(pending: pa.Table, storage: Storage, cleaning: CleaningConfig, *, cpus: float) -> list[pa.Table]:
        return [probe_block(pending, storage, cleaning).cast(probed_schema())]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog_build, "probe_all", probe_here)
        return build(name, place.uri).catalog

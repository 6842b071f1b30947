"""Pre-training across views: the takes, the stream, the model and the pictures of `jobs/pretrain_mead.py`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.protocols import Reference
from jobs.parts.held_out import HeldOutLoss
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretraining import HELD_OUT_SPLIT, stream_fields, write_curves
from pipelines.storage import Storage
from pipelines.take_sample import TakeSampleConfig
from pipelines.take_stream import TakeChoice, TakeStreamConfig, check_annotations, take_rows

if TYPE_CHECKING:
    from models.tokens import MultiViewBatch
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)

SHEETS = 3


@dataclass(frozen=True)
class TakeHeldOutConfig:
    """Which takes make the held-out batch."""

    catalog: str
    annotations: str
    takes: int
    choice: TakeChoice
    sample: TakeSampleConfig


def prepare(config: MeadPretrainConfig, home: Storage) -> TakePretraining:
    """The corpus found or rendered, cataloged, and its annotations opened. Ray must be up.

    Raises ValueError where the annotations are missing or of another catalog.
    """
    from jobs.parts.takes import prepare_takes

    return TakePretraining(config, *prepare_takes(config.corpus, home))


class TakePretraining:
    """A masked autoencoder on the takes of a catalog (see jobs.parts.pretraining.Pretraining)."""

    def __init__(
        self, config: MeadPretrainConfig, catalog_uri: str, catalog: Catalog, annotations: Annotations
    ) -> None:
        check_annotations(catalog, annotations)
        self.config, self.catalog_uri, self.catalog, self.annotations = config, catalog_uri, catalog, annotations
        self.fingerprint = f"{catalog.fingerprint}:{annotations.fingerprint}"

    def task(self) -> Reference:
        return Reference("models.multi_view:build", self.config.model)

    def stream(self, actors: int) -> Reference:
        config = TakeStreamConfig(
            catalog=self.catalog_uri,
            annotations=self.annotations.place.uri,
            choice=self.config.choice,
            sample=self.config.sample(),
            **stream_fields(self.config, actors),
        )
        return Reference("pipelines.take_stream:build_stream", config)

    def probe(self) -> Reference:
        return Reference("jobs.parts.take_pretraining:build_held_out_loss", self._held_out())

    def unusable(self) -> list[dict[str, Any]]:
        """Videos that are in no take; their ids count videos, those of the samples count takes."""
        from pipelines.takes import take_table

        report = take_table(self.catalog, self.config.choice.takes).report
        return [{"sample_id": -1, **omission._asdict()} for omission in report.omitted]

    def draw_pictures(self, run_directory: Storage) -> dict[str, Any]:
        from jobs.parts.trained import load_trained
        from jobs.parts.view_pictures import draw_views

        trained = load_trained(run_directory.uri)
        pictures = run_directory.child("pictures")
        batch = read_held_out_batch(self.catalog, self.annotations, self._held_out())
        drawn = draw_views(trained.model(), batch, pictures, checkpoint=trained.name, max_sheets=SHEETS)
        curves = write_curves(run_directory, step=trained.step, title=trained.name)
        return drawn.metrics | {"pictures": [*(pictures.full(name) for name in drawn.files), curves]}

    def _held_out(self) -> TakeHeldOutConfig:
        return TakeHeldOutConfig(
            self.catalog_uri,
            self.annotations.place.uri,
            self.config.held_out_clips,
            self.config.choice,
            self.config.sample(),
        )


def read_held_out_batch(catalog: Catalog, annotations: Annotations, config: TakeHeldOutConfig) -> MultiViewBatch:
    """Takes spread evenly over the held-out split. Raises ValueError when one cannot be used."""
    from pipelines.take_reader import read_held_out

    rows, _ = take_rows(catalog, HELD_OUT_SPLIT, config.choice, config.sample)
    positions = np.unique(np.linspace(0, len(rows) - 1, min(config.takes, len(rows))).round().astype(int))
    return read_held_out(rows, catalog.storage, annotations, config.sample, positions_B=positions)


def build_held_out_loss(config: TakeHeldOutConfig) -> HeldOutLoss:
    from pipelines.annotations import open_annotations
    from pipelines.catalog import load

    return HeldOutLoss(read_held_out_batch(load(config.catalog), open_annotations(config.annotations), config))

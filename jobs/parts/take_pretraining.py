"""Pre-training across views: the takes, the stream, the model and the pictures of `jobs/pretrain_mead.py`."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.protocols import Reference
from jobs.parts.held_out import HeldOutLoss
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretraining import HELD_OUT_SPLIT, TRAINING_SPLIT
from jobs.parts.training import seen_by, stream_fields, write_curves
from jobs.parts.transfer import prepare_transfer, transfer_probes
from jobs.parts.validation import ValidationConfig
from pipelines.storage import Storage
from pipelines.take_sample import TakeSampleConfig
from pipelines.take_stream import TakeChoice, TakeStreamConfig, chosen_takes, take_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from models.tokens import MultiViewBatch
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog
    from pipelines.mask_counts import MaskCounts

logger = logging.getLogger(__name__)

MASKS, UNITS = "masks.json", "units.png"
COUNTED_SAMPLES = 200


@dataclass(frozen=True)
class TakeHeldOutConfig:
    """Which takes make the held-out batch."""

    catalog: str
    annotations: str
    takes: int
    choice: TakeChoice
    sample: TakeSampleConfig


def prepare(config: MeadPretrainConfig, home: Storage) -> TakePretraining:
    """The corpora found or rendered, cataloged, and annotations opened. Ray must be up.

    Raises ValueError where the annotations are missing or of another catalog, and what `prepare_transfer` raises.
    """
    from jobs.parts.takes import prepare_takes

    takes = prepare_takes(config.corpus, home)
    return TakePretraining(config, *takes, transfer=prepare_transfer(config, home))


class TakePretraining:
    """A masked autoencoder on the takes of a catalog (see jobs.parts.pretraining.Pretraining)."""

    def __init__(
        self,
        config: MeadPretrainConfig,
        catalog_uri: str,
        catalog: Catalog,
        annotations: Annotations,
        *,
        transfer: ValidationConfig | None = None,
    ) -> None:
        from pipelines.annotations import check_annotations, fingerprint_of

        check_annotations(catalog, annotations)
        self.config, self.catalog_uri, self.catalog, self.annotations = config, catalog_uri, catalog, annotations
        self.fingerprint = fingerprint_of(catalog, annotations)
        self.transfer = transfer

    def task(self) -> Reference:
        return Reference("models.multi_view:build", self.config.model)

    def stream(self, actors: int) -> Reference:
        config = TakeStreamConfig(
            catalog=self.catalog_uri,
            annotations=self.annotations.place.uri,
            split=TRAINING_SPLIT,
            choice=self.config.choice,
            sample=self.config.sample(),
            **stream_fields(self.config, actors),
        )
        return Reference("pipelines.take_stream:build_stream", config)

    def probes(self) -> tuple[tuple[str, Reference], ...]:
        loss = Reference("jobs.parts.take_pretraining:build_held_out_loss", self._held_out())
        return (("held_out", loss), *transfer_probes(self.transfer))

    def data(self) -> dict[str, Any]:
        takes, _ = chosen_takes(self.catalog, TRAINING_SPLIT, self.config.choice, fewest_views=1)
        return {
            "corpus": self.config.corpus.title,
            "subjects": sorted(set(takes["subject"].to_pylist())),
            "started_from": seen_by(self.config.init_from),
        }

    def unusable(self) -> list[dict[str, Any]]:
        """Videos that are in no take; their ids count videos, those of the samples count takes."""
        from pipelines.takes import take_table

        report = take_table(self.catalog, self.config.choice.takes).report
        return [{"sample_id": -1, **omission._asdict()} for omission in report.omitted]

    def describe_data(self, run_directory: Storage) -> None:
        """Writes masks.json: what the masks of the first epoch will show in each view, and why."""
        from jobs.parts.mask_words import counts_sentence

        if self.masks is None:
            return
        run_directory.write(MASKS, json.dumps(self.masks.to_json(), indent=1).encode())
        for view, masks in self.masks.views.items():
            logger.info("masks of %s: %s", view.replace("_", " "), counts_sentence(masks))

    @cached_property
    def masks(self) -> MaskCounts | None:
        """Counted over samples of the first epoch; None where masks show no unit on purpose."""
        from pipelines.mask_counts import count_masks
        from pipelines.stream import repeat_rows

        config, sample = self.config, self.config.sample()
        if sample.mask.keep == "nothing":
            return None
        rows, num_takes = take_rows(self.catalog, TRAINING_SPLIT, config.choice, sample)
        passes = config.passes_per_epoch if config.overfit is None else 1
        rows = repeat_rows(rows.slice(0, config.overfit), passes, ids_per_pass=num_takes)
        return count_masks(rows, self.annotations, sample, limit=COUNTED_SAMPLES)

    def draw_pictures(self, run_directory: Storage) -> dict[str, Any]:
        from jobs.parts.take_pictures import draw_take_pictures
        from jobs.parts.trained import load_trained
        from jobs.parts.unit_chart import draw_units

        trained = load_trained(run_directory.uri)
        pictures = run_directory.child("pictures")
        held_out = self._held_out()
        rows, positions = held_out_takes(self.catalog, held_out)
        drawn = draw_take_pictures(
            trained.model(),
            rows,
            positions,
            storage=self.catalog.storage,
            annotations=self.annotations,
            sample=held_out.sample,
            output=pictures,
            checkpoint=trained.name,
        )
        files = [pictures.full(name) for name in drawn.files]
        if self.masks is not None:
            pictures.write(UNITS, draw_units(self.masks, title=trained.name))
            files.append(pictures.full(UNITS))
        files.append(write_curves(run_directory, step=trained.step, title=trained.name))
        return drawn.metrics | {"pictures": files}

    def _held_out(self) -> TakeHeldOutConfig:
        return TakeHeldOutConfig(
            self.catalog_uri,
            self.annotations.place.uri,
            self.config.held_out_clips,
            self.config.choice,
            self.config.sample(),
        )


def held_out_takes(catalog: Catalog, config: TakeHeldOutConfig) -> tuple[pa.Table, np.ndarray]:
    """The takes of the held-out split, and the positions of those that are spread evenly over it."""
    rows, _ = take_rows(catalog, HELD_OUT_SPLIT, config.choice, config.sample)
    return rows, np.unique(np.linspace(0, len(rows) - 1, min(config.takes, len(rows))).round().astype(int))


def read_held_out_batch(catalog: Catalog, annotations: Annotations, config: TakeHeldOutConfig) -> MultiViewBatch:
    """The held-out takes. Raises ValueError when one cannot be used."""
    from pipelines.take_reader import read_held_out

    rows, positions = held_out_takes(catalog, config)
    return read_held_out(rows, catalog.storage, annotations, config.sample, positions_B=positions)


def build_held_out_loss(config: TakeHeldOutConfig) -> HeldOutLoss:
    from pipelines.annotations import open_annotations
    from pipelines.catalog import load

    return HeldOutLoss(read_held_out_batch(load(config.catalog), open_annotations(config.annotations), config))

"""The held-out loss: fixed clips and masks of the test split, the same in every run of a corpus and a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.sample import SampleConfig

if TYPE_CHECKING:
    from models.tokens import PretrainingBatch
    from pipelines.catalog import Catalog

_ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class HeldOutConfig:
    """Which clips."""

    catalog: str
    split: str
    clips: int
    sample: SampleConfig
    annotations: str | None = None
    """Address of the annotations of the catalog; for crops and masks that follow the face."""


def read_batch(config: HeldOutConfig) -> PretrainingBatch:
    """`clips` videos spread evenly over the split (all of them where there are fewer).

    Raises ValueError when one cannot be used: evaluation never skips.
    """
    from pipelines.catalog import load

    return batch_of(load(config.catalog), config)


def batch_of(catalog: Catalog, config: HeldOutConfig) -> PretrainingBatch:
    """As `read_batch`, from a catalog that is loaded already."""
    from pipelines.annotations import check_annotations, open_annotations
    from pipelines.batch_reader import read_held_out
    from pipelines.video_stream import eligible_videos

    annotations = None if config.annotations is None else open_annotations(config.annotations)
    if annotations is not None:
        check_annotations(catalog, annotations)
    videos = eligible_videos(catalog, config.split, config.sample, annotations)
    positions = np.unique(np.linspace(0, len(videos) - 1, min(config.clips, len(videos))).round().astype(int))
    return read_held_out(videos, catalog.storage, config.sample, positions_B=positions, annotations=annotations)


class HeldOutLoss:
    """A cluster.protocols.Probe: the loss of the task, and of predicting zeros, on the held-out batch."""

    def __init__(self, batch: PretrainingBatch) -> None:
        self._batch = batch

    def __call__(self, task: Any, step: int) -> dict[str, float]:
        """Names of the task's losses without their prefix, and zero_loss, which does not depend on the weights."""
        import torch

        device = next(task.parameters()).device
        rows = len(self._batch["sample_id_B"])
        totals: dict[str, float] = {}
        task.eval()
        with torch.no_grad():
            for start in range(0, rows, _ROWS_AT_ONCE):
                chosen = slice(start, start + _ROWS_AT_ONCE)
                batch = {
                    name: torch.tensor(column[chosen], device=device)
                    for name, column in self._batch.items()
                    if column.dtype.kind in "iu"
                }
                batch["weight_B"] = torch.full((len(batch["sample_id_B"]),), 1 / rows, device=device)
                for name, value in {**task(batch), "zero_loss": task.zero_loss(batch)}.items():
                    totals[name] = totals.get(name, 0.0) + float(value)
        return {name.removeprefix("loss/"): value for name, value in totals.items()}


def build_held_out_loss(config: HeldOutConfig) -> HeldOutLoss:
    return HeldOutLoss(read_batch(config))

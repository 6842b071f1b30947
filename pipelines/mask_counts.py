"""What masks will show, counted before training: they depend on ids and annotations alone, so no video is read.

Source: MAURA names no rates. How often a face is lost, or no unit is active, decides what of its masks is left in each
view (pipelines.au_masks.Fallback).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.action_units import ACTION_UNITS
from pipelines.au_masks import Fallback, MaskRecord
from pipelines.corpora.mead import VIEWS
from pipelines.quarantine import SampleError
from pipelines.randomness import Draw
from pipelines.take_reader import find_faces, take_at
from pipelines.take_sample import Take, TakeSampleConfig, choose, draw_masks

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations

_READERS = 8
"""Threads that read annotations, which may be remote."""


@dataclass(frozen=True)
class ViewMasks:
    """The masks of one input view."""

    masks: int
    units: dict[int, int]
    """Masks by the unit they show, one entry for each of ACTION_UNITS."""
    fallbacks: dict[Fallback, int]
    """Masks by why they do not show a unit drawn from the active ones; `none`: they do."""
    kept: int
    """Tokens of units that are visible, over all masks."""
    dropped: int
    """Tokens of units for which there was no room."""
    skipped: int
    """Units that were drawn but had no point within the picture."""

    @property
    def plain(self) -> int:
        """Masks that show no unit."""
        return self.masks - sum(self.units.values())


@dataclass(frozen=True)
class MaskCounts:
    """The masks of some takes in the first epoch."""

    takes: int
    """Whose masks were drawn."""
    unusable: int
    """More that were looked at: too short for a clip."""
    rows: int
    """Samples of the epoch."""
    views: dict[str, ViewMasks]
    """By the camera that filmed the input, in the order of VIEWS."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; units are named "AU12"."""
        views = {
            view: vars(masks) | {"units": {f"AU{unit}": count for unit, count in masks.units.items()}}
            for view, masks in self.views.items()
        }
        return vars(self) | {"views": views}


def count_masks(rows: pa.Table, annotations: Annotations, config: TakeSampleConfig, *, limit: int) -> MaskCounts:
    """Draws the masks of up to `limit` takes, spread evenly over the rows, as a TakeReader does in epoch 0.

    Raises:
        ValueError: the annotations are those of other videos.
        StorageError: they could not be read.
    """
    positions = np.unique(np.linspace(0, rows.num_rows - 1, min(limit, rows.num_rows)).round().astype(int))
    takes = [take_at(rows, position) for position in positions.tolist()]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="annotations") as pool:
        drawn = list(pool.map(partial(_draw, annotations=annotations, config=config), takes))
    by_view: dict[int, list[MaskRecord]] = {view: [] for view in range(len(VIEWS))}
    for found in drawn:
        if found is not None:
            by_view[found[0]].extend(found[1])
    return MaskCounts(
        takes=sum(found is not None for found in drawn),
        unusable=sum(found is None for found in drawn),
        rows=rows.num_rows,
        views={VIEWS[view]: _count(records) for view, records in by_view.items()},
    )


def _draw(take: Take, *, annotations: Annotations, config: TakeSampleConfig) -> tuple[int, list[MaskRecord]] | None:
    """Input view and what its masks show; None for a take that is too short."""
    try:
        choice = choose(take, config, epoch=0)
    except SampleError:
        return None
    # The mask does not depend on the target, so its face need not be read.
    faces = find_faces(take, choice._replace(target_view=choice.input_view), annotations, config)
    key = {"seed": config.seed, "epoch": 0, "sample_id": take.sample_id}
    return choice.input_view, draw_masks(choice, faces, config, draw=Draw.MASK, **key)[1]


def _count(records: Iterable[MaskRecord]) -> ViewMasks:
    records = list(records)
    units, fallbacks = (Counter(getattr(record, name) for record in records) for name in ("unit", "fallback"))
    return ViewMasks(
        masks=len(records),
        units={unit: units[unit] for unit in ACTION_UNITS},
        fallbacks={fallback: fallbacks[fallback] for fallback in Fallback},
        kept=sum(record.kept for record in records),
        dropped=sum(record.dropped for record in records),
        skipped=sum(record.skipped for record in records),
    )

"""All pictures of a model across views: sheets of held-out takes, and the grid of views, emotions and levels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.parts.mask_words import mask_sentence
from jobs.parts.pictures import png
from jobs.parts.view_grid import draw_grid, grid_take
from jobs.parts.view_pictures import DrawnViews, ShownTake, draw_views, take_title
from pipelines.storage import Storage
from pipelines.take_reader import held_out_records, read_held_out, take_at
from pipelines.take_sample import TakeSampleConfig
from pipelines.take_views import name_of, one_of_each, read_views

if TYPE_CHECKING:
    import pyarrow as pa

    from models.multi_view import MultiViewAutoencoder
    from pipelines.annotations import Annotations

logger = logging.getLogger(__name__)

SHEETS = 3
GRID = "views.png"
GRID_TAKES = 16
"""Room for levels 1 and 3 of all emotions, which are 15: no neutral take is of level 3."""
ONLY_ITSELF = "In training the target was always the view that is seen: this model was never asked for another."


def draw_take_pictures(
    task: MultiViewAutoencoder,
    rows: pa.Table,
    positions: Sequence[int],
    *,
    storage: Storage,
    annotations: Annotations,
    sample: TakeSampleConfig,
    output: Storage,
    checkpoint: str,
) -> DrawnViews:
    """Measures the model on the held-out takes at `positions`; writes take-NN.png of the first of them and views.png.

    Raises:
        ValueError: one of these takes cannot be used, or predictions are not finite.
        StorageError: a picture could not be written.
    """
    batch = read_held_out(rows, storage, annotations, sample, positions_B=positions)
    shown = []
    for position in positions[:SHEETS]:
        take = take_at(rows, int(position))
        record = held_out_records(take, annotations, sample)[0]
        shown.append(ShownTake(take_title(name_of(take)), mask_sentence(record, sample.visible_shape[1])))
    drawn = draw_views(task, batch, output, takes=shown, checkpoint=checkpoint)
    takes = []
    for take in one_of_each(rows, GRID_TAKES):
        try:
            views = read_views(take, storage, annotations, sample)
        except ValueError as error:  # not one of those measured above: a picture may do without it
            logger.warning("%s leaves out a take: %s", GRID, error)
        else:
            takes.append(grid_take(task, name_of(take), views))
    if not takes:
        logger.warning("no held-out take has a frontal view that can be used: there is no %s", GRID)
        return drawn
    notes = [ONLY_ITSELF] if sample.target_views == "same" else []
    output.write(GRID, png(draw_grid(takes, task.config, setting=checkpoint, notes=notes)))
    return replace(drawn, files=(*drawn.files, GRID))

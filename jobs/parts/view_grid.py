"""The grid of MAURA's Figure 7: view by emotion by intensity, each take drawn in all views from its frontal one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from jobs.parts.mask_words import unit_name
from jobs.parts.pictures import GREY, Row, draw_sheet, grey_out
from jobs.parts.view_pictures import model_notes, view_title
from jobs.parts.view_reconstruction import ViewReconstruction, reconstruct_view
from pipelines.corpora.mead import VIEWS, ViewName
from pipelines.take_sample import FRONT
from pipelines.take_views import TakeViews

if TYPE_CHECKING:
    from models.config import MultiViewConfig
    from models.multi_view import MultiViewAutoencoder

WHITE = 255


@dataclass(frozen=True)
class GridTake:
    """One take of the grid at its middle instant. Images are uint8 [H, W, 3], in the order of VIEWS."""

    name: ViewName
    unit: int
    """Action unit that the mask keeps, 0 for a plain mask."""
    seen: np.ndarray
    """What the model sees of the frontal view, the rest grey."""
    true: tuple[np.ndarray, ...]
    drawn: tuple[np.ndarray, ...]
    """Grey where the take lacks the view, in both."""
    psnr: tuple[dict[str, float] | None, ...]
    """Decibels of model and zero predictor over the predicted pixels of the whole clip; None: the view is lacking."""

    def mean_psnr(self, predictor: str) -> float:
        return float(np.mean([psnr[predictor] for psnr in self.psnr if psnr is not None]))


def grid_take(task: MultiViewAutoencoder, name: ViewName, take: TakeViews) -> GridTake:
    """Draws every view that a take has from what its mask leaves of the frontal one.

    Raises:
        ValueError: predictions that are not finite.
    """
    there = [view for view, clip_THWC in enumerate(take.clips) if clip_THWC is not None]
    results = dict(zip(there, _reconstruct(task, take, there), strict=True))
    front = results[FRONT]
    middle = len(front.clip) // 2
    lacking = np.full_like(front.clip[middle], GREY)
    shown = [results.get(view) for view in range(len(VIEWS))]
    return GridTake(
        name=name,
        unit=take.record.unit,
        seen=grey_out(front.clip, front.hidden)[middle],
        true=tuple(lacking if result is None else result.target[middle] for result in shown),
        drawn=tuple(lacking if result is None else result.drawn["model"][middle] for result in shown),
        psnr=tuple(None if result is None else result.psnr for result in shown),
    )


def draw_grid(takes: Sequence[GridTake], config: MultiViewConfig, *, setting: str, notes: Sequence[str]) -> np.ndarray:
    """Two rows for each take, the true views and the reconstructions, uint8 [H, W, 3]."""
    rows = []
    for take in takes:
        name, psnr = take.name, {predictor: take.mean_psnr(predictor) for predictor in ("model", "zero")}
        kept = f"the mask keeps {unit_name(take.unit)}".split(", ") if take.unit else ["a plain mask"]
        true = Row(f"{name.emotion}, level {name.level}".capitalize(), [take.seen, *take.true], [name.subject, *kept])
        measured = [f"model {psnr['model']:.2f} dB", f"zero predictor {psnr['zero']:.2f} dB"]
        blank = np.full_like(take.seen, WHITE)
        rows += [true, Row("Reconstruction", [blank, *take.drawn], measured)]
    caption = (
        setting,
        "Every view is drawn from the visible part of the frontal one; the middle frame of the clip is shown. Views "
        "that a take lacks are grey.",
        f"Mean PSNR on predicted pixels, model (zero predictor), in dB: {_by_view(takes)}",
        *model_notes(config),
        *notes,
    )
    columns = ["seen of front", *(view_title(view) for view in range(len(VIEWS)))]
    return draw_sheet(rows, title="Views by emotion and intensity, held-out takes", caption=caption, columns=columns)


def _by_view(takes: Sequence[GridTake]) -> str:
    parts = []
    for view in range(len(VIEWS)):
        psnr = [take.psnr[view] for take in takes if take.psnr[view] is not None]
        if psnr:
            model, zero = (np.mean([one[predictor] for one in psnr]) for predictor in ("model", "zero"))
            parts.append(f"{view_title(view)} {model:.1f} ({zero:.1f})")
    return ", ".join(parts)


def _reconstruct(task: MultiViewAutoencoder, take: TakeViews, views: Sequence[int]) -> list[ViewReconstruction]:
    # A decoder that is not told views is asked once.
    asked = torch.tensor(views if task.config.target_view_embedding == "learned" else views[:1])
    front, visible_V = torch.as_tensor(take.clips[FRONT]), torch.as_tensor(take.visible_V)
    task.eval()
    predicted, ids = task.reconstruct(
        front.expand(len(asked), *front.shape), visible_V.expand(len(asked), *visible_V.shape), asked
    )
    return [
        reconstruct_view(
            front,
            torch.as_tensor(take.clips[view]),
            visible_V,
            predicted_PK,
            id_P,
            geometry=task.config.geometry,
            target=task.config.target,
            is_same_view=view == FRONT,
        )
        for view, predicted_PK, id_P in zip(
            views, *(values.expand(len(views), *values.shape[1:]) for values in (predicted, ids)), strict=True
        )
    ]

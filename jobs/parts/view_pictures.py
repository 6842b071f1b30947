"""Pictures of reconstructions across views: a sheet for each take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from jobs.parts.pictures import Row, draw_sheet, grey_out, png
from jobs.parts.view_reconstruction import ViewReconstruction, reconstruct_view
from pipelines.corpora.mead import VIEWS
from pipelines.storage import Storage

if TYPE_CHECKING:
    from models.multi_view import MultiViewAutoencoder
    from models.tokens import MultiViewBatch

CUBES_SHOWN = 8
TAKES_AT_ONCE = 4
NOTE = (
    "Predictions are drawn with each cube's true mean and deviation, which alone draw a face: "
    "compare the model with the zero predictor."
)


@dataclass(frozen=True)
class DrawnViews:
    """What `draw_views` measured and wrote."""

    metrics: dict[str, float]
    """Means over takes, in decibels: psnr_model, psnr_zero."""
    files: tuple[str, ...]


def draw_views(
    task: MultiViewAutoencoder, batch: MultiViewBatch, output: Storage, *, checkpoint: str, max_sheets: int
) -> DrawnViews:
    """Reconstructs every take of a batch by the first of its masks; writes take-NN.png of the first `max_sheets`.

    Raises:
        ValueError: predictions that are not finite.
        StorageError: a picture could not be written.
    """
    results, files = [], []
    task.eval()
    for start in range(0, len(batch["sample_id_B"]), TAKES_AT_ONCE):
        rows = slice(start, start + TAKES_AT_ONCE)
        clip, target = (torch.as_tensor(batch[name][rows]) for name in ("clip_BTHWC", "target_BTHWC"))
        visible_BV = torch.as_tensor(batch["visible_BRV"][rows])[:, 0]
        views = np.stack([batch["input_view_B"][rows], batch["target_view_B"][rows]], axis=1).tolist()
        predicted, ids = task.reconstruct(clip, visible_BV, torch.as_tensor(batch["target_view_B"][rows]))
        for index, (shown, drawn) in enumerate(views):
            result = reconstruct_view(
                clip[index],
                target[index],
                visible_BV[index],
                predicted[index],
                ids[index],
                geometry=task.config.geometry,
                target=task.config.target,
                is_same_view=shown == drawn,
            )
            results.append(result)
            if len(results) <= max_sheets:
                files.append(f"take-{len(results) - 1:02d}.png")
                sheet = draw_view_sheet(
                    result,
                    tubelet=task.config.geometry.tubelet,
                    views=(VIEWS[shown], VIEWS[drawn]),
                    title=f"take {batch['sample_id_B'][start + index]}, held out",
                    setting=checkpoint,
                )
                output.write(files[-1], png(sheet))
    names = results[0].psnr
    metrics = {f"psnr_{name}": round(float(np.mean([r.psnr[name] for r in results])), 3) for name in names}
    return DrawnViews(metrics, tuple(files))


def draw_view_sheet(
    result: ViewReconstruction, *, tubelet: int, views: tuple[str, str], title: str, setting: str
) -> np.ndarray:
    """Input, what of it is visible, the reconstruction, the zero predictor and the true target view, uint8 [H, W, 3].
    At most 8 cubes are its columns, each shown by its first frame."""
    cubes = len(result.clip) // tubelet
    shown = np.unique(np.linspace(0, cubes - 1, min(cubes, CUBES_SHOWN)).round().astype(int)) * tubelet
    source, drawn = (view.replace("_", " ") for view in views)
    decibels = {name: f"{value:.2f} dB" for name, value in result.psnr.items()}
    share = f"{result.hidden.mean():.0%} masked"
    rows = [
        Row(f"Input: {source}", result.clip[shown], ("first frame of each cube",)),
        Row("Visible to the model", grey_out(result.clip, result.hidden)[shown], (share,)),
        Row(f"Reconstruction: {drawn}", result.drawn["model"][shown], (decibels["model"],)),
        Row("Zero predictor", result.drawn["zero"][shown], (decibels["zero"], "every cube its mean")),
        Row(f"True view: {drawn}", result.target[shown], ()),
    ]
    caption = (
        setting,
        f"PSNR on predicted pixels: model {decibels['model']}, zero predictor {decibels['zero']}",
        NOTE,
    )
    columns = [f"frames {first}-{first + tubelet - 1}" for first in shown]
    return draw_sheet(rows, title=title, caption=caption, columns=columns)

"""Pictures of reconstructions across views: a sheet for each take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from jobs.parts.pictures import Row, draw_sheet, grey_out, png
from jobs.parts.reconstruction_sheet import PIXELS_NOTE, zero_in_words
from jobs.parts.view_reconstruction import ViewReconstruction, reconstruct_view
from pipelines.corpora.mead import VIEWS, ViewName
from pipelines.storage import Storage

if TYPE_CHECKING:
    from models.config import MultiViewConfig
    from models.multi_view import MultiViewAutoencoder
    from models.tokens import MultiViewBatch

CUBES_SHOWN = 8
TAKES_AT_ONCE = 4
NOTE = (
    "Predictions are drawn with each cube's true mean and deviation, which alone draw a face: "
    "compare the model with the zero predictor."
)
NOTES = {
    "motion": "The differences are added to the true first frame, which alone draws a face: compare the model with the "
    "zero predictor.",
    "pixels": PIXELS_NOTE,
}
NOT_PREDICTED = "Grey in another view: cubes that are visible in the input are never predicted (loss_tokens=masked)."
NOT_TOLD = "The decoder is not told which view to draw (target_view_embedding=off): it has one answer for all."
WHAT_DIFFERS = "What differs between views is taken from the true pixels."


class ShownTake(NamedTuple):
    """A take in words."""

    title: str
    mask: str
    """What the first of its masks keeps visible."""


@dataclass(frozen=True)
class DrawnViews:
    """What `draw_views` measured and wrote."""

    metrics: dict[str, float]
    """Means over takes, in decibels: psnr_model, psnr_zero."""
    files: tuple[str, ...]


def take_title(name: ViewName) -> str:
    """Subject, emotion and level: "M003, happy at level 3"."""
    return f"{name.subject}, {name.emotion} at level {name.level}"


def view_title(view: int) -> str:
    return VIEWS[view].replace("_", " ")


def model_notes(config: MultiViewConfig) -> list[str]:
    """What a reader of any picture of this model's reconstructions must know."""
    notes = [NOTES.get(config.target, NOTE)]
    if config.loss_tokens == "masked":
        notes.append(NOT_PREDICTED)
    if config.target_view_embedding == "off":
        notes.append(NOT_TOLD if config.target == "pixels" else f"{NOT_TOLD} {WHAT_DIFFERS}")
    return notes


def draw_views(
    task: MultiViewAutoencoder,
    batch: MultiViewBatch,
    output: Storage,
    *,
    takes: Sequence[ShownTake],
    checkpoint: str,
) -> DrawnViews:
    """Reconstructs every take of a batch by the first of its masks; writes take-NN.png of as many, the first ones, as
    `takes` has words for.

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
            if len(results) <= len(takes):
                files.append(f"take-{len(results) - 1:02d}.png")
                take = takes[len(results) - 1]
                sheet = draw_view_sheet(result, take, views=(shown, drawn), config=task.config, setting=checkpoint)
                output.write(files[-1], png(sheet))
    names = results[0].psnr
    metrics = {f"psnr_{name}": round(float(np.mean([r.psnr[name] for r in results])), 3) for name in names}
    return DrawnViews(metrics, tuple(files))


def draw_view_sheet(
    result: ViewReconstruction, take: ShownTake, *, views: tuple[int, int], config: MultiViewConfig, setting: str
) -> np.ndarray:
    """Input, what of it is visible, the reconstruction, the zero predictor and the true target view, uint8 [H, W, 3].
    At most 8 cubes are its columns, each shown by its first frame. `views` are those of input and target."""
    tubelet = config.geometry.tubelet
    cubes = len(result.clip) // tubelet
    shown = np.unique(np.linspace(0, cubes - 1, min(cubes, CUBES_SHOWN)).round().astype(int)) * tubelet
    source, drawn = (view_title(view) for view in views)
    decibels = {name: f"{value:.2f} dB" for name, value in result.psnr.items()}
    share = f"{result.hidden.mean():.0%} masked"
    rows = [
        Row("Input", result.clip[shown], (source, "first frame of each cube")),
        Row("Visible to the model", grey_out(result.clip, result.hidden)[shown], (share,)),
        Row("Reconstruction", result.drawn["model"][shown], (drawn, decibels["model"])),
        Row("Zero predictor", result.drawn["zero"][shown], (zero_in_words(config.target), decibels["zero"])),
        Row("True view", result.target[shown], (drawn,)),
    ]
    path = f"{drawn} from itself" if source == drawn else f"{drawn} drawn from {source}"
    caption = (
        f"{setting}; a held-out take",
        take.mask,
        f"PSNR on predicted pixels: model {decibels['model']}, zero predictor {decibels['zero']}",
        *model_notes(config),
    )
    columns = [f"frames {first}-{first + tubelet - 1}" for first in shown]
    return draw_sheet(rows, title=f"{take.title}: {path}", caption=caption, columns=columns)

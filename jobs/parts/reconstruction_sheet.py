"""Reconstruction pictures: a clip drawn again, as a sheet and as a video; single images side by side on a sheet.

The sheet of a clip follows MAE-DFER's Figures 4 and 8 to 11 (arXiv 2307.02227): input, masked input, reconstruction,
differences on grey, and the composed video (difference added to the recovered frame). Added to it: the predictors of
jobs.parts.reconstruction that have learned nothing, without which such a picture proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jobs.parts.pictures import Row, difference_on_grey, draw_sheet, grey_out, side_by_side
from jobs.parts.reconstruction import Reconstruction
from models.config import Target

CUBES_SHOWN = 8
IMAGES_SHOWN = 8
MOTION_GAIN = 2.0
NAME_SHOWN = 13
"""Letters of an image's name, the last ones, that stand over its column."""
NOTE = (
    "All but the raw pixels are drawn with each cube's true mean and deviation, which alone draw a face: "
    "compare the model with the zero predictor."
)
PIXELS_NOTE = "Pixels are predicted as they are: nothing of the true image helps to draw what is masked."
NOTES = {
    "motion": "The differences, all but those of raw pixels with each cube's true deviation, are added to the true "
    "first frame, which alone draws a face: compare the model with the zero predictor.",
    "pixels": PIXELS_NOTE,
}
ZERO = {"motion": "no motion", "pixels": "ImageNet's mean colour"}
NEAREST = {"pixels": "its pixels"}


def draw_reconstruction(result: Reconstruction, *, title: str, setting: str) -> np.ndarray:
    """The sheet of one clip, uint8 [H, W, 3]. At most 8 cubes are its columns, each shown by one of its frames.

    `setting` says what made the picture (weights, mask, sampling) and becomes the first line of the caption.
    """
    cubes = len(result.clip) // result.tubelet
    shown = np.unique(np.linspace(0, cubes - 1, min(cubes, CUBES_SHOWN)).round().astype(int)) * result.tubelet
    second = result.target == "motion"  # the one target that says nothing of first frames
    decibels = {name: f"{value:.2f} dB" for name, value in result.psnr.items()}

    def row(label: str, video: np.ndarray, *details: str) -> Row:
        return Row(label, video[shown + second], details)

    share = f"{result.masked.mean():.0%} masked"
    rows = [
        row("Input", result.clip, f"{'second' if second else 'first'} frame of each cube"),
        row("Visible to the model", grey_out(result.clip, result.masked), share),
        row("Reconstruction", result.drawn["model"], decibels["model"]),
        row("Zero predictor", result.drawn["zero"], decibels["zero"], zero_in_words(result.target)),
        row("Nearest visible cube", result.drawn["nearest"], decibels["nearest"], _nearest(result)),
        *_motion_rows(result, shown),
    ]
    return draw_sheet(
        rows,
        title=title,
        caption=(setting, _psnr_line(decibels), NOTES.get(result.target, NOTE)),
        columns=[f"frames {first}-{first + result.tubelet - 1}" for first in shown],
    )


def draw_images(named: Sequence[tuple[str, Reconstruction]], *, title: str, setting: str) -> np.ndarray:
    """One sheet of single images with their names, each a column, uint8 [H, W, 3]. `setting` as above."""
    images = [image for _, image in named]
    decibels = {name: f"{np.mean([image.psnr[name] for image in images]):.2f} dB" for name in images[0].psnr}

    def drawn(predictor: str) -> list[np.ndarray]:
        return [image.drawn[predictor][0] for image in images]

    visible = [grey_out(image.clip, image.masked)[0] for image in images]
    rows = [
        Row("Input", [image.clip[0] for image in images]),
        Row("Visible to the model", visible, (f"{images[0].masked.mean():.0%} masked",)),
        Row("Reconstruction", [image.predicted[0] for image in images], ("grey where nothing", "is predicted")),
        Row("Composed", drawn("model"), (decibels["model"], "with what was visible")),
        Row("Zero predictor", drawn("zero"), (decibels["zero"], zero_in_words(images[0].target))),
        Row("Nearest visible cube", drawn("nearest"), (decibels["nearest"], _nearest(images[0]))),
    ]
    return draw_sheet(
        rows,
        title=title,
        caption=(setting, f"Mean {_psnr_line(decibels)}", NOTES.get(images[0].target, NOTE)),
        columns=[f"{name.rpartition('/')[2][-NAME_SHOWN:]}, {image.psnr['model']:.1f} dB" for name, image in named],
    )


def draw_panels(result: Reconstruction) -> np.ndarray:
    """Input, visible part and reconstruction side by side at twice their size, uint8 [T, H, W, 3]. An appearance
    target, which draws first frames alone, gives only those."""
    frames = slice(None, None, result.tubelet if result.target == "appearance" else 1)
    masked = f"visible to the model, {result.masked.mean():.0%} masked"
    panels = {
        "input": result.clip,
        masked: grey_out(result.clip, result.masked),
        f"reconstruction, {result.psnr['model']:.2f} dB": result.drawn["model"],
    }
    return side_by_side({label: video[frames] for label, video in panels.items()})


def _motion_rows(result: Reconstruction, shown: np.ndarray) -> list[Row]:
    if result.target == "appearance" or result.tubelet == 1:
        return []

    def motion(video: np.ndarray) -> np.ndarray:
        difference = video[shown + 1].astype(np.float32) - video[shown]
        return difference_on_grey(difference, gain=MOTION_GAIN)

    detail = f"second - first frame, x{MOTION_GAIN:g}"
    rows = [
        Row("True motion", motion(result.clip), (detail,)),
        Row("Predicted motion", motion(result.drawn["model"]), (detail,)),
    ]
    if result.target != "motion":
        how = ("second frame: recovered", "first frame + motion") if result.target == "joint" else ("second frame",)
        rows.append(Row("Composed video", result.drawn["model"][shown + 1], how))
    return rows


def zero_in_words(target: Target) -> str:
    """What the predictor of zeros draws."""
    return ZERO.get(target, "every cube its mean")


def _nearest(result: Reconstruction) -> str:
    return NEAREST.get(result.target, "its content, rescaled")


def _psnr_line(decibels: dict[str, str]) -> str:
    return (
        f"PSNR on masked pixels: model {decibels['model']}, zero predictor {decibels['zero']}, "
        f"nearest visible cube {decibels['nearest']}, its raw pixels {decibels['nearest_raw']}"
    )

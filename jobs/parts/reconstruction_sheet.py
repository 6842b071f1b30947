"""Reconstruction pictures: a clip drawn again, as a sheet and as a video.

The sheet follows MAE-DFER's Figures 4 and 8 to 11 (arXiv 2307.02227): input, masked input, reconstruction, differences
on grey, and the composed video (difference added to the recovered frame). Added to it: the predictors of
jobs.parts.reconstruction that have learned nothing, without which such a picture proves nothing.
"""

from __future__ import annotations

import numpy as np

from jobs.parts.pictures import Row, difference_on_grey, draw_sheet, grey_out, side_by_side
from jobs.parts.reconstruction import Reconstruction

CUBES_SHOWN = 8
MOTION_GAIN = 2.0
NOTE = (
    "All but the raw pixels are drawn with each cube's true mean and deviation, which alone draw a face: "
    "compare the model with the zero predictor."
)
MOTION_NOTE = (
    "The differences, all but those of raw pixels with each cube's true deviation, are added to the true first frame, "
    "which alone draws a face: compare the model with the zero predictor."
)


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
        row("Zero predictor", result.drawn["zero"], decibels["zero"], "no motion" if second else "every cube its mean"),
        row("Nearest visible cube", result.drawn["nearest"], decibels["nearest"], "its content, rescaled"),
        *_motion_rows(result, shown),
    ]
    return draw_sheet(
        rows,
        title=title,
        caption=(setting, _psnr_line(decibels), MOTION_NOTE if second else NOTE),
        columns=[f"frames {first}-{first + result.tubelet - 1}" for first in shown],
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


def _psnr_line(decibels: dict[str, str]) -> str:
    return (
        f"PSNR on masked pixels: model {decibels['model']}, zero predictor {decibels['zero']}, "
        f"nearest visible cube {decibels['nearest']}, its raw pixels {decibels['nearest_raw']}"
    )

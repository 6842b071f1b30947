"""Reconstructing held-out clips with a model: numbers over all of them, pictures of the first few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jobs.parts.pictures import png
from jobs.parts.reconstruction import Reconstruction, reconstruct
from jobs.parts.reconstruction_sheet import IMAGES_SHOWN, draw_images, draw_panels, draw_reconstruction
from pipelines.au_masks import AUMaskConfig
from pipelines.clips import ClipConfig
from pipelines.masks import MaskConfig
from pipelines.storage import Storage
from pipelines.video import encode_h264

if TYPE_CHECKING:
    from models.masked_autoencoder import MaskedAutoencoder

CLIPS_AT_ONCE = 8


@dataclass(frozen=True)
class ClipResult:
    """Numbers and files of one clip."""

    name: str
    psnr: dict[str, float]
    """Decibels by predictor, as in jobs.parts.reconstruction."""
    mse: dict[str, float]
    """In normalised units, by "predictor/part"."""
    files: tuple[str, ...]
    """Names in the output storage; none where only numbers were asked for."""


@dataclass(frozen=True)
class ReconstructionResult:
    """What `make_reconstruction` measured and wrote."""

    clips: tuple[ClipResult, ...]

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(file for clip in self.clips for file in clip.files))

    @property
    def metrics(self) -> dict[str, float]:
        """Means over clips: decibels psnr_model, psnr_zero, psnr_nearest, psnr_nearest_raw, and mse_PREDICTOR_PART."""
        psnr = {f"psnr_{name}": [clip.psnr[name] for clip in self.clips] for name in self.clips[0].psnr}
        mse = {f"mse_{name.replace('/', '_')}": [clip.mse[name] for clip in self.clips] for name in self.clips[0].mse}
        return {name: float(np.mean(values)) for name, values in (psnr | mse).items()}


def make_reconstruction(
    task: MaskedAutoencoder,
    batch: Mapping[str, Any],
    output: Storage,
    *,
    names: Sequence[str],
    checkpoint: str,
    mask: MaskConfig | AUMaskConfig,
    clip: ClipConfig,
    max_sheets: int = 4,
) -> ReconstructionResult:
    """Reconstructs every clip of a batch and writes clip-NN.png and clip-NN.mp4 of the first `max_sheets`; of single
    images as many sheets images-NN.png, of eight each.

    Args:
        task: with its full weights, not shards of them; runs where they lie, in their precision.
        batch: clip_BTHWC (uint8) and visible_BRV (token ids), NumPy or torch. Of a clip's R masks the first is used.
        names: of the clips, the titles of sheets or columns.
        checkpoint: what the sheets call the weights.
        mask, clip: how the batch was made, for captions and the speed of the videos.

    Raises:
        ValueError: an empty batch, sizes that disagree, or predictions that are not finite.
        StorageError: a picture could not be written.
    """
    clip_BTHWC, visible_BV = torch.as_tensor(batch["clip_BTHWC"]), torch.as_tensor(batch["visible_BRV"])[:, 0]
    if not len(clip_BTHWC) == len(names) > 0:
        raise ValueError(f"{len(names)} names for {len(clip_BTHWC)} clips; give one each, and at least one clip")
    geometry, target = task.config.geometry, task.config.target
    setting, images, results = f"{checkpoint}   |   {_describe_mask(mask)}", [], []
    for index, (predicted_PK, id_P) in enumerate(_predictions(task, clip_BTHWC, visible_BV)):
        shown = clip_BTHWC[index], visible_BV[index]
        drawn = reconstruct(*shown, predicted_PK, id_P, geometry=geometry, target=target)
        files: tuple[str, ...] = ()
        if geometry.frames == 1 and index < IMAGES_SHOWN * max_sheets:
            images.append(drawn)
            files = (_sheet_of(index),)
        elif geometry.frames > 1 and index < max_sheets:
            files = _write_clip(drawn, output, index, title=names[index], setting=setting, clip=clip)
        results.append(ClipResult(name=names[index], psnr=drawn.psnr, mse=drawn.mse, files=files))
    for first in range(0, len(images), IMAGES_SHOWN):
        _write_images(images[first : first + IMAGES_SHOWN], output, first, names=names, setting=setting)
    return ReconstructionResult(clips=tuple(results))


def _write_clip(
    drawn: Reconstruction, output: Storage, index: int, *, title: str, setting: str, clip: ClipConfig
) -> tuple[str, ...]:
    files = (f"clip-{index:02d}.png", f"clip-{index:02d}.mp4")
    setting = f"{setting}   |   {clip.frames} frames at stride {clip.stride}"
    output.write(files[0], png(draw_reconstruction(drawn, title=title, setting=setting)))
    panels = draw_panels(drawn)
    output.write(files[1], _mp4(panels, fps=len(panels) * clip.nominal_fps / (clip.frames * clip.stride)))
    return files


def _write_images(
    images: Sequence[Reconstruction], output: Storage, first: int, *, names: Sequence[str], setting: str
) -> None:
    title = f"Images {first + 1} to {first + len(images)} of {len(names)}"
    columns = list(zip(names[first:], images, strict=False))
    output.write(_sheet_of(first), png(draw_images(columns, title=title, setting=setting)))


def _sheet_of(index: int) -> str:
    return f"images-{index // IMAGES_SHOWN:02d}.png"


def _predictions(task: MaskedAutoencoder, clip_BTHWC: Tensor, visible_BV: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Predicted cubes [P, K or K / 2] of one clip after the other, and their ids [P], on the CPU."""
    device = next(task.parameters()).device
    was_training = task.training
    task.eval()
    try:
        for clips, visible in zip(clip_BTHWC.split(CLIPS_AT_ONCE), visible_BV.split(CLIPS_AT_ONCE), strict=True):
            predicted_BPK, id_BP = task.reconstruct(clips.to(device), visible.to(device))
            yield from zip(predicted_BPK.cpu(), id_BP.cpu(), strict=True)
    finally:
        task.train(was_training)


def _mp4(frames_THWC: np.ndarray, *, fps: float) -> bytes:
    buffer = BytesIO()
    encode_h264(frames_THWC, buffer, fps=fps)
    return buffer.getvalue()


def _describe_mask(mask: MaskConfig | AUMaskConfig) -> str:
    if isinstance(mask, AUMaskConfig):
        return f"mask that keeps an action unit, the rest {mask.rest}, ratio {mask.ratio:g}"
    regions = f" in regions {'x'.join(map(str, mask.region))}" if mask.policy == "region_tube" else ""
    return f"{mask.policy} mask{regions}, ratio {mask.ratio:g}"

"""The work of jobs/reconstruct.py: weights, clips and masks in, pictures and numbers out."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.parts.face_config import FacePretrainConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.reconstruction_report import ReconstructionResult, make_reconstruction
from jobs.parts.recorded_clips import held_out_clips
from jobs.parts.trained import load_trained
from jobs.parts.user_clips import check_image, read_clip
from pipelines.alignment import AlignConfig
from pipelines.masks import DEFAULT_REGION, MaskConfig, Policy, draw
from pipelines.quarantine import SampleError
from pipelines.randomness import Draw, generator
from pipelines.storage import Storage
from pipelines.transforms import CropConfig

Config = PretrainConfig | FacePretrainConfig

logger = logging.getLogger(__name__)


def reconstruct_clips(
    checkpoint: str,
    inputs: Sequence[Path],
    *,
    policy: Policy | None,
    ratios: Sequence[float],
    max_sheets: int,
    output: str,
) -> dict[str, Any]:
    """Sheets, videos and decibels, as jobs/reconstruct.py describes them; also written to OUTPUT/result.json.

    Raises:
        CheckpointError: no such checkpoint, or a damaged one.
        SampleError: a video or image that cannot be read, is too short or not what the model draws.
        ValueError: a mask that the model cannot take, held-out clips that cannot be found or read.
        StorageError: the output cannot be written.
    """
    trained = load_trained(checkpoint)
    if isinstance(trained.config, MeadPretrainConfig):
        raise ValueError(
            f"{trained.name} is a run of {trained.config.JOB}: its pictures need other views, and that job makes them "
            "in the run's pictures/"
        )
    masks = [mask_for(trained.config, policy, ratio) for ratio in ratios]
    if inputs:
        clip_BTHWC, names = user_clips(inputs, trained.config)
        sample_ids = np.arange(len(inputs))
    else:
        batch, names = held_out_clips(trained)
        clip_BTHWC, sample_ids = batch["clip_BTHWC"], batch["sample_id_B"]
    model = trained.model().to("cuda" if torch.cuda.is_available() else "cpu")
    storage = Storage(output)
    result: dict[str, Any] = {"checkpoint": trained.provenance["checkpoint"], "output": storage.uri}
    result |= {"files": [], "mean": {}, "clips": []}
    for mask in masks:
        setting = f"{mask.policy}-{mask.ratio:g}"
        drawn = make_reconstruction(
            model,
            {"clip_BTHWC": clip_BTHWC, "visible_BRV": draw_masks(sample_ids, trained.config, mask)},
            storage.child(setting),
            names=names,
            checkpoint=trained.name,
            mask=mask,
            clip=trained.config.clip,
            max_sheets=len(names) if inputs else max_sheets,
        )
        result["files"] += [f"{setting}/{file}" for file in drawn.files]
        result["mean"][setting] = {name: round(value, 4) for name, value in drawn.metrics.items()}
        result["clips"] += _clip_rows(setting, drawn)
    storage.write("result.json", json.dumps(result, indent=1).encode())
    return result


def mask_for(config: Config, policy: Policy | None, ratio: float) -> MaskConfig:
    """A plain mask apart from training, of the policy of the run unless one is given; of a run whose masks keep an
    action unit, that of the rest. Raises ValueError where the model cannot take it."""
    policy = policy or _plain_policy(config)
    region = config.model.region if policy == "region_tube" else DEFAULT_REGION
    mask = MaskConfig(policy=policy, ratio=ratio, region=region)
    config.check_plain(mask)
    return mask


def _plain_policy(config: Config) -> Policy:
    if isinstance(config.mask, MaskConfig):
        return config.mask.policy
    return config.mask.rest if config.unit_region is None else "region_tube"


def draw_masks(sample_ids: np.ndarray, config: Config, mask: MaskConfig) -> np.ndarray:
    """One mask for each sample, int32 [B, 1, V], as the held-out loss of a run with this mask would draw it."""
    rngs = (generator(Draw.HELD_OUT_MASK, seed=0, sample_id=int(sample_id)) for sample_id in sample_ids)
    return np.stack([draw(config.model.geometry.grid, mask, rng) for rng in rngs])[:, None]


def user_clips(inputs: Sequence[Path], config: Config) -> tuple[np.ndarray, list[str]]:
    """Clips [B, T, H, W, C] and short names of videos, or of images where the run learned images. Faces are not looked
    for: where the run's crops follow them, the largest centred square is shown. Raises SampleError naming the file."""
    crop = config.crop
    if isinstance(crop, AlignConfig):
        logger.warning("the run's crops follow the face; videos given by name are cut to their centred square instead")
    if not isinstance(crop, CropConfig):
        crop = CropConfig(window=None, size=config.model.geometry.width)
    clips = []
    for path in inputs:
        try:
            if isinstance(config, FacePretrainConfig):
                check_image(path)
            clips.append(read_clip(path, clip=config.clip, crop=crop))
        except SampleError as error:
            raise SampleError(error.reason, f"{path}: {error.detail}") from error
    return np.stack(clips), ["/".join(path.parts[-3:]) for path in inputs]


def _clip_rows(setting: str, drawn: ReconstructionResult) -> list[dict[str, Any]]:
    return [
        {"name": clip.name, "mask": setting, "files": [f"{setting}/{file}" for file in clip.files]}
        | {f"psnr_{name}": round(value, 4) for name, value in clip.psnr.items()}
        for clip in drawn.clips
    ]

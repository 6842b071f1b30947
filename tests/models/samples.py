"""Small clips and masks for the tests of the models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.config import FineTuningConfig, MaskedAutoencoderConfig, MultiViewConfig
from models.tokens import ClipGeometry, Grid, region_of_tokens

GEOMETRY = ClipGeometry(frames=4, height=64, width=64)  # 2 x 4 x 4 tokens
REGION = (2, 2, 4)  # 2 regions of full rows
IMAGE = ClipGeometry(frames=1, height=64, width=64, tubelet=1)  # 4 x 4 patches
SMALL_REGION = (1, 2, 2)  # 8 regions, two side by side in a row
POLICIES = ("tube", "random", "frame", "region_tube")
CLASSES = ("happy", "sad", "neutral")
PLAIN = {"label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0, "erasing": 0.0, "drop_path": 0.0}
SMALL = {"geometry": GEOMETRY, "region": REGION, "decoder_width": 32, "decoder_depth": 2, "decoder_heads": 2}


def clips(batch: int, *, seed: int = 0, geometry: ClipGeometry = GEOMETRY) -> Tensor:
    """Noise, uint8 [B, T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    shape = (batch, geometry.frames, geometry.height, geometry.width, 3)
    return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))


def visible_ids(policy: str, batch: int, *, region: Grid, seed: int = 0, geometry: ClipGeometry = GEOMETRY) -> Tensor:
    """Ids of half of the tokens, int32 [B, V] ascending, as many in every region."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([_row(policy, geometry.grid, region, rng) for _ in range(batch)]))


def _row(policy: str, grid: Grid, region: Grid, rng: np.random.Generator) -> np.ndarray:
    frame = grid[1] * grid[2]
    token = np.arange(grid[0] * frame)
    if policy == "frame":
        visible = np.isin(token // frame, rng.choice(grid[0], grid[0] // 2, replace=False))
    elif policy == "tube":  # anywhere in the frame: even counts only where one region is the whole frame
        visible = np.isin(token % frame, rng.choice(frame, frame // 2, replace=False))
    elif policy == "region_tube":
        window = region_of_tokens((1, *grid[1:]), (1, *region[1:]))
        visible = np.isin(token % frame, _half_of_each(window, rng))
    else:
        visible = np.isin(token, _half_of_each(region_of_tokens(grid, region), rng))
    return np.flatnonzero(visible).astype(np.int32)


def _half_of_each(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    members = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    return np.concatenate([rng.choice(ids, len(ids) // 2, replace=False) for ids in members])


def config(encoder: str = "lgi_former_nano", **changes: Any) -> MaskedAutoencoderConfig:
    """A small masked autoencoder."""
    return MaskedAutoencoderConfig(encoder=encoder, **(SMALL | changes))


def image_config(**changes: Any) -> MaskedAutoencoderConfig:
    """The same of single images."""
    return config("face_vit_nano", **({"geometry": IMAGE, "target": "image_mae"} | changes))


def multi_view_config(encoder: str = "video_vit_nano", **changes: Any) -> MultiViewConfig:
    """The same across views."""
    return MultiViewConfig(encoder=encoder, **(SMALL | changes))


def batch(
    size: int = 2,
    *,
    masks: int = 1,
    policy: str = "region_tube",
    seed: int = 0,
    region: Grid = REGION,
    geometry: ClipGeometry = GEOMETRY,
) -> dict[str, Tensor]:
    """A pre-training batch as the loop hands it over, rows of equal weight."""
    visible = visible_ids(policy, size * masks, region=region, seed=seed, geometry=geometry)
    return {
        "clip_BTHWC": clips(size, seed=seed, geometry=geometry),
        "visible_BRV": visible.unflatten(0, (size, masks)),
        "sample_id_B": torch.arange(size),
        "weight_B": torch.full((size,), 1 / size),
    }


def image_batch(size: int = 2, *, masks: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """The same of single images under random masks."""
    return batch(size, masks=masks, policy="random", seed=seed, region=IMAGE.grid, geometry=IMAGE)


def multi_view_batch(size: int = 2, *, masks: int = 1, policy: str = "region_tube", seed: int = 0) -> dict[str, Tensor]:
    """The same with other views as targets: row i is seen from view i and drawn from view 6 - i."""
    view = torch.arange(size, dtype=torch.int32)
    return batch(size, masks=masks, policy=policy, seed=seed) | {
        "target_BTHWC": clips(size, seed=seed + 1),
        "input_view_B": view,
        "target_view_B": 6 - view,
    }


def fine_tuning_config(encoder: str = "lgi_former_nano", **changes: Any) -> FineTuningConfig:
    """A small classifier without augmentation or noise."""
    small = {"geometry": GEOMETRY, "region": REGION, "classes": CLASSES}
    return FineTuningConfig(encoder=encoder, **(small | PLAIN | changes))


def labelled_batch(
    size: int = 3, *, repeats: int = 1, seed: int = 0, geometry: ClipGeometry = GEOMETRY
) -> dict[str, Tensor]:
    """A batch of soft labels as the loop hands it over, rows of equal weight."""
    rng = np.random.default_rng(seed)
    return {
        "clip_BRTHWC": clips(size * repeats, seed=seed, geometry=geometry).unflatten(0, (size, repeats)),
        "target_BK": torch.from_numpy(rng.dirichlet(np.ones(len(CLASSES)), size).astype(np.float32)),
        "sample_id_B": torch.arange(size),
        "weight_B": torch.full((size,), 1 / size),
    }

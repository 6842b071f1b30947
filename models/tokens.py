"""Clip geometry and the batch contract: what data and models must agree on. Free of torch.

Shape letters used across the project: B batch, R repeats of a clip (masks or augmentations), T frames, H height,
W width, C channels, N tokens, V visible tokens, D width of a token or of a frame's features, K values of a cube
(tubelet x patch x patch x channels) or of a target.
Tokens are numbered row-major over the grid (time, row, column).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class ClipGeometry:
    """How a clip is cut into cubes, one token each."""

    frames: int = 16
    height: int = 160
    width: int = 160
    tubelet: int = 2
    patch: int = 16

    def __post_init__(self) -> None:
        for name, size, step in (
            ("frames", self.frames, self.tubelet),
            ("height", self.height, self.patch),
            ("width", self.width, self.patch),
        ):
            if step < 1 or size < step or size % step:
                raise ValueError(f"{name}={size} is not a positive multiple of {step}; give a multiple of {step}")

    @property
    def grid(self) -> Grid:
        """Tokens along (time, row, column)."""
        return self.frames // self.tubelet, self.height // self.patch, self.width // self.patch

    @property
    def num_tokens(self) -> int:
        t, h, w = self.grid
        return t * h * w

    @property
    def cube_values(self) -> int:
        """Values in one RGB cube (K)."""
        return self.tubelet * self.patch * self.patch * 3


def check_region(grid: Grid, region: Grid) -> None:
    """Raises ValueError, listing the valid sizes, unless `region` tiles `grid` exactly."""
    for name, size, part in zip(("time", "rows", "columns"), grid, region, strict=True):
        if part < 1 or size % part:
            valid = [d for d in range(1, size + 1) if size % d == 0]
            raise ValueError(f"region {region} does not tile the token grid {grid}: {name} must be one of {valid}")


def region_of_tokens(grid: Grid, region: Grid) -> np.ndarray:
    """Region index of every token, int64 [N]. Regions are numbered row-major like tokens (MAE-DFER 3.4)."""
    check_region(grid, region)
    counts = tuple(size // part for size, part in zip(grid, region, strict=True))
    t, h, w = np.meshgrid(*(np.arange(size) // part for size, part in zip(grid, region, strict=True)), indexing="ij")
    return np.ravel((t * counts[1] + h) * counts[2] + w).astype(np.int64)


class PretrainingBatch(TypedDict):
    """One micro-batch, exactly as long as the plan says: rows that carry no sample are kept and weigh nothing."""

    clip_BTHWC: Any  # uint8, RGB
    visible_BRV: Any  # int32, token ids the encoder sees, ascending
    sample_id_B: Any  # int64, dense id in the catalog; -1 marks a padding row
    rejected_B: Any  # str, "" or a JSON object {uri, reason, detail}: the sample is quarantined, its pixels are zero


PRETRAINING_BATCH: dict[str, tuple[str, str]] = {
    "clip_BTHWC": ("uint8", "BTHWC"),
    "visible_BRV": ("int32", "BRV"),
    "sample_id_B": ("int64", "B"),
    "rejected_B": ("str", "B"),
}


class MultiViewBatch(PretrainingBatch):
    """A micro-batch of takes, each seen from one view (clip) and to be drawn from a view (target), maybe the same."""

    target_BTHWC: Any  # uint8, RGB, the instants of the clip under the same crop and flip; zero in rejected rows
    input_view_B: Any  # int32, index of the clip's view
    target_view_B: Any  # int32, index of the target's view


MULTI_VIEW_BATCH: dict[str, tuple[str, str]] = PRETRAINING_BATCH | {
    "target_BTHWC": ("uint8", "BTHWC"),
    "input_view_B": ("int32", "B"),
    "target_view_B": ("int32", "B"),
}


class LabelledBatch(TypedDict):
    """A micro-batch of videos with what is to be predicted of them, each augmented R times."""

    clip_BRTHWC: Any  # uint8, RGB; zero in rejected rows
    target_BK: Any  # float32, one number per class (pipelines.labels)
    sample_id_B: Any  # int64, as in PretrainingBatch
    rejected_B: Any  # str, as in PretrainingBatch


LABELLED_BATCH: dict[str, tuple[str, str]] = {
    "clip_BRTHWC": ("uint8", "BRTHWC"),
    "target_BK": ("float32", "BK"),
    "sample_id_B": ("int64", "B"),
    "rejected_B": ("str", "B"),
}


class SequenceBatch(TypedDict):
    """A micro-batch of windows of videos: the features of each frame and what is to be predicted of it."""

    feature_BTD: Any  # float32, the sets of features side by side, in the order of the config; zero in rejected rows
    present_BT: Any  # bool; False: the frame had no features of its own, they are filled from others or zero
    valid_BT: Any  # bool; False: padding beyond the video
    target_BTK: Any  # float32, one number per class; NaN: no label
    sample_id_B: Any  # int64, as in PretrainingBatch
    rejected_B: Any  # str, as in PretrainingBatch


SEQUENCE_BATCH: dict[str, tuple[str, str]] = {
    "feature_BTD": ("float32", "BTD"),
    "present_BT": ("bool", "BT"),
    "valid_BT": ("bool", "BT"),
    "target_BTK": ("float32", "BTK"),
    "sample_id_B": ("int64", "B"),
    "rejected_B": ("str", "B"),
}


def check_batch(batch: dict[str, Any], contract: dict[str, tuple[str, str]]) -> None:
    """Raises ValueError naming the column unless names, dtypes and shape letters agree with `contract`."""
    if set(batch) != set(contract):
        raise ValueError(f"batch has columns {sorted(batch)}, the contract says {sorted(contract)}")
    sizes: dict[str, int] = {}
    for name, (dtype, letters) in contract.items():
        array = np.asarray(batch[name])
        is_text = array.dtype.kind in "UO"
        if (dtype == "str") != is_text or (not is_text and array.dtype != np.dtype(dtype)):
            raise ValueError(f"column {name} is {array.dtype}, the contract says {dtype}")
        if array.ndim != len(letters):
            raise ValueError(f"column {name} has shape {array.shape}, the contract says {letters}")
        for letter, size in zip(letters, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ValueError(f"column {name}: axis {letter} is {size}, elsewhere {sizes[letter]}")

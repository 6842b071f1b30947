"""Eyes, nose and mouth of a face instead of the face: the inputs of Emotic-MAE's Table 1.

Source: Emotic-MAE (3.1.2, 4.4), whose fractions of an aligned picture they are. They suit pictures whose eyes lie at
about 0.45 and whose mouth lies at 0.8 of the height, as after the alignment by five points of face recognition
(ArcFace, 112x112). Crops of pipelines.alignment are wider and have the mouth at 0.65: for those there are landmarks.
The paper does not say how several parts become one picture; `arrangement` has both readings. With landmarks, a part is
the box around its points and a margin.

Coordinates are continuous: pixel j covers j to j+1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pipelines.quarantine import Reason, SampleError
from pipelines.transforms import Box, Crop, apply_crop

Part = Literal["eye", "nose", "mouth"]

_FRACTIONS: dict[Part, tuple[tuple[float, float], tuple[float, float]]] = {
    "eye": ((0.2, 0.8), (0.35, 0.55)),
    "nose": ((0.4, 0.6), (0.2, 0.8)),
    "mouth": ((0.2, 0.8), (0.7, 0.9)),
}
"""First and last of the width, then of the height."""
_POINTS: dict[Part, slice] = {"eye": slice(36, 48), "nose": slice(27, 36), "mouth": slice(48, 68)}
_OUTER_EYE_CORNERS = [36, 45]
_DEFAULT_MARGIN = 0.15
_LEAST_SIZE = 8  # pixels; below, a part may have none


@dataclass(frozen=True)
class FacePartsConfig:
    """Which parts of a face are shown, and where."""

    parts: tuple[Part, ...] = ("eye", "mouth")
    """In the order in which they are stacked; both eyes are one part."""
    arrangement: Literal["stacked", "canvas"] = "stacked"
    """stacked: resized to bands of the whole width and equal heights, from the top; canvas: left where they are, and
    black all around."""
    source: Literal["fractions", "landmarks"] = "fractions"
    """Where a part lies: at fractions of the picture, or around its landmarks."""
    margin: float = _DEFAULT_MARGIN
    """Around the landmarks of a part, in distances of the outer eye corners; only source=landmarks has one."""

    def __post_init__(self) -> None:
        known = get_args(Part)
        if not self.parts or len(set(self.parts)) < len(self.parts) or not set(self.parts) <= set(known):
            raise ValueError(f"parts={self.parts} must be one or more of {', '.join(known)}, each once")
        if not 0.0 <= self.margin <= 1.0:
            raise ValueError(f"margin={self.margin} must lie in 0..1")
        if self.source == "fractions" and self.margin != _DEFAULT_MARGIN:
            raise ValueError(f"margin has no effect on source=fractions; leave it at {_DEFAULT_MARGIN}")


EMOTIC_INPUTS: dict[str, FacePartsConfig | None] = {
    "full": None,
    "eye": FacePartsConfig(("eye",)),
    "nose": FacePartsConfig(("nose",)),
    "mouth": FacePartsConfig(("mouth",)),
    "eye_mouth": FacePartsConfig(("eye", "mouth")),
    "eye_mouth_nose": FacePartsConfig(("eye", "mouth", "nose")),
}
"""Rows of Table 1; None: the whole picture."""


def part_view(image_HWC: np.ndarray, config: FacePartsConfig, landmarks_682: np.ndarray | None = None) -> np.ndarray:
    """The parts of a face as a picture of the same size, uint8 RGB [H, W, 3]. That of the mirrored face is the mirror
    image.

    Args:
        landmarks_682: in pixels of the picture, where the config asks for them.

    Raises:
        SampleError: no_face, for landmarks that are not finite or a part outside the picture; format, for a picture of
            less than 8 pixels.
        ValueError: landmarks are missing, or given where they have no effect.
    """
    boxes = part_boxes(image_HWC.shape[:2], config, landmarks_682)
    if config.arrangement == "canvas":
        view_HWC = np.zeros_like(image_HWC)
        for top, left, height, width in boxes:
            shown = slice(top, top + height), slice(left, left + width)
            view_HWC[shown] = image_HWC[shown]
        return view_HWC
    view_HWC = np.empty(image_HWC.shape, np.uint8)
    edges = np.linspace(0, len(view_HWC), len(boxes) + 1).round().astype(int).tolist()
    for box, first, last in zip(boxes, edges, edges[1:], strict=False):
        apply_crop(image_HWC[None], Crop(box, False), view_HWC[None, first:last])
    return view_HWC


def part_boxes(size: Sequence[int], config: FacePartsConfig, landmarks_682: np.ndarray | None = None) -> list[Box]:
    """The box of each part in a picture of `size` (height, width), in whole pixels. Raises as `part_view`."""
    if (landmarks_682 is None) == (config.source == "landmarks"):
        given = "are missing" if landmarks_682 is None else "have no effect"
        raise ValueError(f"landmarks {given} with source={config.source}")
    height, width = size
    if min(size) < _LEAST_SIZE:
        raise SampleError(Reason.format, f"a picture of {width}x{height} is too small to show parts of it")
    if config.source == "fractions":
        return [_fraction_box(height, width, *_FRACTIONS[part]) for part in config.parts]
    if not np.isfinite(landmarks_682).all():
        raise SampleError(Reason.no_face, "the picture has no landmarks to find the parts of the face by")
    right_2, left_2 = landmarks_682[_OUTER_EYE_CORNERS]
    margin = config.margin * float(np.linalg.norm(left_2 - right_2))
    return [_landmark_box(height, width, landmarks_682[_POINTS[part]], margin, part) for part in config.parts]


def _fraction_box(height: int, width: int, across: tuple[float, float], down: tuple[float, float]) -> Box:
    # The right edge is as far from the right as the left is from the left, so that mirrored pictures have the same.
    left, top = round(across[0] * width), round(down[0] * height)
    return Box(top, left, round(down[1] * height) - top, width - 2 * left)


def _landmark_box(height: int, width: int, points_P2: np.ndarray, margin: float, part: Part) -> Box:
    first_2 = np.floor(points_P2.min(0) - margin).astype(int)
    last_2 = np.ceil(points_P2.max(0) + margin).astype(int)
    (left, top), (right, bottom) = np.clip([first_2, last_2], 0, (width, height)).tolist()
    if left >= right or top >= bottom:
        raise SampleError(Reason.no_face, f"the {part} lies outside the picture of {width}x{height}")
    return Box(top, left, bottom - top, right - left)

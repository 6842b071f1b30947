"""From decoded frames to the picture that a model sees: cut by a window or the centre, resized at random, or following
the main face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines import alignment, transforms
from pipelines.alignment import AlignConfig
from pipelines.clips import Span
from pipelines.quarantine import Reason, SampleError
from pipelines.resized_crop import ResizedCropConfig, central_square, draw_resized_crop
from pipelines.transforms import Crop, CropConfig

AnyCrop = CropConfig | AlignConfig | ResizedCropConfig

if TYPE_CHECKING:
    from models.tokens import ClipGeometry
    from pipelines.clips import ClipConfig
    from pipelines.face_tracks import FaceTrack


def check_picture(clip: ClipConfig, crop: AnyCrop, geometry: ClipGeometry) -> None:
    """Raises ValueError where clips or their pictures are not of the size that the geometry says."""
    if clip.frames != geometry.frames:
        raise ValueError(f"clip.frames={clip.frames} differs from geometry.frames={geometry.frames}; set both alike")
    height, width = geometry.height, geometry.width
    if isinstance(crop, AlignConfig):
        alignment.check_fits(crop, height, width, name="crop")
    elif not crop.size == height == width:
        raise ValueError(f"crop.size={crop.size} differs from the geometry's {height}x{width}; set both alike")


def face_span(track: FaceTrack | None, config: AnyCrop) -> Span | None:
    """The frames that clips are drawn from, None for all. Raises SampleError: no_face, where one is followed."""
    if not isinstance(config, AlignConfig):
        return None
    if track is None or not track.valid_T.any():
        raise SampleError(Reason.no_face, "no face to follow was found in the video")
    shown = np.flatnonzero(track.valid_T)
    return Span(int(shown[0]), int(shown[-1]) + 1)


def cut_picture(
    frames_THWC: np.ndarray,
    track: FaceTrack | None,
    indices_T: np.ndarray,
    config: AnyCrop,
    rng: np.random.Generator | None,
    *,
    out_THWC: np.ndarray,
) -> Crop:
    """Writes the picture of the frames `indices_T`. Returns its crop, drawn by `rng` or the central one (None).

    Raises:
        SampleError: format.
    """
    if isinstance(config, AlignConfig):
        size = out_THWC.shape[2]
        crop = alignment.central_crop(config, size) if rng is None else alignment.draw_crop(config, size, rng)
        alignment.cut_clip(frames_THWC, track, indices_T, crop, config, out_THWC=out_THWC)
        return crop
    height, width = frames_THWC.shape[1:3]
    if isinstance(config, ResizedCropConfig):
        crop = central_square(height, width) if rng is None else draw_resized_crop(height, width, config, rng)
    elif rng is None:
        crop = transforms.central_crop(height, width, config)
    else:
        crop = transforms.draw_crop(height, width, config, rng)
    transforms.apply_crop(frames_THWC, crop, out_THWC)
    return crop

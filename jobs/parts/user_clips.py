"""Clips of a user's own videos and images, as a pre-trained model wants them: nothing random, any frame size."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.clips import ClipConfig, central_frame_indices
from pipelines.frame_folder import IMAGES, FrameFolder, is_image
from pipelines.probe import probe
from pipelines.quarantine import Reason, SampleError
from pipelines.still_image import MAX_BYTES, decode, is_still_image
from pipelines.storage import Storage
from pipelines.transforms import CropConfig, apply_crop, central_crop
from pipelines.video import read_frames


def read_clip(path: Path, *, clip: ClipConfig, crop: CropConfig) -> np.ndarray:
    """The clip in the middle of a video file or a folder of frames, or an image, which is a clip of one frame, uint8
    [T, size, size, 3].

    Frames of the size that the crop window was made for are cut by it, all others to their largest centred square. The
    images of a folder are taken in the order of the numbers in their names and, having no times, for nominal_fps.

    Raises:
        SampleError: missing, too_short (frames are never repeated to fill a clip), single_frame (an image where a clip
            has more frames), or what is wrong with the file.
    """
    clip = replace(clip, short="drop")
    if not path.exists():
        raise SampleError(Reason.missing, "there is no such file or folder")
    if path.is_dir():
        images = sorted((file.name for file in path.iterdir() if is_image(file.name)), key=_numbered)
        if not images:
            raise SampleError(Reason.empty, f"the folder holds no image ({', '.join(sorted(IMAGES))})")
        folder = FrameFolder(Storage(path), tuple(images))
        frames_THWC = folder.read(central_frame_indices(len(images), clip.nominal_fps, clip))
    elif is_still_image(path.name):
        frames_THWC = _read_image(path, clip)
    else:
        video = probe(path)
        indices = central_frame_indices(video.frames, video.fps, clip)
        frames_THWC = read_frames(path, indices, expect_frames=video.frames)
    height, width = frames_THWC.shape[1:3]
    if crop.window is not None and (height, width) != crop.frame_size:
        crop = CropConfig(window=None, size=crop.size)
    clip_THWC = np.empty((clip.frames, crop.size, crop.size, 3), np.uint8)
    apply_crop(frames_THWC, central_crop(height, width, crop), clip_THWC)
    return clip_THWC


def check_image(path: Path) -> None:
    """Raises SampleError where a file is no image by its name, for models that draw nothing else: not_media."""
    if path.is_dir() or not is_still_image(path.name):
        raise SampleError(Reason.not_media, "no image by its name; the model draws images: give .jpg or .png files")


def _read_image(path: Path, clip: ClipConfig) -> np.ndarray:
    if clip.frames > 1:
        raise SampleError(Reason.single_frame, f"an image; the model draws clips of {clip.frames} frames: give videos")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise SampleError(Reason.too_large, f"{size} bytes, the limit is {MAX_BYTES}")
    return decode(path.read_bytes())[None]


def _numbered(name: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

"""One labelled sample: from a video to the augmented clips of one row of a batch, or to its test clips.

Everything random is a pure function of (seed, epoch, sample_id, repeat), as in pipelines.sample. Test clips have
nothing random: uniformly spaced windows and the central crop.

Sources: fine-tuning and test of MAE-DFER (arXiv 2307.02227, 4.1), which are those of VideoMAE (arXiv 2203.12602).
Deliberate differences:
- pictures that are wider than high keep their proportions; theirs are squeezed into a square;
- test clips whose frames are the same are one: their two crops of square pictures are, and so are the two windows of a
  short video, and the mean over views does not change;
- without RandAugment crops are taken from the frames as they are decoded, so pixels are interpolated once, not twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from models.tokens import ClipGeometry
from pipelines.alignment import AlignConfig, clip_landmarks, cut_clip
from pipelines.augmentation import AugmentationConfig, augment
from pipelines.clips import ClipConfig, frame_indices, uniform_frame_indices
from pipelines.decoders import Decoder
from pipelines.face_parts import FacePartsConfig, part_view
from pipelines.pictures import check_picture, cut_picture, face_span
from pipelines.randomness import Draw, generator
from pipelines.resized_crop import central_square
from pipelines.transforms import Box, Crop, CropConfig, apply_crop, crop_area
from pipelines.video import Images, read_frames

if TYPE_CHECKING:
    from pipelines.face_tracks import FaceTrack
    from pipelines.sample import Video


@dataclass(frozen=True)
class LabelledSampleConfig:
    """Everything that decides what the clips of a labelled video look like."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    crop: CropConfig | AlignConfig = field(default_factory=lambda: CropConfig(window=None))
    """What training crops are taken from: the window, the whole frame (window=None) or the aligned face; and what test
    clips show: the window, the largest centred square, or the middle of the aligned face. Its own random crop is not
    used, the augmentation has one."""
    parts: FacePartsConfig | None = None
    """Eyes, nose or mouth shown instead of the face (Emotic-MAE), before any augmentation; None: the face."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    geometry: ClipGeometry = field(default_factory=ClipGeometry)
    repeats: int = 1
    """Augmentations of each decoded clip (R, repeated augmentation): decoding is paid once."""
    seed: int = 0
    decoder: Decoder = "pyav"

    def __post_init__(self) -> None:
        check_picture(self.clip, self.crop, self.geometry)
        if self.crop.flip:
            raise ValueError("crop.flip=True has no effect on labelled clips; set it to False, and augmentation.flip")
        if isinstance(self.crop, CropConfig) and self.crop.scales != CropConfig.scales:
            raise ValueError(f"crop.scales={self.crop.scales} has no effect on labelled clips; set augmentation.area")
        self._check_parts()
        if self.repeats < 1:
            raise ValueError(f"repeats={self.repeats} must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must lie in [0, 2**32)")

    def _check_parts(self) -> None:
        if self.parts is None:
            return
        source = "landmarks" if isinstance(self.crop, AlignConfig) else "fractions"
        if self.parts.source != source or getattr(self.crop, "window", None) is not None:
            raise ValueError(
                f"parts.source={self.parts.source} does not go with such a crop: fractions are those of pictures that "
                "are aligned already (crop.window None), landmarks are known of a face that the crop follows"
            )

    @property
    def needs_face(self) -> bool:
        """As SampleConfig.needs_face."""
        return isinstance(self.crop, AlignConfig)

    @property
    def follows_face(self) -> bool:
        """As SampleConfig.follows_face."""
        return self.needs_face

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        return self.geometry.frames, self.geometry.height, self.geometry.width, 3


def read_labelled_sample(
    video: Video,
    data: bytes | Images,
    config: LabelledSampleConfig,
    *,
    epoch: int,
    out_RTHWC: np.ndarray,
    track: FaceTrack | None = None,
) -> None:
    """Write R augmentations of one training clip (uint8) into a preallocated row of a batch. `track` is the main face
    of the video, which the config may follow.

    Raises:
        SampleError: the video cannot be used; `out_RTHWC` then holds no picture worth keeping.
    """
    choice = {"seed": config.seed, "epoch": epoch, "sample_id": video.sample_id}
    span = face_span(track, config.crop)
    indices_T = frame_indices(video.frames, video.fps, config.clip, generator(Draw.CLIP, **choice), span=span)
    frames_THWC = read_frames(data, indices_T, expect_frames=video.frames, decoder=config.decoder)
    picture_THWC = _whole_picture(frames_THWC, track, indices_T, config)
    for repeat, out_THWC in enumerate(out_RTHWC):
        augment(picture_THWC, config.augmentation, generator(Draw.AUGMENT, repeat=repeat, **choice), out_THWC=out_THWC)


def read_test_clips(
    video: Video,
    data: bytes | Images,
    config: LabelledSampleConfig,
    *,
    clips: int,
    track: FaceTrack | None = None,
) -> np.ndarray:
    """The distinct ones of `clips` uniformly spaced test clips, uint8 [V, T, H, W, 3]; frames that several show are
    decoded once.

    Raises:
        SampleError: the video cannot be used.
        ValueError: clips is below 1.
    """
    span = face_span(track, config.crop)
    indices_VT = np.stack(uniform_frame_indices(video.frames, video.fps, config.clip, clips, span=span))
    shown, position_VT = np.unique(indices_VT, return_inverse=True)
    frames_NHWC = read_frames(data, shown, expect_frames=video.frames, decoder=config.decoder)
    clip_VTHWC = np.empty((len(indices_VT), *config.clip_shape), np.uint8)
    for indices_T, position_T, out_THWC in zip(indices_VT, position_VT, clip_VTHWC, strict=True):
        frames_THWC = frames_NHWC[position_T]
        if config.parts is None:
            cut_picture(frames_THWC, track, indices_T, config.crop, None, out_THWC=out_THWC)
        else:
            picture_THWC = _whole_picture(frames_THWC, track, indices_T, config)
            apply_crop(picture_THWC, central_square(*picture_THWC.shape[1:3]), out_THWC)
    return clip_VTHWC


def _whole_picture(
    frames_THWC: np.ndarray, track: FaceTrack | None, indices_T: np.ndarray, config: LabelledSampleConfig
) -> np.ndarray:
    """What training crops are taken from, uint8 [T, H, W, 3]: the aligned face at its own size, or the frames, for
    RandAugment so small that their shorter side is that of a crop (MAE-DFER); or parts of the face in its place."""
    if isinstance(config.crop, AlignConfig):
        size = config.crop.size
        aligned_THWC = np.empty((len(frames_THWC), size, size, 3), np.uint8)
        whole = Crop(Box(0, 0, size, size), False)
        cut_clip(frames_THWC, track, indices_T, whole, config.crop, out_THWC=aligned_THWC)
        if config.parts is None:
            return aligned_THWC
        return _parts(aligned_THWC, config.parts, clip_landmarks(track, indices_T, whole, config.crop))
    if config.parts is not None:
        frames_THWC = _parts(frames_THWC, config.parts, [None] * len(frames_THWC))
    height, width = frames_THWC.shape[1:3]
    area = Box(0, 0, height, width) if config.crop.window is None else crop_area(height, width, config.crop)
    if config.augmentation.rand_augment is None:
        return frames_THWC[:, area.top : area.top + area.height, area.left : area.left + area.width]
    scale = config.crop.size / min(area.height, area.width)
    size = round(area.height * scale), round(area.width * scale)
    picture_THWC = np.empty((len(frames_THWC), *size, 3), np.uint8)
    apply_crop(frames_THWC, Crop(area, False), picture_THWC)
    return picture_THWC


def _parts(
    picture_THWC: np.ndarray, parts: FacePartsConfig, landmarks: Sequence[np.ndarray | None] | np.ndarray
) -> np.ndarray:
    """Raises SampleError: no_face, format."""
    return np.stack([part_view(image, parts, points) for image, points in zip(picture_THWC, landmarks, strict=True)])

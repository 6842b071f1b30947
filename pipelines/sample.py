"""One sample: from the bytes of a video to the clip and the masks of one row of a batch.

Everything random about it is a pure function of (seed, epoch, sample_id, repeat): not of the process, the order or a
retry. The held-out variant has nothing random: central clip and crop, mask drawn from the sample id alone.

The picture is cut by a window or the centre of the frames, or follows the main face of the video (pipelines.pictures).
Masks are plain ones (pipelines.masks), or keep the patches of an active action unit of that face (pipelines.au_masks);
its landmarks go through the same crop and flip as the pixels.

Where crops follow the face a video without one is refused with the reason no_face, and the stream leaves it out before
it is read (pipelines.video_stream). A take gets its centred square (pipelines.take_sample): its cameras point at the
actor, and the other view would be lost with it. Nothing says what is in the middle of a video from anywhere; a model
would learn background, and the held-out loss would count it. For the same reason clips lie between the first and the
last frame that show the main face; a longer one holds all of these, and its crop waits while the face is away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.tokens import ClipGeometry, Grid
from pipelines import alignment, au_masks, masks, transforms
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig
from pipelines.clip_masks import ClipFace, clip_face, draw_clip_masks, no_face
from pipelines.clips import ClipConfig, central_frame_indices, frame_indices
from pipelines.decoders import Decoder
from pipelines.masks import MaskConfig
from pipelines.order import PADDING
from pipelines.pictures import AnyCrop, check_picture, cut_picture, face_span
from pipelines.randomness import Draw, generator
from pipelines.transforms import Crop, CropConfig
from pipelines.video import Images, read_frames

if TYPE_CHECKING:
    from pipelines.face_tracks import FaceTrack


class Video(NamedTuple):
    """What a reader needs to know of a catalog row."""

    sample_id: int
    uri: str
    size: int
    digest: str
    """Of the bytes, of an image of its pixels; empty where the catalog has none."""
    frames: int
    """Decoded frames."""
    fps: float
    kind: str = "video"
    """"video": a file; "frames": a folder of images; "image": one."""
    archive_offset: int = -1
    """Where in its archive an image begins (pipelines.archives); -1: it is an object of its own."""
    archive_bytes: int = 0


@dataclass(frozen=True)
class SampleConfig:
    """Everything that decides what one sample looks like."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    crop: AnyCrop = field(default_factory=CropConfig)
    mask: MaskConfig | AUMaskConfig = field(default_factory=MaskConfig)
    region: Grid | None = None
    """Regions in which masks of action units show equally many tokens (LGI-Former); None: the clip as a whole. Plain
    masks have their own."""
    geometry: ClipGeometry = field(default_factory=ClipGeometry)
    clips_per_video: int = 1
    """Masks drawn for each decoded clip (R): decoding is paid once, the model sees the clip R times."""
    seed: int = 0
    decoder: Decoder = "pyav"

    def __post_init__(self) -> None:
        check_picture(self.clip, self.crop, self.geometry)
        if self.clips_per_video < 1:
            raise ValueError(f"clips_per_video={self.clips_per_video} must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must lie in [0, 2**32)")
        if self.region is not None and not isinstance(self.mask, AUMaskConfig):
            raise ValueError(f"region={self.region} has no effect on a plain mask; give it mask.region")
        self._num_visible()

    @property
    def needs_face(self) -> bool:
        """Whether a video without a face is of no use: there is nothing for its crop to follow."""
        return isinstance(self.crop, AlignConfig)

    @property
    def follows_face(self) -> bool:
        """Whether crops or masks depend on the face, which a reader must then know."""
        return self.needs_face or isinstance(self.mask, AUMaskConfig)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        return self.geometry.frames, self.geometry.height, self.geometry.width, 3

    @property
    def visible_shape(self) -> tuple[int, int]:
        return self.clips_per_video, self._num_visible()

    def _num_visible(self) -> int:
        if isinstance(self.mask, AUMaskConfig):
            return au_masks.num_visible(self.geometry, self.mask, self.region)
        return masks.num_visible(self.geometry.grid, self.mask)


def read_sample(
    video: Video,
    data: bytes | Images,
    config: SampleConfig,
    *,
    epoch: int,
    out_THWC: np.ndarray,
    out_RV: np.ndarray,
    track: FaceTrack | None = None,
) -> None:
    """Write the training clip (uint8) and its masks (int32) into preallocated rows of a batch.

    The masks are valid even where the clip is not. `track` is the main face of the video, which the config may follow.

    Raises:
        SampleError: the video cannot be used; `out_THWC` then holds no picture worth keeping.
    """
    choice, face = {"seed": config.seed, "epoch": epoch, "sample_id": video.sample_id}, None
    try:
        span, clip_rng = face_span(track, config.crop), generator(Draw.CLIP, **choice)
        indices_T = frame_indices(video.frames, video.fps, config.clip, clip_rng, span=span)
        frames_THWC = read_frames(data, indices_T, expect_frames=video.frames, decoder=config.decoder)
        crop_rng = generator(Draw.CROP, **choice)
        crop = cut_picture(frames_THWC, track, indices_T, config.crop, crop_rng, out_THWC=out_THWC)
        face = _face_in_picture(track, indices_T, crop, config)
    finally:
        draw_masks(video.sample_id, config, epoch=epoch, out_RV=out_RV, face=face)


def read_held_out_sample(
    video: Video,
    data: bytes | Images,
    config: SampleConfig,
    *,
    out_THWC: np.ndarray,
    out_RV: np.ndarray,
    track: FaceTrack | None = None,
) -> None:
    """As `read_sample`, with nothing random: the same row for every epoch and seed."""
    indices_T = central_frame_indices(video.frames, video.fps, config.clip, span=face_span(track, config.crop))
    frames_THWC = read_frames(data, indices_T, expect_frames=video.frames, decoder=config.decoder)
    crop = cut_picture(frames_THWC, track, indices_T, config.crop, None, out_THWC=out_THWC)
    face = _face_in_picture(track, indices_T, crop, config)
    _draw(config, face, out_RV, draw=Draw.HELD_OUT_MASK, seed=0, sample_id=video.sample_id)


def _face_in_picture(
    track: FaceTrack | None, indices_T: np.ndarray, crop: Crop, config: SampleConfig
) -> ClipFace | None:
    """The face as the model sees it; None where there is none, or no mask asks for it."""
    if track is None or not isinstance(config.mask, AUMaskConfig):
        return None
    if isinstance(config.crop, AlignConfig):
        landmarks_T682 = alignment.clip_landmarks(track, indices_T, crop, config.crop)
    else:
        landmarks_T682 = transforms.crop_landmarks(track.landmarks_T682[indices_T], crop, config.crop.size)
    return clip_face(track, landmarks_T682, indices_T)


def draw_masks(
    sample_id: int, config: SampleConfig, *, epoch: int, out_RV: np.ndarray, face: ClipFace | None = None
) -> None:
    """Write the training masks of a sample, one per repeat; a padding row gets valid ones that are always the same.

    Without a face masks of action units are plain ones.
    """
    if sample_id == PADDING:
        _draw(config, face, out_RV, draw=Draw.PADDING_MASK, seed=0)
    else:
        _draw(config, face, out_RV, draw=Draw.MASK, seed=config.seed, epoch=epoch, sample_id=sample_id)


def _draw(config: SampleConfig, face: ClipFace | None, out_RV: np.ndarray, *, draw: Draw, **key: int) -> None:
    if isinstance(config.mask, AUMaskConfig):
        face = face or no_face(config.geometry.frames)
        where = config.geometry, config.mask, config.region
        out_RV[:], _ = draw_clip_masks(face, *where, repeats=len(out_RV), draw=draw, **key)
        return
    for repeat, out_V in enumerate(out_RV):
        out_V[:] = masks.draw(config.geometry.grid, config.mask, generator(draw, repeat=repeat, **key))

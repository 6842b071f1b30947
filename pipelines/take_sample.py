"""One sample of a multi-view corpus: two views of the same instants of a take, and the masks of the first.

Source: MAURA (3.2, 3.5, 4.1 and 5.2.1): the view that the encoder sees is drawn uniformly from those of the take, the
view to be drawn uniformly from the others (5.2.1) or from all (3.5); both get the same random crop and flip. A flip
also exchanges the names of left and right views, and left and right landmarks.
Deliberate differences:
- a take that lacks views draws from those it has; with a single one it is its own target;
- where no face was found in a view its picture is the centred square, and its mask a plain one;
- frames are drawn from the instants that both views have, for cameras stop some frames apart.

Everything random is a pure function of (seed, epoch, sample_id, repeat), as in pipelines.sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from models.tokens import ClipGeometry, Grid
from pipelines.alignment import AlignConfig, central_crop, check_fits, clip_landmarks, cut_clip, draw_crop
from pipelines.au_masks import AUMaskConfig, MaskRecord, num_visible
from pipelines.clip_masks import ClipFace, clip_face, draw_clip_masks, no_face
from pipelines.clips import ClipConfig, central_frame_indices, frame_indices
from pipelines.corpora.mead import MIRRORED_VIEW, VIEWS
from pipelines.decoders import Decoder
from pipelines.randomness import Draw, generator
from pipelines.sample import Video
from pipelines.video import read_frames

if TYPE_CHECKING:
    from pipelines.face_tracks import FaceTrack
    from pipelines.transforms import Crop

FRONT = VIEWS.index("front")

Tracks = Mapping[int, "FaceTrack | None"]
"""The face of each view, None where none was found."""


class Take(NamedTuple):
    """One performance: its videos by view, None where there is none to use."""

    sample_id: int
    videos: tuple[Video | None, ...]


@dataclass(frozen=True)
class TakeSampleConfig:
    """Everything that decides what one sample looks like."""

    clip: ClipConfig = field(default_factory=lambda: ClipConfig(stride=2))
    align: AlignConfig = field(default_factory=AlignConfig)
    mask: AUMaskConfig = field(default_factory=AUMaskConfig)
    region: Grid | None = None
    """Regions that must show equally many tokens (LGI-Former); None: the clip as a whole."""
    geometry: ClipGeometry = field(default_factory=lambda: ClipGeometry(height=224, width=224))
    target_views: Literal["other", "any", "same"] = "other"
    """Which views may be drawn. other: all but the input's (MAURA 5.2.1); any: all (3.5); same: the input's alone."""
    au_source: Literal["own", "frontal"] = "own"
    """Whose activity of action units decides: that of the view itself, or of the take's frontal view, where the source
    sees best. Their places always come from the view itself."""
    clips_per_video: int = 1
    """Masks drawn for each decoded pair of clips (R)."""
    seed: int = 0
    decoder: Decoder = "pyav"

    def __post_init__(self) -> None:
        if self.clip.frames != self.geometry.frames:
            raise ValueError(f"clip.frames={self.clip.frames} differs from geometry.frames={self.geometry.frames}")
        check_fits(self.align, self.geometry.height, self.geometry.width, name="align")
        if self.clips_per_video < 1:
            raise ValueError(f"clips_per_video={self.clips_per_video} must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must lie in [0, 2**32)")
        num_visible(self.geometry, self.mask, self.region)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        return self.geometry.frames, self.geometry.height, self.geometry.width, 3

    @property
    def visible_shape(self) -> tuple[int, int]:
        return self.clips_per_video, num_visible(self.geometry, self.mask, self.region)


class Choice(NamedTuple):
    """What is drawn for one sample before anything is read."""

    input_view: int
    target_view: int
    indices: np.ndarray
    """Frames of both views, int64 [T]."""
    crop: Crop

    @property
    def views(self) -> tuple[int, ...]:
        """To fetch and decode, each once."""
        return tuple(dict.fromkeys((self.input_view, self.target_view)))

    def annotated_views(self, config: TakeSampleConfig) -> tuple[int, ...]:
        """Whose faces must be known."""
        return tuple(dict.fromkeys((*self.views, FRONT))) if config.au_source == "frontal" else self.views

    @property
    def shown_views(self) -> tuple[int, int]:
        """Input and target as they look: a mirrored left view is a right one."""
        pair = self.input_view, self.target_view
        return tuple(MIRRORED_VIEW[view] for view in pair) if self.crop.flip else pair


def choose(take: Take, config: TakeSampleConfig, *, epoch: int) -> Choice:
    """Views, instants and crop of a training sample.

    Raises:
        SampleError: too_short, where the clip's policy drops what the two views share.
    """
    key = {"seed": config.seed, "epoch": epoch, "sample_id": take.sample_id}
    input_view, target_view = _draw_views(take, config, generator(Draw.VIEW, **key))
    frames, fps = _shared(take, input_view, target_view)
    indices = frame_indices(frames, fps, config.clip, generator(Draw.CLIP, **key))
    crop = draw_crop(config.align, config.geometry.width, generator(Draw.CROP, **key))
    return Choice(input_view, target_view, indices, crop)


def choose_held_out(take: Take, config: TakeSampleConfig) -> Choice:
    """As `choose`, the same in every epoch and for every seed: central instants and crop, no flip."""
    input_view, target_view = _draw_views(take, config, generator(Draw.HELD_OUT_VIEW, seed=0, sample_id=take.sample_id))
    frames, fps = _shared(take, input_view, target_view)
    indices = central_frame_indices(frames, fps, config.clip)
    return Choice(input_view, target_view, indices, central_crop(config.align, config.geometry.width))


def draw_masks(
    choice: Choice, tracks: Tracks, config: TakeSampleConfig, *, draw: Draw, **key: int
) -> tuple[np.ndarray, list[MaskRecord]]:
    """Visible tokens of the input view, int32 [R, V], and what each mask shows."""
    return _draw(_input_face(choice, tracks, config), config, draw=draw, **key)


def plain_masks(config: TakeSampleConfig) -> np.ndarray:
    """Masks of a row that nobody learns from, int32 [R, V]: valid, and always the same."""
    return _draw(no_face(config.geometry.frames), config, draw=Draw.PADDING_MASK, seed=0)[0]


def _draw(face: ClipFace, config: TakeSampleConfig, *, draw: Draw, **key: int) -> tuple[np.ndarray, list[MaskRecord]]:
    where = config.geometry, config.mask, config.region
    return draw_clip_masks(face, *where, repeats=config.clips_per_video, draw=draw, **key)


def _input_face(choice: Choice, tracks: Tracks, config: TakeSampleConfig) -> ClipFace:
    """The face of the input view, with the activity of `au_source`; the view's own where the take lacks the other."""
    track = tracks.get(choice.input_view)
    if track is None:
        return no_face(config.geometry.frames)
    landmarks_T682 = clip_landmarks(track, choice.indices, choice.crop, config.align)
    frontal = tracks.get(FRONT) if config.au_source == "frontal" else None
    return clip_face(track, landmarks_T682, choice.indices, activity=frontal)


def read_view(
    video: Video,
    data: bytes,
    track: FaceTrack | None,
    choice: Choice,
    config: TakeSampleConfig,
    *,
    out_THWC: np.ndarray,
) -> None:
    """Writes the clip of one view (uint8) into the preallocated row of a batch.

    Raises:
        SampleError: the video cannot be used; `out_THWC` then holds no picture worth keeping.
    """
    frames_THWC = read_frames(data, choice.indices, expect_frames=video.frames, decoder=config.decoder)
    cut_clip(frames_THWC, track, choice.indices, choice.crop, config.align, out_THWC=out_THWC)


def _draw_views(take: Take, config: TakeSampleConfig, rng: np.random.Generator) -> tuple[int, int]:
    there = [view for view, video in enumerate(take.videos) if video is not None]
    input_view = int(rng.choice(there))
    if config.target_views == "same":
        return input_view, input_view
    others = [view for view in there if view != input_view or config.target_views == "any"]
    return input_view, int(rng.choice(others or there))


def _shared(take: Take, input_view: int, target_view: int) -> tuple[int, float]:
    """Frames that both views have, and their rate."""
    first, second = take.videos[input_view], take.videos[target_view]
    return min(first.frames, second.frames), first.fps

"""Face crops that follow the head: from frames of a video and its face track to square pictures of one size.

Sources: MAURA (section 4.1) takes 240 x 240 crops of the face and from them a random 224 x 224, mirrored half of the
time; alignment by canonical eye positions is that of OpenFace 2 (Baltrusaitis et al. 2018, 3.4), whose crops it uses.
Deliberate differences:
- tracking, resizing, random crop and mirror are one affine map for each frame, so pixels are interpolated once, not
  twice;
- frames of more than twice the resolution of the crop are first averaged over blocks of whole pixels, because
  interpolation would skip most of their pixels;
- the scale of `similarity` is that of the eyes or of eyes to mouth, whichever is foreshortened less: the distance of
  the eyes alone would blow up a face that is turned to the side.

Coordinates are continuous: pixel j covers j to j+1, as in landmarks, boxes and pipelines.au_masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipelines.landmarks import MIRROR, frontal_template
from pipelines.quarantine import Reason, SampleError
from pipelines.transforms import Box, Crop, opencv

if TYPE_CHECKING:
    from pipelines.face_tracks import FaceTrack

TEMPLATE_MARGIN = 1.75
"""Side of the crop that landmarks.frontal_template stands in, over the larger side of the box around its points."""
FOREHEAD = 0.1
"""How far the crop's centre lies above that of the box, in sides of the box: landmarks end at the brows."""
SMOOTHING_FRAMES = 3.0
"""Standard deviation of the Gaussian over the path of a similarity crop: landmarks tremble, a tenth of a second at 30
fps is not seen."""

_EYES, _MOUTH_CORNERS = slice(36, 48), [48, 54]


@dataclass(frozen=True)
class AlignConfig:
    """Which square of every frame becomes the picture."""

    mode: Literal["box", "similarity"] = "box"
    """box: the square around the face, upright; similarity: eyes at the same place in all frames, head upright."""
    margin: float = TEMPLATE_MARGIN
    """Side of the square over the larger side of the face's box, brows to chin."""
    size: int = 240
    """Height and width of the aligned face in pixels; training takes a random crop of it."""
    flip: bool = True
    """Mirror half of the training clips."""

    def __post_init__(self) -> None:
        if not 1.0 <= self.margin <= 4.0:
            raise ValueError(f"margin={self.margin} must lie in 1..4; 1 is the box itself")
        if self.size < 16:
            raise ValueError(f"size={self.size} must be at least 16")


def face_path(track: FaceTrack, config: AlignConfig) -> np.ndarray:
    """Affine matrices from the pixels of each frame to the aligned square, float64 [T, 2, 3].

    Frames without a face take a path between those of the nearest frames that have one.

    Raises:
        SampleError: no_face, when no frame has one.
    """
    if not track.valid_T.any():
        raise SampleError(Reason.no_face, f"no face in any of the {len(track.valid_T)} frames")
    return _box_path(track, config) if config.mode == "box" else _similarity_path(track, config)


def central_path(frames: int, height: int, width: int, config: AlignConfig) -> np.ndarray:
    """As `face_path` for a video without a face: the largest centred square of frames of `height` x `width`."""
    linear_T22 = np.tile(config.size / min(height, width) * np.eye(2), (frames, 1, 1))
    return _through(linear_T22, np.tile((width / 2, height / 2), (frames, 1)), np.full(2, config.size / 2))


def draw_crop(config: AlignConfig, size: int, rng: np.random.Generator) -> Crop:
    """A random `size` x `size` crop of the aligned square, mirrored or not. Views of one take share it.

    Raises:
        ValueError: the crop is larger than the square.
    """
    top, left = rng.integers(_space(config, size) + 1, size=2).tolist()
    return Crop(Box(top, left, size, size), bool(config.flip and rng.integers(2)))


def central_crop(config: AlignConfig, size: int) -> Crop:
    """The crop evaluation sees. Raises as `draw_crop`."""
    middle = _space(config, size) // 2
    return Crop(Box(middle, middle, size, size), False)


def crop_path(path_T23: np.ndarray, crop: Crop) -> np.ndarray:
    """The path followed by a crop of the aligned square and its mirror, float64 [T, 2, 3]."""
    top, left, _, width = crop.box
    toward = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])
    if crop.flip:
        toward = np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ toward
    return toward[:2, :2] @ path_T23 + np.pad(toward[:2, 2:], ((0, 0), (2, 0)))


def map_landmarks(landmarks_T682: np.ndarray, path_T23: np.ndarray) -> np.ndarray:
    """Landmarks in the pixels of the picture that `warp` makes, float32 [T, 68, 2].

    A path that mirrors also exchanges left and right points.
    """
    mapped_T682 = landmarks_T682 @ path_T23[:, :, :2].transpose(0, 2, 1) + path_T23[:, None, :, 2]
    if np.linalg.det(path_T23[0, :, :2]) < 0:
        mapped_T682 = mapped_T682[:, MIRROR]
    return mapped_T682.astype(np.float32)


def warp(frames_THWC: np.ndarray, path_T23: np.ndarray, out_THWC: np.ndarray) -> None:
    """Writes the picture of every frame (uint8 RGB) into the preallocated `out_THWC`; beyond the frame it is black."""
    cv2 = opencv()
    size = (out_THWC.shape[2], out_THWC.shape[1])
    for frame_HWC, matrix_23, out_HWC in zip(frames_THWC, path_T23, out_THWC, strict=True):
        if (pixels := int(1.0 / np.sqrt(abs(np.linalg.det(matrix_23[:, :2]))))) > 1:
            frame_HWC, matrix_23 = _averaged(frame_HWC, matrix_23, size, pixels)
        # OpenCV puts the centre of a pixel at whole numbers, half a pixel before ours.
        linear_22 = matrix_23[:, :2]
        shift_2 = matrix_23[:, 2] + linear_22 @ (0.5, 0.5) - 0.5
        cv2.warpAffine(frame_HWC, np.column_stack([linear_22, shift_2]), size, dst=out_HWC, flags=cv2.INTER_LINEAR)


def cut_clip(
    frames_THWC: np.ndarray,
    track: FaceTrack | None,
    indices_T: np.ndarray,
    crop: Crop,
    config: AlignConfig,
    *,
    out_THWC: np.ndarray,
) -> None:
    """Writes the crop of a clip, the frames `indices_T` of a video: around the face, or without one the crop of the
    largest centred square.

    Raises:
        SampleError: no_face, when no frame of the track has one.
    """
    if track is None:
        path_T23 = central_path(len(frames_THWC), *frames_THWC.shape[1:3], config)
    else:
        path_T23 = face_path(track, config)[indices_T]
    warp(frames_THWC, crop_path(path_T23, crop), out_THWC)


def clip_landmarks(track: FaceTrack, indices_T: np.ndarray, crop: Crop, config: AlignConfig) -> np.ndarray:
    """The landmarks of the face in the picture that `cut_clip` makes, float32 [T, 68, 2]; NaN where it is not found.
    Raises as `cut_clip`."""
    return map_landmarks(track.landmarks_T682[indices_T], crop_path(face_path(track, config)[indices_T], crop))


def check_fits(config: AlignConfig, height: int, width: int, *, name: str) -> None:
    """Raises ValueError where crops of `height` x `width` cannot be taken of the aligned square; `name` is what the
    user calls the config."""
    if height != width or width > config.size:
        raise ValueError(f"the geometry's {height}x{width} must be a square of at most {name}.size={config.size}")


def _averaged(
    frame_HWC: np.ndarray, matrix_23: np.ndarray, size: tuple[int, int], pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """The part of a frame that a picture of `size` (width, height) shows, averaged over blocks of `pixels` x `pixels`,
    and the matrix that belongs to it."""
    cv2 = opencv()
    linear_22, shift_2 = matrix_23[:, :2], matrix_23[:, 2]
    corners_42 = (np.array([(0, 0), (size[0], 0), (0, size[1]), size]) - shift_2) @ np.linalg.inv(linear_22).T
    room_2 = np.array(frame_HWC.shape[1::-1])
    left, top = first_2 = np.clip(np.floor(corners_42.min(0)).astype(int) - pixels, 0, room_2 - pixels)
    last_2 = np.clip(np.ceil(corners_42.max(0)).astype(int) + pixels, first_2 + pixels, room_2)
    wide, high = ((last_2 - first_2) // pixels).tolist()
    shown_HWC = frame_HWC[top : top + high * pixels, left : left + wide * pixels]
    small_HWC = cv2.resize(shown_HWC, (wide, high), interpolation=cv2.INTER_AREA)
    return small_HWC, np.column_stack([linear_22 * pixels, shift_2 + linear_22 @ first_2])


def _space(config: AlignConfig, size: int) -> int:
    if not 1 <= size <= config.size:
        raise ValueError(f"a crop of {size} pixels does not fit the aligned {config.size}; raise its size")
    return config.size - size


def _box_path(track: FaceTrack, config: AlignConfig) -> np.ndarray:
    box_T4 = _filled(track.box_T4, track.valid_T)
    side_T = box_T4[:, 2:].max(1)
    centre_T2 = box_T4[:, :2] + box_T4[:, 2:] / 2 - np.outer(side_T, (0.0, FOREHEAD))
    scale_T = config.size / (config.margin * side_T)
    linear_T22 = scale_T[:, None, None] * np.eye(2)
    return _through(linear_T22, centre_T2, np.full(2, config.size / 2))


def _similarity_path(track: FaceTrack, config: AlignConfig) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    points_T682 = track.landmarks_T682.astype(np.float64)
    eyes_T2, width_T2, height_T = _face_measures(points_T682)
    zoom = TEMPLATE_MARGIN / config.margin
    target_682 = config.size / 2 + zoom * (frontal_template(config.size) - config.size / 2)
    target_eyes_2, target_width_2, target_height = (m[0] for m in _face_measures(target_682[None]))
    scale_T = 1 / np.maximum(np.hypot(*width_T2.T) / np.hypot(*target_width_2), height_T / target_height)
    angle_T = np.arctan2(width_T2[:, 1], width_T2[:, 0])
    # Sine and cosine, and the logarithm of the scale, can be averaged over time; angles and scales cannot.
    face_T5 = np.column_stack([np.log(scale_T), np.cos(angle_T), np.sin(angle_T), eyes_T2])
    face_T5 = gaussian_filter1d(_filled(face_T5, track.valid_T), SMOOTHING_FRAMES, axis=0, mode="nearest")
    scale_T = np.exp(face_T5[:, 0]) / np.hypot(face_T5[:, 1], face_T5[:, 2])
    cosine_T, sine_T = scale_T * face_T5[:, 1], scale_T * face_T5[:, 2]
    linear_T22 = np.stack([cosine_T, sine_T, -sine_T, cosine_T], axis=1).reshape(-1, 2, 2)
    return _through(linear_T22, face_T5[:, 3:], target_eyes_2)


def _face_measures(points_T682: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle of the eyes [T, 2], the way from one eye to the other [T, 2], distance of eyes and mouth [T]."""
    right_T2, left_T2 = points_T682[:, 36:42].mean(1), points_T682[:, 42:48].mean(1)
    middle_T2 = (right_T2 + left_T2) / 2
    mouth_T2 = points_T682[:, _MOUTH_CORNERS].mean(1)
    return middle_T2, left_T2 - right_T2, np.linalg.norm(mouth_T2 - middle_T2, axis=1)


def _through(linear_T22: np.ndarray, source_T2: np.ndarray, target_2: np.ndarray) -> np.ndarray:
    """Affine maps [T, 2, 3] with these linear parts that take each source point to the target."""
    shift_T2 = target_2 - np.einsum("tij,tj->ti", linear_T22, source_T2)
    return np.concatenate([linear_T22, shift_T2[..., None]], axis=2)


def _filled(values_TK: np.ndarray, known_T: np.ndarray) -> np.ndarray:
    """The values where known, lines between them in gaps, the nearest before and after. float64 [T, K]."""
    times_T, known = np.arange(len(known_T)), np.flatnonzero(known_T)
    return np.column_stack([np.interp(times_T, known, column[known]) for column in values_TK.T])

"""Which images of a corpus are worth learning from: large enough, and of a face whose features are all in the picture.

Sources: Nguyen et al., Emotic Masked Autoencoder on Dual-views (3.1), removes images that are damaged, of no face or of
insufficient resolution, and those without key points for eyes, brows, nose and mouth; Zhang et al., Multi-modal Facial
Affective Analysis based on Masked Autoencoder (NetEase at ABAW5, 4.1), crops in which there is no face.
Deliberate differences:
- key points are those of MediaPipe's face mesh, not dlib's. A mesh always has all points; those of a feature that the
  picture cuts off lie outside of it;
- the resolution that suffices is a choice, the paper names none;
- a crop around a face may be too tight for a detector that expects a head: it is searched again with a border.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from pipelines.quarantine import Reason, SampleError

_FEATURES = {"brows": slice(17, 27), "nose": slice(27, 36), "eyes": slice(36, 48), "mouth": slice(48, 68)}
"""Of the 68 points (pipelines.landmarks)."""
_BORDER = 0.5
"""Of a picture's longer side, added on every side of one without a face."""


@dataclass(frozen=True)
class CleaningConfig:
    """What is asked of an image. By default nothing but that it can be decoded."""

    min_side: int = 0
    """Pixels of the shorter side; images with fewer are too_small. 0: any size."""
    face: bool = False
    """MediaPipe finds a face; else no_face."""
    key_points: bool = False
    """Eyes, brows, nose and mouth of that face lie inside the picture; else key_points."""

    def __post_init__(self) -> None:
        if self.min_side < 0:
            raise ValueError(f"min_side={self.min_side} must not be negative; 0 takes images of any size")
        if self.key_points and not self.face:
            raise ValueError("key_points=True with face=False: key points are those of a face; set face=True too")

    @property
    def is_on(self) -> bool:
        return self != CleaningConfig()


class ImageJudge:
    """Judges images one by one. Use as a context manager; a process can have one that looks for faces at a time.

    Raises:
        FaceMeshUnavailable: a face is asked for and MediaPipe is not installed.
    """

    def __init__(self, config: CleaningConfig) -> None:
        self._config = config
        self._open = ExitStack()
        self._mesh = None
        if config.face:
            from pipelines.face_mesh import FaceMesh

            self._mesh = self._open.enter_context(FaceMesh())

    def __enter__(self) -> ImageJudge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def judge(self, image_HWC: np.ndarray) -> SampleError | None:
        """Why an image, uint8 RGB, is not worth learning from: too_small, no_face or key_points; None if it is."""
        height, width = image_HWC.shape[:2]
        if min(height, width) < self._config.min_side:
            return SampleError(Reason.too_small, f"{height}x{width} pixels, {self._config.min_side} are asked for")
        if self._mesh is None:
            return None
        points_682 = self._find(image_HWC)
        if points_682 is None:
            return SampleError(Reason.no_face, "MediaPipe finds no face in the image")
        inside_68 = ((points_682 >= 0) & (points_682 < (width, height))).all(1)
        cut_off = [name for name, points in _FEATURES.items() if not inside_68[points].all()]
        if self._config.key_points and cut_off:
            return SampleError(Reason.key_points, f"{', '.join(cut_off)} reach beyond the image")
        return None

    def _find(self, image_HWC: np.ndarray) -> np.ndarray | None:
        """The landmarks of the face, float32 [68, 2], in pixels; None without one."""
        from pipelines.landmarks import mesh_to_68

        found = self._mesh.detect(image_HWC)
        border = 0
        if not len(found):
            border = round(_BORDER * max(image_HWC.shape[:2]))
            found = self._mesh.detect(np.pad(image_HWC, ((border, border), (border, border), (0, 0))))
        return mesh_to_68(found)[0, :, :2] - border if len(found) else None

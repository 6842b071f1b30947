"""Videos that are kept as one image per frame, in a folder or below a prefix.

Frames are in the order of the names of their files, as all readers of such corpora take them, and have no times: the
frame rate is nominal. A folder in a catalog is known by how many images it holds and their bytes altogether; a clip
then costs one listing and the images that it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from pipelines.quarantine import Reason, SampleError
from pipelines.storage import ObjectInfo, ObjectMissing, Storage, content_digest

if TYPE_CHECKING:
    from pipelines.probe import VideoInfo

IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
NOMINAL_FPS = 25.0
"""What a folder is taken to have been recorded at."""
_FETCHED_AT_ONCE = 8


def is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGES and not path.name.startswith(".")


@dataclass(frozen=True)
class FrameFolder:
    """The images of a video, in order."""

    storage: Storage
    names: tuple[str, ...]

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames at `indices`, uint8 [T, H, W, 3], RGB; each image is fetched once.

        Raises SampleError: missing, decode, format (images of different sizes), short_read (an index beyond the last).
        """
        unique, position_T = np.unique(np.asarray(indices, np.int64), return_inverse=True)
        if unique[0] < 0 or unique[-1] >= len(self.names):
            raise SampleError(Reason.short_read, f"frame {unique[-1]} of a folder of {len(self.names)} images")
        frames = [image for _, image in self.images([self.names[index] for index in unique])]
        return np.stack(frames)[position_T]

    def images(self, names: Sequence[str] | None = None) -> Iterator[tuple[bytes, np.ndarray]]:
        """File and frame, uint8 [H, W, 3], RGB, of these images or of all, one by one. Raises as `read`."""
        names, shape = self.names if names is None else names, None
        for name, content in zip(names, self._contents(names), strict=True):
            image = _decode(name, content)
            if shape is not None and image.shape != shape:
                raise SampleError(Reason.format, f"{name} is {image.shape[:2]}, the first frame {shape[:2]}")
            shape = image.shape
            yield content, image

    def _contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """Bounded: as many images at once as there are threads."""
        try:
            if self.storage.is_local:
                yield from map(self.storage.read, names)
                return
            with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="images") as pool:
                for start in range(0, len(names), _FETCHED_AT_ONCE):
                    yield from pool.map(self.storage.read, names[start : start + _FETCHED_AT_ONCE])
        except ObjectMissing as error:
            raise SampleError(Reason.missing, str(error)) from error


def open_folder(storage: Storage, uri: str, *, expect_frames: int, expect_bytes: int) -> FrameFolder:
    """The images of a video of a catalog. Raises SampleError: missing, short_read or changed where they are others."""
    images = list_images(storage, uri)
    size = sum(image.size for image in images)
    if not images:
        raise SampleError(Reason.missing, f"there is no image in {uri}")
    if (len(images), size) != (expect_frames, expect_bytes):
        reason = Reason.short_read if len(images) < expect_frames else Reason.changed
        found = f"{len(images)} images of {size} bytes"
        raise SampleError(reason, f"{found} are there, {expect_frames} of {expect_bytes} bytes in the catalog")
    return FrameFolder(storage, tuple(image.name for image in images))


def list_images(storage: Storage, uri: str) -> list[ObjectInfo]:
    """The images right below a folder, by name."""
    depth = uri.count("/") + 1
    return [item for item in storage.list(uri) if item.name.count("/") == depth and is_image(item.name)]


def signature(images: Sequence[ObjectInfo]) -> str:
    """Changes when an image does, comes or goes: what an entity tag is to a file."""
    return content_digest("\n".join(f"{image.name}\t{image.size}\t{image.etag}" for image in images).encode())


def probe_folder(storage: Storage, uri: str) -> tuple[VideoInfo, str]:
    """What decoding every image finds, and a digest of names and contents.

    Raises SampleError: missing, single_frame, decode, format.
    """
    from pipelines.probe import VideoInfo

    images = list_images(storage, uri)
    if len(images) < 2:
        reason = Reason.single_frame if images else Reason.missing
        raise SampleError(reason, f"{len(images)} images in {uri}")
    folder = FrameFolder(storage, tuple(image.name for image in images))
    digests, height, width = [], 0, 0
    for name, (content, image_HWC) in zip(folder.names, folder.images(), strict=True):
        height, width, _ = image_HWC.shape
        digests.append(f"{PurePosixPath(name).name}\t{content_digest(content)}")
    info = VideoInfo(len(images), NOMINAL_FPS, width, height, len(images) / NOMINAL_FPS)
    return info, content_digest("\n".join(digests).encode())


def _decode(name: str, content: bytes) -> np.ndarray:
    import cv2

    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if content else None
    if image is None:
        raise SampleError(Reason.decode, f"{name} is no image")
    return image

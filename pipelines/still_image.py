"""One image as a video of one frame.

It is decoded to 8-bit RGB and turned upright as its EXIF orientation says, like a photo viewer shows it; grey becomes
three equal channels, transparency is left out, of an animation the first picture is taken. Its digest is of these
pixels, so that copies that were stored anew without loss, in another format or with other metadata, are told to be the
same; that of a JPEG holds as long as decoders agree to the bit, as those of libjpeg-turbo do.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from pipelines.frame_folder import IMAGES
from pipelines.quarantine import Reason, SampleError
from pipelines.storage import content_digest

MAX_BYTES = 1 << 26
"""Of a file, 64 MiB."""
MAX_PIXELS = 1 << 26
"""By the header of the file, before anything is decoded: a small file may claim to be a picture of gigabytes."""
_SUFFIXES = IMAGES | {".tif", ".tiff"}
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""By content: scraped images often have the suffix of another format."""
_WIDE_MODES = ("F", "I")
"""More than 8 bits, whose range only their author knows; "I;16" and its like begin so too."""


def is_still_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


@dataclass(frozen=True)
class StillImage:
    """The file of an image, and the digest of its pixels in the catalog ("": not known). Decoded when it is read."""

    content: bytes
    digest: str = ""

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The image once for each of `indices`, all 0, uint8 [T, H, W, 3], RGB.

        Raises SampleError: short_read (another index), changed (other pixels than in the catalog), and as `decode`.
        """
        if (beyond := np.asarray(indices).max(initial=0)) > 0:
            raise SampleError(Reason.short_read, f"frame {beyond} of a single image")
        image_HWC = decode(self.content)
        if self.digest and pixel_digest(image_HWC) != self.digest:
            raise SampleError(Reason.changed, f"{len(self.content)} bytes as in the catalog, but with other pixels")
        return np.repeat(image_HWC[None], len(indices), axis=0)


def decode(content: bytes) -> np.ndarray:
    """The picture in a file, uint8 [H, W, 3], RGB, upright.

    Raises SampleError: empty, not_media, too_large, format (more than 8 bits), decode.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not content:
        raise SampleError(Reason.empty, "the file has no bytes")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            _check_header(image.size, image.mode)
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (SampleError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise SampleError(Reason.not_media, f"no image, it begins with {content[:40]!r}") from None
    except Image.DecompressionBombError as error:
        raise SampleError(Reason.too_large, str(error)) from None
    except Exception as error:  # the readers of its many formats raise anything on damaged files
        raise SampleError(Reason.decode, f"{type(error).__name__}: {error}") from None


def pixel_digest(image_HWC: np.ndarray) -> str:
    """Of shape and pixels, 32 hexadecimal digits."""
    height, width, _ = image_HWC.shape
    return content_digest(b"%dx%d\n" % (height, width) + image_HWC.tobytes())


def _check_header(size: tuple[int, int], mode: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise SampleError(Reason.too_large, f"{width}x{height} pixels, the limit is {MAX_PIXELS}")
    if mode.startswith(_WIDE_MODES):
        raise SampleError(Reason.format, f"pixels of mode {mode}; convert them to 8 bits")

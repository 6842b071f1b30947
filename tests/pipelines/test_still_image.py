from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.quarantine import Reason, SampleError
from pipelines.still_image import MAX_PIXELS, StillImage, decode, pixel_digest
from pipelines.video import read_frames
from tests.pipelines.image_corpus import encoded, picture

PICTURE = picture(3, height=24, width=36)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def refusal(content: bytes) -> SampleError:
    with pytest.raises(SampleError) as caught:
        decode(content)
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_copies_without_loss_have_the_same_digest_whatever_their_format(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    image_HWC = decode(saved(Image.fromarray(PICTURE), kind, **options))
    np.testing.assert_array_equal(image_HWC, PICTURE)
    assert pixel_digest(image_HWC) == pixel_digest(PICTURE)


def test_the_digest_tells_pixels_and_their_shape() -> None:
    changed = PICTURE.copy()
    changed[0, 0, 0] += 1
    digests = {pixel_digest(image_HWC) for image_HWC in (PICTURE, changed, PICTURE.reshape(36, 24, 3))}
    assert len(digests) == 3


def test_a_jpeg_is_decoded_as_opencv_does() -> None:
    content = saved(Image.fromarray(PICTURE), "JPEG", quality=95)
    expected_HWC = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert np.abs(decode(content).astype(int) - expected_HWC).max() <= 3


def test_grey_becomes_three_equal_channels_and_transparency_is_left_out() -> None:
    grey_HW = PICTURE[..., 0]
    np.testing.assert_array_equal(decode(saved(Image.fromarray(grey_HW))), np.repeat(grey_HW[..., None], 3, -1))
    clear_HWC = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(decode(saved(Image.fromarray(clear_HWC))), PICTURE)


def test_a_picture_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to see it upright
    np.testing.assert_array_equal(decode(saved(Image.fromarray(PICTURE), exif=exif)), np.rot90(PICTURE, -1))


def test_the_format_is_told_by_content_and_not_by_name() -> None:
    np.testing.assert_array_equal(StillImage(encoded(PICTURE, ".bmp")).read([0])[0], PICTURE)


def test_what_is_no_whole_image_is_refused_with_its_reason() -> None:
    jpeg, png = saved(Image.fromarray(PICTURE), "JPEG"), encoded(PICTURE)
    assert refusal(b"").reason is Reason.empty
    assert refusal(b"<html>no such image</html>").reason is Reason.not_media
    assert refusal(jpeg[: len(jpeg) * 2 // 3]).reason is Reason.decode
    assert refusal(png[:-30]).reason is Reason.decode
    assert refusal(saved(Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 256))).reason is Reason.format


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header() -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    def claims(width: int, height: int) -> bytes:
        header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
        pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")

    assert refusal(claims(1 << 13, (1 << 13) + 1)).reason is Reason.too_large
    assert refusal(claims(1 << 20, 1 << 20)).reason is Reason.too_large
    assert refusal(claims(1 << 6, 1 << 6)).reason is Reason.decode, "small enough to be looked into"
    assert 1 << 26 == MAX_PIXELS


def test_an_image_is_a_video_of_one_frame() -> None:
    image = StillImage(encoded(PICTURE), pixel_digest(PICTURE))
    frames_THWC = read_frames(image, [0, 0], expect_frames=1)
    assert frames_THWC.flags.writeable and frames_THWC.dtype == np.uint8
    np.testing.assert_array_equal(frames_THWC, np.stack([PICTURE, PICTURE]))
    with pytest.raises(SampleError, match="short_read: frame 1 of a single image"):
        read_frames(image, [0, 1])


def test_other_pixels_than_in_the_catalog_are_refused() -> None:
    with pytest.raises(SampleError, match="changed: .* other pixels"):
        StillImage(encoded(PICTURE), pixel_digest(picture(4, height=24, width=36))).read([0])

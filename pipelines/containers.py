"""What a file is, by its first bytes, and whether its end is there. Names are not asked: an error page may be called
clip.mp4."""

from __future__ import annotations

from typing import BinaryIO

from pipelines.quarantine import Reason, SampleError

HEAD_BYTES = 64  # enough of a file for `check_head`

# Only these are handed to FFmpeg. It would also open playlists, which name other files and addresses to be read.
_VIDEO_MARKS = {
    0: (b"\x1a\x45\xdf\xa3", b"FLV\x01", b"OggS", b"\x00\x00\x01\xba", b"\x47", b"\x30\x26\xb2\x75"),
    4: (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"),
}
_IMAGE_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_IMAGE_BRANDS = (b"avif", b"heic", b"heix", b"mif1")
_SOUND_MARKS = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf1")


def check_head(head: bytes) -> None:
    """Raises SampleError unless `head`, the first bytes of a file, opens a video container.

    Reasons: empty, single_frame (still images), no_video (sound files), not_media (anything else).
    """
    if not head:
        raise SampleError(Reason.empty, "the file has no bytes")
    riff = head[8:12] if head.startswith(b"RIFF") else b""
    if head.startswith(_IMAGE_MARKS) or riff == b"WEBP" or (head[4:8] == b"ftyp" and head[8:12] in _IMAGE_BRANDS):
        raise SampleError(Reason.single_frame, f"a still image, it begins with {head[:12]!r}")
    if head.startswith(_SOUND_MARKS) or riff == b"WAVE":
        raise SampleError(Reason.no_video, f"a sound file, it begins with {head[:12]!r}")
    if riff != b"AVI " and not any(head.startswith(marks, start) for start, marks in _VIDEO_MARKS.items()):
        raise SampleError(Reason.not_media, f"no video container, it begins with {head[:40]!r}")


def check_end(file: BinaryIO, size: int) -> None:
    """Raises SampleError (short_read) if a part of an MP4, MOV or AVI file of `size` bytes goes beyond its end.

    A decoder does not tell: cut between two frames, such a file looks like a shorter one.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    start = 0
    if head.startswith(b"RIFF"):
        start = 8 + int.from_bytes(head[4:8], "little")
    elif head.startswith(_VIDEO_MARKS[4], 4):
        while start + 8 <= size:
            start += _box_length(file, start, size)
    if start > size:
        raise SampleError(Reason.short_read, f"{size} bytes of at least {start} are there")


def _box_length(file: BinaryIO, start: int, size: int) -> int:
    """Bytes of the box of an MP4 or MOV file that begins at `start` (ISO/IEC 14496-12, 4.2)."""
    file.seek(start)
    header = file.read(16)
    length = int.from_bytes(header[:4], "big")
    if length == 1:
        length = int.from_bytes(header[8:16], "big")
    return size - start if length < 8 else length  # 0: to the end of the file; smaller than its header: not a box

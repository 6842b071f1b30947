"""What is in a video file, found by decoding all of it. No header is trusted; a header only ever refuses."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from pipelines.containers import check_end, check_head
from pipelines.decoders import Source, decoder_errors, main_stream, open_video, read_head
from pipelines.quarantine import Reason, SampleError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

_MAX_FPS = 240  # with the limit on seconds it bounds what a header that lies can cost
_MISSING_SHARE = 0.1  # of the declared length, in containers that do not count their frames


@dataclass(frozen=True)
class VideoInfo:
    """What decoding found."""

    frames: int
    fps: float
    """Mean over the video."""
    width: int
    """Of the upright frame, pixels."""
    height: int
    seconds: float


@dataclass(frozen=True)
class Limits:
    """A file beyond these is refused (reason too_large), by its header before anything is decoded."""

    bytes: int = 1 << 30
    pixels: int = 4096 * 2304
    """Of one frame."""
    seconds: float = 4 * 3600.0


def probe(data: Source, *, limits: Limits | None = None) -> VideoInfo:
    """Decodes a file, given as bytes or a local path, on one thread.

    Raises SampleError: empty, not_media, missing, container, no_video, single_frame, short_read, timestamps, format,
    too_large, decode.
    """
    limits = limits or Limits()
    _check_file(data, limits)
    try:
        container = open_video(data)
    except decoder_errors() as error:
        raise SampleError(Reason.container, f"the container cannot be opened: {error}") from None
    with container:
        _check_end(data)
        stream = main_stream(container)
        if stream is None:
            raise SampleError(Reason.no_video, "there is no video stream")
        _check_header(container, stream, limits)
        found = _decode_all(container, stream, max_frames=int(limits.seconds * _MAX_FPS))
        _check_complete(found, container, stream)
        return _summary(found, stream)


@dataclass
class _Found:
    """What went by while decoding."""

    packets: int = 0
    frames: int = 0
    size: tuple[int, int] = (0, 0)
    rotation: int = 0
    pts: list[int | None] = field(default_factory=list)
    end: Fraction = Fraction(0)  # seconds, over all streams


def _check_file(data: Source, limits: Limits) -> None:
    check_head(read_head(data))
    if _size(data) > limits.bytes:
        raise SampleError(Reason.too_large, f"{_size(data)} bytes, the limit is {limits.bytes}")


def _check_end(data: Source) -> None:
    with io.BytesIO(data) if isinstance(data, bytes) else open(data, "rb") as file:
        check_end(file, _size(data))


def _size(data: Source) -> int:
    return len(data) if isinstance(data, bytes) else os.path.getsize(data)


def _check_header(container: InputContainer, stream: VideoStream, limits: Limits) -> None:
    if stream.width * stream.height > limits.pixels:
        raise SampleError(Reason.too_large, f"{stream.width}x{stream.height} pixels, the limit is {limits.pixels}")
    seconds = _declared_seconds(container)
    if seconds > limits.seconds:
        raise SampleError(Reason.too_large, f"{float(seconds):.0f} seconds, the limit is {limits.seconds:.0f}")


def _declared_seconds(container: InputContainer) -> Fraction:
    return Fraction(container.duration or 0, 1_000_000)


def _decode_all(container: InputContainer, stream: VideoStream, *, max_frames: int) -> _Found:
    # Every frame is decoded; only the smoothing of pixels that nobody looks at is left out, a quarter of the time.
    stream.codec_context.options = {"skip_loop_filter": "all"}
    found = _Found()
    try:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                found.end = max(found.end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index != stream.index:  # not packet.stream_index: 0 in the packet that flushes the decoder
                continue
            if packet.size and packet.is_corrupt:
                raise SampleError(Reason.short_read, f"the file ends within packet {found.packets}")
            found.packets += bool(packet.size)
            for frame in packet.decode():
                _add(found, frame)
                if found.frames > max_frames:
                    raise SampleError(Reason.too_large, f"over {max_frames} frames")
    except decoder_errors() as error:
        raise SampleError(Reason.decode, f"frame {found.frames} cannot be decoded: {error}") from None
    return found


def _add(found: _Found, frame: av.VideoFrame) -> None:
    size = (frame.width, frame.height)
    if not found.frames:
        found.size, found.rotation = size, frame.rotation
    elif size != found.size:
        raise SampleError(Reason.format, f"frame {found.frames} is {size}, the first one {found.size} pixels")
    if frame.is_corrupt:
        raise SampleError(Reason.decode, f"frame {found.frames} is damaged")
    found.frames += 1
    found.pts.append(frame.pts)


def _check_complete(found: _Found, container: InputContainer, stream: VideoStream) -> None:
    """The number of frames in a header is not asked: an edit list may rightly hide some of them."""
    declared = _declared_seconds(container)
    if not stream.frames and found.end < declared * (1 - _MISSING_SHARE):
        raise SampleError(Reason.short_read, f"{float(found.end):.2f} of {float(declared):.2f} seconds are there")
    if found.frames == 0:
        raise SampleError(Reason.decode, f"no frame in {found.packets} packets")
    if found.frames == 1:
        raise SampleError(Reason.single_frame, "the video is a single frame")


def _summary(found: _Found, stream: VideoStream) -> VideoInfo:
    width, height = found.size if found.rotation % 180 == 0 else found.size[::-1]
    fps = _mean_fps(found.pts, stream)
    return VideoInfo(found.frames, float(fps), width, height, float(found.frames / fps))


def _mean_fps(pts: list[int | None], stream: VideoStream) -> Fraction:
    """From the first to the last frame; from the header only where no frame has a time."""
    times = [time for time in pts if time is not None]
    if not times and stream.average_rate:
        return Fraction(stream.average_rate)
    if len(times) < len(pts):
        raise SampleError(Reason.timestamps, f"{len(pts) - len(times)} of {len(pts)} frames have no time")
    for index, (before, after) in enumerate(zip(times, times[1:], strict=False), start=1):
        if after <= before:
            raise SampleError(Reason.timestamps, f"frame {index} is not later than the one before it")
    return Fraction(len(times) - 1) / ((times[-1] - times[0]) * stream.time_base)

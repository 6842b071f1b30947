"""Three decoders behind one protocol: PyAV, decord and torchcodec. All give the same frames.

PyAV brings its own FFmpeg, exists on every platform and, read as `read_pyav` does, is as fast as torchcodec, which
needs the FFmpeg libraries of the system and brings torch into the process (380 MiB, seconds to import). decord exists
for x86-64 alone and numbers frames wrongly where the container hides some of them. A file on which a decoder's count
disagrees with the catalog is read in sequence: that is what counted it.

Imports are inside the functions, for a process loads the one decoder that it uses.
"""

from __future__ import annotations

import functools
import io
import os
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from pipelines.containers import HEAD_BYTES
from pipelines.quarantine import Reason, SampleError

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

Decoder = Literal["pyav", "torchcodec", "decord"]
Source = bytes | str | os.PathLike[str]


class FrameReader(Protocol):
    def __call__(self, source: Source, indices: list[int], *, expect_frames: int | None) -> np.ndarray:
        """Frames at ascending indices, uint8 [T, H, W, 3], RGB, upright. Raises one of decoder_errors() for a file
        that it cannot read or on whose number of frames it disagrees."""
        ...


def decoder_errors() -> tuple[type[Exception], ...]:
    """What the libraries raise on a bad file."""
    import av

    return RuntimeError, ValueError, LookupError, OSError, av.FFmpegError


def read_torchcodec(source: Source, indices: list[int], *, expect_frames: int | None) -> np.ndarray:
    """Exact seek: it scans the packets instead of trusting the header, at the same speed on clips of seconds."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(
        source if isinstance(source, bytes) else os.fspath(source),
        dimension_order="NHWC",
        num_ffmpeg_threads=1,
        seek_mode="exact",
    )
    _check_count(len(decoder), expect_frames)
    return decoder.get_frames_at(indices).data.numpy()


def read_decord(source: Source, indices: list[int], *, expect_frames: int | None) -> np.ndarray:
    import decord

    if read_head(source).startswith(b"RIFF"):
        raise ValueError("decord can crash on an incomplete AVI file")
    file = io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source)
    try:
        reader = decord.VideoReader(file, ctx=decord.cpu(0), num_threads=1)
        _check_count(len(reader), expect_frames)
        if reader.get_frame_timestamp(0)[0] < 0:
            raise ValueError("decord counts frames that the container hides")
        return reader.get_batch(indices).asnumpy()
    except decord.DECORDError as error:
        raise ValueError(str(error)) from None


def read_pyav(source: Source, indices: list[int], *, expect_frames: int | None) -> np.ndarray:
    """From the last key frame before the clip on, without the frames that neither the clip nor another frame needs.

    Between two frames of a clip lie stride - 1 others and before it up to a whole group of pictures; of those, H.264's
    pictures that nothing refers to are not decoded (in H.265 a picture of a higher temporal layer may refer to them).
    """
    from av.video.reformatter import VideoReformatter

    with open_video(source) as container:
        stream = _stream_of(container)
        context, reformatter = stream.codec_context, VideoReformatter()
        packets = [packet for packet in container.demux(stream) if packet.size]
        times = _display_order(packets)
        _check_count(len(times), expect_frames)
        wanted = {times[index]: place for place, index in enumerate(indices)}
        first = times[indices[0]]
        start = max(i for i, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= first)
        is_h264, images = context.name == "h264", {}
        for packet in [*packets[start:], None]:
            if is_h264:
                context.skip_frame = "DEFAULT" if packet is None or packet.pts in wanted else "NONREF"
            for frame in context.decode(packet):
                if frame.pts in wanted:
                    images[wanted[frame.pts]] = _upright_rgb(frame, reformatter)
            if len(images) == len(wanted):
                break
    _check_count(len(images), len(indices))
    return np.stack([images[place] for place in range(len(indices))])


def _display_order(packets: list[av.Packet]) -> list[int]:
    """Times at which frames are shown, ascending. Raises ValueError where packets do not tell."""
    times = [packet.pts for packet in packets if not packet.is_discard]  # what an edit list hides is decoded, not shown
    if None in times or len(set(times)) < len(times) or not any(packet.is_keyframe for packet in packets):
        raise ValueError("the packets do not say when their frames are shown")
    return sorted(times)


def read_in_sequence(source: Source, indices: list[int]) -> np.ndarray:
    """Decodes from the first frame to the last one wanted, by PyAV: slow, and right about any file."""
    from av.video.reformatter import VideoReformatter

    wanted, reformatter = set(indices), VideoReformatter()
    with open_video(source) as container:
        frames = enumerate(islice(container.decode(_stream_of(container)), indices[-1] + 1))
        images = [_upright_rgb(frame, reformatter) for index, frame in frames if index in wanted]
    _check_count(len(images), len(indices))
    return np.stack(images)


def _stream_of(container: av.container.InputContainer) -> av.video.stream.VideoStream:
    stream = main_stream(container)
    if stream is None:
        raise ValueError("there is no video stream")
    return stream


def _upright_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    # One reformatter for all frames: a frame by itself would set up the conversion anew.
    image_HWC = reformatter.reformat(frame, format="rgb24").to_ndarray()
    return np.rot90(image_HWC, k=frame.rotation // 90) if frame.rotation else image_HWC


def _check_count(found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise ValueError(f"{found} frames instead of {expected}")


_READERS: dict[str, FrameReader] = {"torchcodec": read_torchcodec, "decord": read_decord, "pyav": read_pyav}


@functools.cache
def frame_reader(decoder: Decoder) -> FrameReader:
    """The reader of a decoder. Raises RuntimeError if it does not load."""
    try:
        _load(decoder)
    except (ImportError, OSError, RuntimeError) as error:
        problem = str(error).strip().splitlines()[0]
        raise RuntimeError(
            f"decoder {decoder} does not load: {problem}; install it (torchcodec also needs FFmpeg's libraries) or use "
            "decoder=pyav"
        ) from error
    return _READERS[decoder]


def _load(name: str) -> None:
    if name == "torchcodec":
        import torchcodec.decoders  # noqa: F401
    elif name == "decord":
        import decord

        decord.logging.set_level(decord.logging.QUIET)
    elif name == "pyav":
        import av  # noqa: F401
    else:
        raise RuntimeError("there is no such decoder")


def read_head(source: Source) -> bytes:
    """The first bytes of a file, as many as tell what it is. Raises SampleError: missing."""
    if isinstance(source, bytes):
        return source[:HEAD_BYTES]
    try:
        with open(source, "rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise SampleError(Reason.missing, f"there is no file {os.fspath(source)}") from None


def open_video(source: Source) -> av.container.InputContainer:
    import av

    return av.open(io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source), metadata_errors="ignore")


def main_stream(container: av.container.InputContainer) -> av.video.stream.VideoStream | None:
    """The first stream of moving pictures; a cover picture is none."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_type = "NONE"
            return stream
    return None

"""Three decoders behind one protocol: torchcodec, decord and PyAV. All give the same frames.

torchcodec is the fastest but needs the FFmpeg libraries of the system and brings torch into the process (380 MiB).
decord exists for x86-64 alone and numbers frames wrongly where the container hides some of them, so such files are
left to PyAV, as is every file on which a decoder's count disagrees with the catalog. PyAV decodes from the first frame
on and is the arbiter.

Imports are inside the functions, for a process loads the one decoder that it uses.
"""

from __future__ import annotations

import functools
import io
import logging
import os
from itertools import islice
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from pipelines.containers import HEAD_BYTES
from pipelines.quarantine import Reason, SampleError

if TYPE_CHECKING:
    import av

Decoder = Literal["auto", "torchcodec", "decord", "pyav"]
Source = bytes | str | os.PathLike[str]


logger = logging.getLogger(__name__)


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
    """Decodes from the first frame to the last one wanted. It does not see `expect_frames`, for that takes decoding
    to the end."""
    wanted = set(indices)
    with open_video(source) as container:
        stream = main_stream(container)
        if stream is None:
            raise ValueError("there is no video stream")
        frames = enumerate(islice(container.decode(stream), indices[-1] + 1))
        images = [_upright_rgb(frame) for index, frame in frames if index in wanted]
    _check_count(len(images), len(indices))
    return np.stack(images)


def _upright_rgb(frame: av.VideoFrame) -> np.ndarray:
    image_HWC = frame.to_ndarray(format="rgb24")
    return np.rot90(image_HWC, k=frame.rotation // 90) if frame.rotation else image_HWC


def _check_count(found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise ValueError(f"{found} frames instead of {expected}")


_READERS: dict[str, FrameReader] = {"torchcodec": read_torchcodec, "decord": read_decord, "pyav": read_pyav}


@functools.cache
def frame_reader(decoder: Decoder) -> FrameReader:
    """The reader of a decoder; of the fastest that loads for "auto". Raises RuntimeError if the one named does not."""
    for name in ("torchcodec", "decord", "pyav") if decoder == "auto" else (decoder,):
        try:
            _load(name)
        except (ImportError, OSError, RuntimeError) as error:
            problem = f"decoder {name} does not load: {str(error).strip().splitlines()[0]}"
            logger.info("%s", problem)
        else:
            return _READERS[name]
    raise RuntimeError(f"{problem}; install it (torchcodec also needs FFmpeg's libraries) or use decoder=auto")


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

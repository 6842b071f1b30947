"""Frames out of video files and into them.

A file that cannot be read raises SampleError with a reason, the same one whichever decoder met the problem first.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from pipelines.containers import check_head
from pipelines.decoders import Decoder, Source, decoder_errors, frame_reader, read_head, read_in_sequence
from pipelines.frame_folder import FrameFolder
from pipelines.probe import probe
from pipelines.quarantine import Reason, SampleError
from pipelines.still_image import StillImage

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

Images = FrameFolder | StillImage
"""A video that is kept as images, or is a single one."""


def read_frames(
    data: Source | Images,
    indices: Sequence[int] | np.ndarray,
    *,
    expect_frames: int | None = None,
    decoder: Decoder = "pyav",
) -> np.ndarray:
    """Frames at `indices` (counted as decoded, any order, repeats allowed), uint8 [T, H, W, 3], RGB, upright.

    `expect_frames` is the decoded count in the catalog; another count means another or a damaged file.
    Raises SampleError with the reasons of `probe`, and changed; of images those of `FrameFolder.read` or
    `StillImage.read`.
    """
    asked_T = np.asarray(indices, dtype=np.int64)
    if asked_T.ndim != 1 or not asked_T.size or asked_T.min() < 0:
        raise ValueError(f"indices {indices} must be a list of at least one frame number, none below 0")
    if isinstance(data, Images):
        return data.read(asked_T)
    if np.all(asked_T[1:] > asked_T[:-1]):
        return _read_ascending(data, asked_T.tolist(), expect_frames, decoder)
    unique, position_T = np.unique(asked_T, return_inverse=True)
    return _read_ascending(data, unique.tolist(), expect_frames, decoder)[position_T]


def encode_h264(
    frames_THWC: Iterable[np.ndarray],
    target: str | os.PathLike[str] | BinaryIO,
    *,
    fps: float,
    crf: int = 20,
    gop: int = 250,
    b_frames: int = 0,
) -> None:
    """Writes uint8 RGB frames [T, H, W, 3] as H.264 in MP4, to a path or an open binary file that can seek.

    `gop` is the distance of key frames: small ones make reading from the middle cheap. Frames may come one by one.
    Raises ValueError for odd sizes, which 4:2:0 colour cannot hold, and for a size that changes.
    """
    import av

    file = target if hasattr(target, "write") else os.fspath(target)
    stream = None
    with av.open(file, mode="w", format="mp4") as container:
        for frame_HWC in frames_THWC:
            height, width, _ = frame_HWC.shape
            if stream is None:
                stream = _open_encoder(container, height, width, fps=fps, crf=crf, gop=gop, b_frames=b_frames)
            if (height, width) != (stream.height, stream.width):
                raise ValueError(f"frame of {height}x{width} in a video of {stream.height}x{stream.width}")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
            container.mux(stream.encode(frame))
        if stream is None:
            raise ValueError("there are no frames to encode")
        container.mux(stream.encode(None))


def _open_encoder(
    container: av.container.OutputContainer, height: int, width: int, *, fps: float, crf: int, gop: int, b_frames: int
) -> av.video.stream.VideoStream:
    if height % 2 or width % 2:
        raise ValueError(f"frames of {height}x{width} cannot be stored with 4:2:0 colour; give even sizes")
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    # One thread: the bytes must not depend on the number of cores.
    stream.thread_type = "NONE"
    # No macroblock tree: with it x264 gives other bytes for the same frames, about once in 400 clips.
    stream.options = {"crf": str(crf), "g": str(gop), "bf": str(b_frames), "threads": "1", "mbtree": "0"}
    return stream


def _read_ascending(data: Source, indices: list[int], expect_frames: int | None, decoder: Decoder) -> np.ndarray:
    check_head(read_head(data))
    read = frame_reader(decoder)
    try:
        frames_THWC = read(data, indices, expect_frames=expect_frames)
    except decoder_errors() as error:
        logger.debug("%s: %s; decoding from the start", read.__name__, error)
        frames_THWC = _read_slowly(data, indices, expect_frames)
    return _checked(frames_THWC, len(indices))


def _read_slowly(data: Source, indices: list[int], expect_frames: int | None) -> np.ndarray:
    """Names what is wrong with the file, or reads what another decoder cannot number."""
    frames = probe(data).frames
    if expect_frames is not None and frames != expect_frames:
        reason = Reason.short_read if frames < expect_frames else Reason.changed
        raise SampleError(reason, f"{frames} frames can be decoded, the catalog says {expect_frames}")
    if indices[-1] >= frames:
        raise SampleError(Reason.short_read, f"frame {indices[-1]} of a video of {frames}")
    try:
        return read_in_sequence(data, indices)
    except decoder_errors() as error:
        raise SampleError(Reason.decode, str(error)) from None


def _checked(frames_THWC: np.ndarray, count: int) -> np.ndarray:
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[3] != 3:
        raise SampleError(Reason.format, f"decoded to {frames_THWC.dtype} {frames_THWC.shape}, not to RGB bytes")
    if len(frames_THWC) != count:
        raise SampleError(Reason.decode, f"asked for {count} frames, got {len(frames_THWC)}")
    return frames_THWC

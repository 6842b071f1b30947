"""Good and bad video files, made on the spot."""

from __future__ import annotations

import io
import struct
import tempfile
from fractions import Fraction

import av
import numpy as np

from pipelines.video import encode_h264

ERROR_PAGE = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>'
ROTATE_90 = struct.pack(">9i", 0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30)


def moving_square(frames: int = 40, *, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """uint8 [T, H, W, 3]: a bright square over a coloured ramp; no two frames are alike."""
    rng = np.random.default_rng(seed)
    ramp_HW3 = np.stack(
        np.broadcast_arrays(np.linspace(20, 120, width)[None], np.linspace(30, 90, height)[:, None], 60.0), axis=-1
    )
    clip_THWC = np.repeat(ramp_HW3[None].astype(np.uint8), frames, axis=0)
    start, side = int(rng.integers(0, 16)), height // 4
    for t, frame_HWC in enumerate(clip_THWC):
        row, column = (start + t) % (height - side), (start + 2 * t) % (width - side)
        frame_HWC[row : row + side, column : column + side] = 200 + t % 50
    return clip_THWC


def video(frames: int = 40, *, fps: float = 25, gop: int = 250, b_frames: int = 2, seed: int = 0, **size: int) -> bytes:
    """H.264 in MP4, the index at the end."""
    file = io.BytesIO()
    encode_h264(moving_square(frames, seed=seed, **size), file, fps=fps, gop=gop, b_frames=b_frames)
    return file.getvalue()


def remux(data: bytes, container: str, *, times: list[int] | None = None, **options: str) -> bytes:
    """The same packets in another container. `times` are new presentation times, counted in frames; any order, for
    the decoding times are put far enough before them."""
    with tempfile.NamedTemporaryFile() as target:  # to move the index to the front it is opened a second time
        with av.open(io.BytesIO(data)) as source, av.open(target.name, "w", format=container, options=options) as sink:
            stream = sink.add_stream_from_template(source.streams.video[0])
            for index, packet in enumerate(p for p in source.demux(video=0) if p.size):
                packet.stream = stream
                if times:
                    packet.pts = times[index] * packet.duration
                    packet.dts = (index - 2 * len(times)) * packet.duration
                sink.mux(packet)
        return target.read()


def faststart(data: bytes) -> bytes:
    """The index at the front, as for streaming."""
    return remux(data, "mp4", movflags="faststart")


def avi(frames: int = 40) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for frame_HWC in moving_square(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    return target.getvalue()


def sound_only() -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for start in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def picture(codec: str = "png") -> bytes:
    context = av.CodecContext.create(codec, "w")
    context.height, context.width, context.pix_fmt = 64, 96, "rgb24"
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(moving_square(1)[0], format="rgb24")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def rotated(data: bytes) -> bytes:
    """The same pixels with the mark of a phone held upright: players show them turned by 90 degrees."""
    start = data.index(b"tkhd") + 4 + 40
    return data[:start] + ROTATE_90 + data[start + len(ROTATE_90) :]


def size_changes() -> bytes:
    """MPEG-TS, for it can be concatenated."""
    return remux(video(10), "mpegts") + remux(video(10, height=32, width=48), "mpegts")


def damaged(data: bytes, *, at: float = 0.5, length: int = 400) -> bytes:
    """A run of bytes overwritten in the middle."""
    start = int(len(data) * at)
    return data[:start] + b"\xff" * length + data[start + length :]

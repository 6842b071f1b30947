"""Files with sound, and with pictures, written for a test."""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np


def tone(seconds: float, hertz: float = 440.0, rate: int = 16_000, amplitude: float = 0.5) -> np.ndarray:
    """float32 [N]."""
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def wav(samples_N: np.ndarray, rate: int = 16_000, channels: int = 1) -> bytes:
    """16 bits; every channel the same."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.repeat((samples_N * 32767).astype("<i2"), channels).tobytes())
    return file.getvalue()


def write_movie(
    path: Path, samples_N: np.ndarray | None, *, frames: int = 10, fps: int = 25, rate: int = 16_000, delay: float = 0.0
) -> Path:
    """Pictures of one grey each and, with samples, sound that starts `delay` seconds after them. By its name an MP4
    with AAC or an AVI with PCM."""
    import av

    is_avi = path.suffix == ".avi"
    with av.open(path, mode="w") as container:
        video = container.add_stream("mpeg4" if is_avi else "libx264", rate=fps)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        sound = None if samples_N is None else container.add_stream("pcm_s16le" if is_avi else "aac", rate=rate)
        if sound is not None:
            sound.layout = "mono"
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * index % 256, np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if sound is not None:
            whole = av.AudioFrame.from_ndarray((samples_N[None] * 32767).astype(np.int16), format="s16", layout="mono")
            whole.sample_rate, whole.time_base, whole.pts = rate, Fraction(1, rate), round(delay * rate)
            resampler = av.AudioResampler(sound.format.name, "mono", rate, frame_size=sound.frame_size or 1024)
            for frame in [*resampler.resample(whole), *resampler.resample(None)]:
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path

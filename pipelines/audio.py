"""The sound of video files, and what it says at each of their frames.

Sound is mono float32 at 16 kHz, from the file's first frame of video on. Log-mel features are those that VGGish starts
from (Hershey et al., arXiv 1609.09430, and its released code): windows of 25 ms every 10 ms, magnitudes of a transform
of 512 samples, bands from 125 to 7,500 Hz that are triangles on HTK's mel scale, log(x + 0.01). A frame of video gets
their mean, and their standard deviation, over a window around its middle.

Deliberate difference from VGGish's code: samples are resampled by FFmpeg, not by resampy.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from pipelines.containers import check_end, check_head
from pipelines.decoders import Source, decoder_errors, main_stream, open_video, read_head
from pipelines.quarantine import Reason, SampleError

if TYPE_CHECKING:
    import av

SAMPLE_RATE = 16_000  # Hz
MOST_SECONDS = 3600.0
"""Longer sound is refused: its features would not fit the memory of a worker."""
REACH_SECONDS = 1.0
"""A frame farther from all sound than this has no features."""
NO_SOUND = "no_sound"
"""What is wrong with a video whose file has no sound: stands among the reasons of pipelines.quarantine."""

WINDOW, HOP, TRANSFORM = 400, 160, 512  # samples
_LOWEST, _HIGHEST, _LOG_OFFSET = 125.0, 7500.0, 0.01
TOLERANCE_SECONDS = 1e-3
"""A feature so little before a frame is of that frame: times are told in milliseconds."""
_WINDOWS_AT_ONCE = 1 << 12
_FRAMES_AT_ONCE = 1 << 10


@dataclass(frozen=True)
class LogMelConfig:
    """Log-mel features of the sound around a frame."""

    bands: int = 64
    """Bands of the mel scale."""
    window_seconds: float = 0.4
    """What a frame hears: half before its middle and half after, two syllables or so."""
    deviation: bool = True
    """Beside the mean of each band its standard deviation, which tells speech from a steady tone."""

    def __post_init__(self) -> None:
        if not 1 <= self.bands <= 80:
            raise ValueError(
                f"bands={self.bands} must lie in 1 to 80: more are narrower than the transform tells apart"
            )
        if not 0.025 <= self.window_seconds <= 60:
            raise ValueError(f"window_seconds={self.window_seconds} must lie in 0.025 to 60")

    @property
    def width(self) -> int:
        """Values of a frame."""
        return self.bands * (1 + self.deviation)


def read_sound(source: Source, *, most_seconds: float = MOST_SECONDS) -> np.ndarray | None:
    """All sound of a file (bytes or a local path), float32 [N] in -1 to 1, from the time on at which its first stream
    of video starts; None for a file without sound.

    Raises SampleError: empty, missing, single_frame, not_media, container, short_read, too_large, decode.
    """
    with _open(source) as container:
        if not container.streams.audio:
            return None
        stream, video = container.streams.audio[0], main_stream(container)
        try:
            start, samples_N = _decode(container, stream, most_seconds)
        except decoder_errors() as error:
            raise SampleError(Reason.decode, f"its sound cannot be decoded: {error}") from None
        ahead = round((start - _start_of(video)) * SAMPLE_RATE) if video is not None else 0
    if ahead > most_seconds * SAMPLE_RATE:
        raise SampleError(Reason.timestamps, f"its sound starts {ahead / SAMPLE_RATE:.0f} s after its pictures")
    return np.concatenate([np.zeros(ahead, np.float32), samples_N]) if ahead > 0 else samples_N[-ahead:]


def read_frame_times(source: Source) -> np.ndarray | None:
    """When each frame of a video file (bytes or a local path) is shown, float64 [N], seconds from the first; None for a
    file without video. Packets are counted, nothing is decoded. Raises SampleError as `read_sound`."""
    with _open(source) as container:
        stream = main_stream(container)
        if stream is None:
            return None
        try:
            packets = [(p.pts, p.is_discard) for p in container.demux(stream) if p.size]
        except decoder_errors() as error:
            raise SampleError(Reason.decode, str(error)) from None
        times = [pts for pts, is_hidden in packets if not is_hidden]
        if None in times or len(set(times)) < len(times):  # AVI does not tell of frames that are shown out of order
            if not stream.average_rate:
                raise SampleError(Reason.timestamps, "neither its frames nor its header tell when they are shown")
            return np.arange(len(times)) / float(stream.average_rate)
        return (np.sort(times) - min(times, default=0)) * float(stream.time_base)


def log_mel(samples_N: np.ndarray, bands: int) -> np.ndarray:
    """Log-mel spectrogram, float32 [M, bands]; window m is centred at `centre_of_window(m)`. Sound that is shorter than
    a window is filled up with silence."""
    samples_N = np.pad(samples_N, (0, max(0, WINDOW - len(samples_N))))
    windows_MW = np.lib.stride_tricks.sliding_window_view(samples_N, WINDOW)[::HOP]
    taper_W = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    matrix_FK, found = mel_matrix(bands).astype(np.float32), []
    for start in range(0, len(windows_MW), _WINDOWS_AT_ONCE):
        spectrum_MF = np.abs(np.fft.rfft(windows_MW[start : start + _WINDOWS_AT_ONCE] * taper_W, TRANSFORM))
        found.append(np.log(spectrum_MF.astype(np.float32) @ matrix_FK + np.float32(_LOG_OFFSET)))
    return np.concatenate(found)


def centre_of_window(window_M: np.ndarray) -> np.ndarray:
    """Seconds, float64 [M]."""
    return (window_M * HOP + WINDOW / 2) / SAMPLE_RATE


@cache
def mel_matrix(bands: int) -> np.ndarray:
    """Weights of the frequencies in each band, float64 [TRANSFORM / 2 + 1, bands]: triangles between neighbouring
    centres, which lie evenly on HTK's mel scale."""
    mel_F = _mel(np.linspace(0, SAMPLE_RATE / 2, TRANSFORM // 2 + 1))[:, None]
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), bands + 2)
    low_K, centre_K, high_K = edges[:-2], edges[1:-1], edges[2:]
    rising_FK, falling_FK = (mel_F - low_K) / (centre_K - low_K), (high_K - mel_F) / (high_K - centre_K)
    return np.maximum(0, np.minimum(rising_FK, falling_FK))


def frame_edges(time_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From when to when each frame is shown, two of float64 [N]; the last as long as the median of the others, a single
    one for no time."""
    length = float(np.median(np.diff(time_N))) if len(time_N) > 1 else 0.0
    return time_N, np.append(time_N[1:], time_N[-1:] + length)


def log_mel_at_frames(samples_N: np.ndarray, time_N: np.ndarray, config: LogMelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel features of the frames that are shown from these times on (seconds): which have some (positions, int64
    [M]), and those, float32 [M, D]."""
    mel_MK = log_mel(samples_N, config.bands)
    start_N, stop_N = frame_edges(time_N)
    middle_N = (start_N + stop_N) / 2
    edges = middle_N - config.window_seconds / 2, middle_N + config.window_seconds / 2
    return at_frames(centre_of_window(np.arange(len(mel_MK))), mel_MK, *edges, deviation=config.deviation)


def at_frames(
    time_M: np.ndarray,
    feature_MD: np.ndarray,
    start_N: np.ndarray,
    stop_N: np.ndarray,
    *,
    deviation: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """What features at other times say of frames: the mean of those from `start_N` up to `stop_N` (seconds), where
    there is none the nearest to the middle.

    Args:
        time_M: ascending.
        deviation: put the standard deviation behind the mean.

    Returns:
        frame_L (positions, int64, ascending) of the frames that are within REACH_SECONDS of a feature, and their
        features, float32 [L, D] or [L, 2 D].
    """
    middle_N = (start_N + stop_N) / 2
    if not len(time_M):
        return np.zeros(0, np.int64), np.zeros((0, feature_MD.shape[1] * (1 + deviation)), np.float32)
    after_N = np.clip(np.searchsorted(time_M, middle_N), 1, max(1, len(time_M) - 1))
    before_N, after_N = after_N - 1, np.minimum(after_N, len(time_M) - 1)
    is_after_N = np.abs(time_M[after_N] - middle_N) < np.abs(middle_N - time_M[before_N])
    nearest_N = np.where(is_after_N, after_N, before_N)
    first_N, last_N = (np.searchsorted(time_M, edge_N - TOLERANCE_SECONDS) for edge_N in (start_N, stop_N))
    is_empty_N = last_N <= first_N
    first_N, last_N = np.where(is_empty_N, nearest_N, first_N), np.where(is_empty_N, nearest_N + 1, last_N)
    frame_L = np.flatnonzero(np.abs(time_M[nearest_N] - middle_N) <= REACH_SECONDS)
    blocks = [frame_L[i : i + _FRAMES_AT_ONCE] for i in range(0, len(frame_L), _FRAMES_AT_ONCE)]
    found = [_statistics(feature_MD, first_N[block], last_N[block], deviation) for block in blocks]
    empty = np.zeros((0, feature_MD.shape[1] * (1 + deviation)), np.float32)
    return frame_L, np.concatenate([empty, *found])


def _statistics(feature_MD: np.ndarray, first_N: np.ndarray, last_N: np.ndarray, deviation: bool) -> np.ndarray:
    """Mean, and deviation, of the rows from first to last of each frame. Sums run in float64, over the rows that these
    frames need alone."""
    rows_MD = feature_MD[first_N.min() : last_N.max()].astype(np.float64)
    # Away from its mean a column loses no digits in the difference of its squares.
    offset_D = rows_MD.mean(0)
    count_N1 = (last_N - first_N)[:, None]

    def mean(of_MD: np.ndarray) -> np.ndarray:
        sum_MD = np.concatenate([np.zeros((1, of_MD.shape[1])), np.cumsum(of_MD, axis=0)])
        return (sum_MD[last_N - first_N.min()] - sum_MD[first_N - first_N.min()]) / count_N1

    mean_ND = mean(rows_MD - offset_D)
    if not deviation:
        return (mean_ND + offset_D).astype(np.float32)
    variance_ND = np.maximum(0, mean((rows_MD - offset_D) ** 2) - mean_ND**2)
    return np.concatenate([mean_ND + offset_D, np.sqrt(variance_ND)], axis=1).astype(np.float32)


def _mel(hertz: float | np.ndarray) -> float | np.ndarray:
    return 1127.0 * np.log(1 + hertz / 700.0)


def _open(source: Source) -> av.container.InputContainer:
    """Any container of sound or video. Raises SampleError."""
    try:
        check_head(read_head(source))
        is_video = True
    except SampleError as error:
        if error.reason != Reason.no_video:
            raise
        is_video = False
    if is_video:  # the headers of sound files that were written to a pipe do not know where these end
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            check_end(file, file.seek(0, os.SEEK_END))
    try:
        return open_video(source)
    except decoder_errors() as error:
        raise SampleError(Reason.container, f"the container cannot be opened: {error}") from None


def _decode(
    container: av.container.InputContainer, stream: av.audio.stream.AudioStream, most_seconds: float
) -> tuple[float, np.ndarray]:
    """When the sound starts (seconds) and its samples."""
    import av

    resampler, found, count, start = av.AudioResampler("fltp", rate=SAMPLE_RATE), [], 0, 0.0

    def keep(frames: list[av.AudioFrame]) -> None:
        nonlocal count
        for frame in frames:
            samples_N = frame.to_ndarray().mean(0)  # FFmpeg's own mixture of two equal channels is louder than either
            count += len(samples_N)
            if count > most_seconds * SAMPLE_RATE:
                raise SampleError(Reason.too_large, f"more than {most_seconds:.0f} s of sound")
            found.append(samples_N)

    for index, frame in enumerate(container.decode(stream)):
        if index == 0 and frame.time is not None:
            start = frame.time
        keep(resampler.resample(frame))
    if found:
        keep(resampler.resample(None))
    return start, np.concatenate([np.zeros(0, np.float32), *found])


def _start_of(stream: av.video.stream.VideoStream) -> float:
    return float((stream.start_time or 0) * stream.time_base)

"""The whole input stream on this machine, and what of its CPU time is Ray's.

Every micro-batch tells how much CPU time its decode process spent reading it; the rest of all that the processes spent
is Ray's: scheduling, moving blocks, its daemons (and the consumer's loop; what Ray's threads do in a decode process
while it reads counts as reading). Both come from the same seconds of one run, for rates of a shared
machine differ by more from minute to minute than what is asked for. The daemons and Ray Data's polling cost the same
whether little or much is read; what they cost is measured while the consumer pauses, and is told apart from what each
clip costs, for the one is divided by the clips that a machine decodes in a second and the other is not.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.batch_reader import MicroBatchReader
from pipelines.catalog import Catalog
from pipelines.decoders import Decoder
from pipelines.sample import SampleConfig
from pipelines.stream import SampleStream
from pipelines.stream import batches as read_batches
from pipelines.video_stream import VideoStreamConfig, eligible_videos

# Not counted: when nothing is left to start, Ray ends decode actors, and their CPU time goes with them.
_LAST_BATCHES = 48
_SETTLING_SECONDS, _PAUSE_SECONDS = 20.0, 10.0  # until the stream is full and stands still, and what is measured of it


def batches_needed(batches: int) -> int:
    """Micro-batches of a stream of which `batches` are counted: the warm-up lasts half as many before them."""
    return batches // 2 + batches + _LAST_BATCHES


@dataclass(frozen=True)
class OneWorker:
    """The plan of a single consumer."""

    micro_batch: int
    workers: int = 1
    accumulation: int = 1
    deterministic: bool = False


class TimedReader:
    """Reads micro-batches and adds to each the CPU time its rows took, as `read_seconds_B`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._reader = MicroBatchReader(*args, **options)

    def read(self, positions_B: np.ndarray) -> dict[str, Any]:
        # Of the process and not of the thread, for decord decodes in one of its own.
        start = time.process_time()
        batch = self._reader.read(positions_B)
        seconds = time.process_time() - start
        return {**batch, "read_seconds_B": np.full(len(positions_B), seconds / len(positions_B))}


def stream_rate(
    catalog: Catalog, *, decoder: Decoder, actors: int, micro_batch: int, batches: int, is_empty: bool = False
) -> dict[str, float]:
    """The stream into one consumer that drops its batches. Ray must be up and private to this process. An
    empty stream is padding but for one row, so nearly all it does is what Ray costs.

    Returns clips_per_cpu_second over all processes, clips_per_second by the clock, first_batch_seconds, the CPU
    milliseconds that Ray adds to a clip as ray_ms_per_clip, and what that consists of: ray_ms_per_second while nothing
    is read, and ray_ms_per_further_clip.
    """
    stream = _timed_stream(catalog, SampleConfig(decoder=decoder), actors)
    consumed = np.full(stream.num_samples, is_empty)
    consumed[0] = False
    begin = time.monotonic()
    dataset = stream.dataset(0, consumed, OneWorker(micro_batch, accumulation=batches_needed(batches)))
    (iterator,) = dataset.streaming_split(1, equal=False)
    first, read_seconds = 0.0, 0.0
    marks: list[tuple[float, dict[int, float]]] = []
    for number, batch in enumerate(read_batches(iterator), start=1):
        if any(batch["rejected_B"]):
            raise RuntimeError(f"a clip was rejected: {next(filter(None, batch['rejected_B']))}")
        first = first or time.monotonic() - begin
        if len(marks) == 1:
            read_seconds += float(batch["read_seconds_B"].sum())
        if number == batches // 2:
            marks.append(_mark())
        elif number == batches // 2 + batches:
            marks.append(_mark())
            for seconds in (_SETTLING_SECONDS, _PAUSE_SECONDS):
                time.sleep(seconds)
                marks.append(_mark())
    start, end, settled, paused = marks
    clips = batches * micro_batch
    (clock, all_seconds), (pause, paused_seconds) = _spent(start, end), _spent(settled, paused)
    ray_seconds, standing = all_seconds - read_seconds, paused_seconds / pause
    return {
        "clips_per_cpu_second": clips / all_seconds,
        "clips_per_second": clips / clock,
        "first_batch_seconds": first,
        "ray_ms_per_clip": 1e3 * ray_seconds / clips,
        "ray_ms_per_second": 1e3 * standing,
        "ray_ms_per_further_clip": 1e3 * (ray_seconds - standing * clock) / clips,
    }


def _mark() -> tuple[float, dict[int, float]]:
    return time.monotonic(), cpu_seconds()


def _spent(start: tuple[float, dict[int, float]], end: tuple[float, dict[int, float]]) -> tuple[float, float]:
    """Seconds by the clock and CPU seconds of all processes between two marks."""
    return end[0] - start[0], sum(seconds - start[1].get(pid, 0) for pid, seconds in end[1].items())


def _timed_stream(catalog: Catalog, sample: SampleConfig, actors: int) -> SampleStream:
    config = VideoStreamConfig(
        catalog=catalog.root, sample=sample, min_actors=actors, max_actors=actors, cpus_per_actor=0.5
    )
    return SampleStream(
        config,
        eligible_videos(catalog, config.split, sample),
        num_ids=catalog.table.num_rows,
        seed=sample.seed,
        make_reader=partial(TimedReader, storage=catalog.storage, config=sample, fetch_threads=config.fetch_threads),
        sample_bytes=math.prod(sample.clip_shape),
        fingerprint=catalog.fingerprint,
    )


def cpu_seconds() -> dict[int, float]:
    """CPU seconds of this process and of each one below it, the daemons of Ray included, by process id."""
    import psutil

    seconds = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
    return seconds

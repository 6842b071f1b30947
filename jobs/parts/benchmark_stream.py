"""The whole input stream on this machine, and what of its CPU time is Ray's.

Every micro-batch tells how much CPU time its decode process spent reading it; the rest of all that the processes spent
is Ray's: scheduling, moving blocks, its daemons (and the consumer's loop; what Ray's threads do in a decode process
while it reads counts as reading). Both come from the same seconds of one run, for rates of a shared
machine differ by more from minute to minute than what is asked for. The daemons cost the same whether little or much
is read, so Ray's share of a clip is smallest in the empty stream, where clips are many a second.
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
_LAST_BATCHES = 16


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

    Returns clips_per_cpu_second over all processes, clips_per_second by the clock, first_batch_seconds, and the CPU
    milliseconds that Ray adds to a clip as ray_ms_per_clip.
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
        if number in (batches // 2, batches // 2 + batches):
            marks.append((time.monotonic(), cpu_seconds()))
    (start, start_cpu), (end, end_cpu) = marks
    clips = batches * micro_batch
    all_seconds = sum(end_cpu[pid] - start_cpu.get(pid, 0) for pid in end_cpu)
    return {
        "clips_per_cpu_second": clips / all_seconds,
        "clips_per_second": clips / (end - start),
        "first_batch_seconds": first,
        "ray_ms_per_clip": 1e3 * (all_seconds - read_seconds) / clips,
    }


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

"""The whole input stream on this machine, and the same reading in bare processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from dataclasses import dataclass

import numpy as np

from pipelines.batch_reader import MicroBatchReader
from pipelines.catalog import Catalog
from pipelines.decoders import Decoder
from pipelines.sample import SampleConfig
from pipelines.stream import batches as read_batches
from pipelines.video_stream import VideoStreamConfig, eligible_videos, stream_of

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


def stream_rate(
    catalog: Catalog, *, decoder: Decoder, actors: int, micro_batch: int, batches: int, is_empty: bool = False
) -> dict[str, float]:
    """The stream into one consumer that drops its batches. Ray must be up and private to this process. An
    empty stream is padding but for one row, so nearly all it does is what Ray costs.

    Returns clips_per_cpu_second over all processes, clips_per_second by the clock and first_batch_seconds.
    """
    config = VideoStreamConfig(
        catalog=catalog.root,
        sample=SampleConfig(decoder=decoder),
        min_actors=actors,
        max_actors=actors,
        cpus_per_actor=0.5,
    )
    stream = stream_of(catalog, config)
    consumed = np.full(stream.num_samples, is_empty)
    consumed[0] = False
    begin = time.monotonic()
    dataset = stream.dataset(0, consumed, OneWorker(micro_batch, accumulation=batches_needed(batches)))
    (iterator,) = dataset.streaming_split(1, equal=False)
    first = 0.0
    marks: list[tuple[float, dict[int, float]]] = []
    for number, batch in enumerate(read_batches(iterator), start=1):
        if any(batch["rejected_B"]):
            raise RuntimeError(f"a clip was rejected: {next(filter(None, batch['rejected_B']))}")
        first = first or time.monotonic() - begin
        if number in (batches // 2, batches // 2 + batches):
            marks.append((time.monotonic(), cpu_seconds()))
    (start, start_cpu), (end, end_cpu) = marks
    return {
        "clips_per_cpu_second": batches * micro_batch / sum(end_cpu[pid] - start_cpu.get(pid, 0) for pid in end_cpu),
        "clips_per_second": batches * micro_batch / (end - start),
        "first_batch_seconds": first,
    }


def bare_rate(catalog: Catalog, *, decoder: Decoder, actors: int, micro_batch: int, batches: int) -> float:
    """Clips per CPU-second of as many plain processes as the stream has decode actors, at the same time, each reading
    its share of the same micro-batches after one that warms it up: the stream without Ray."""
    share = max(1, batches // actors)
    tasks = [(catalog, decoder, micro_batch, rank * (share + 1), share) for rank in range(actors)]
    with multiprocessing.get_context("spawn").Pool(actors) as pool:
        seconds = pool.starmap(_read_share, tasks, chunksize=1)
    return share * actors * micro_batch / sum(seconds)


def _read_share(catalog: Catalog, decoder: Decoder, micro_batch: int, first: int, share: int) -> float:
    sample = SampleConfig(decoder=decoder)
    videos = eligible_videos(catalog, "train", sample.clip)
    reader = MicroBatchReader(videos, catalog.storage, sample, epoch=0, fetch_threads=1)
    start = 0.0
    for number in range(share + 1):
        reader.read(np.arange(micro_batch) + (first + number) * micro_batch)
        start = start or time.process_time()
    return time.process_time() - start


def cpu_seconds() -> dict[int, float]:
    """CPU seconds of this process and of each one below it, the daemons of Ray included, by process id."""
    import psutil

    seconds = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
    return seconds

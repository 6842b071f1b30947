"""How fast clips are read: decoders alone, the per-sample function, the whole Ray Data stream.

The unit is clips per CPU-second, the CPU time of every process that takes part, for a training step waits for CPUs and
not for wall clocks. Rates are set against the reference implementation's reader (decord, PIL, multi-scale crop, float
normalisation, mask): measured once, it read 34 clips per CPU-second where decord alone read 59.7, so on any machine it
is taken to run at 34 / 59.7 of decord's rate.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from jobs.parts.benchmark_clips import FPS, FRAMES, cut_clips, repeated_catalog
from jobs.parts.benchmark_stream import batches_needed, stream_rate
from pipelines.clips import ClipConfig, frame_indices
from pipelines.decoders import Decoder
from pipelines.randomness import Draw, generator
from pipelines.sample import SampleConfig, Video, read_sample

logger = logging.getLogger(__name__)

REFERENCE_SHARE = 34 / 59.7
_DECODERS: dict[Decoder, str] = {"decord": "decord", "torchcodec": "torchcodec.decoders", "pyav": "av"}
"""Name and module to import."""
_OBJECT_STORE_BYTES = 2**30  # small, so that all its pages have been touched by the time the measuring begins
_EMPTY_BATCHES = 10  # times as many, for they take a tenth of the time


def measure(videos: tuple[Path, ...], *, samples: int, batches: int, micro_batch: int, actors: int) -> dict[str, Any]:
    """Everything, in a temporary folder and a private Ray; prints a table to stderr and returns the figures.

    Raises ValueError when the videos are too short to cut test files from.
    """
    from cluster.runtime import ray_session

    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        clips = cut_clips(videos, Path(folder))
        rates = per_sample_rates(clips, samples=samples, passes=3)
        result: dict[str, Any] = {
            "files": len(clips),
            "bytes_per_file": int(np.mean([c.stat().st_size for c in clips])),
        }
        streams: dict[str, dict[str, float]] = {}
        if batches:
            catalog = repeated_catalog(clips, Path(folder) / "videos", batches_needed(batches) * micro_batch)
            settings = {"actors": actors, "micro_batch": micro_batch, "batches": batches}
            with ray_session(object_store_bytes=_OBJECT_STORE_BYTES):
                for decoder in usable_decoders():
                    streams[decoder] = stream_rate(catalog, decoder=decoder, **settings)
                settings["batches"] *= _EMPTY_BATCHES
                streams["empty"] = stream_rate(catalog, decoder="pyav", is_empty=True, **settings)
    result |= figures(rates, streams)
    _print_table(result)
    return result


def figures(rates: dict[str, float], streams: dict[str, dict[str, float]]) -> dict[str, float]:
    """Rates and ratios to the reference reader, and what Ray adds to a clip as a share of that reader's time."""
    reference = REFERENCE_SHARE * rates["raw_decord"]
    result = {"reference": reference} | rates
    result |= {f"{name}_ratio": rate / reference for name, rate in rates.items()}
    for name, stream in streams.items():
        result |= {f"stream_{name}_{key}": value for key, value in stream.items()}
        result[f"stream_{name}_ratio"] = stream["clips_per_cpu_second"] / reference
        result[f"stream_{name}_ray_share"] = 1e-3 * stream["ray_ms_per_clip"] * reference
    return {name: round(value, 3) for name, value in result.items()}


def _print_table(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Reading a clip of 16 frames")
    for heading in ("", "clips per CPU-second", "against the reference reader"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("reference reader (derived)", f"{result['reference']:.1f}", "1.00")
    for kind in ("raw", "sample"):
        for decoder in _DECODERS:
            if (name := f"{kind}_{decoder}") in result:
                table.add_row(name.replace("_", " "), f"{result[name]:.1f}", f"{result[f'{name}_ratio']:.2f}")
    for name in (*_DECODERS, "empty"):
        if (rate := result.get(f"stream_{name}_clips_per_cpu_second")) is not None:
            table.add_row(f"stream {name}", f"{rate:.1f}", f"{result[f'stream_{name}_ratio']:.2f}")
    console = Console(stderr=True)
    console.print(table)
    if streams := [name for name in (*_DECODERS, "empty") if f"stream_{name}_ratio" in result]:
        console.print(_ray_table(result, streams))


def _ray_table(result: dict[str, Any], streams: list[str]) -> Any:
    from rich.table import Table

    table = Table(title="What Ray adds, CPU ms")
    columns = {
        "for each clip": "ray_ms_per_further_clip",
        "a second, reading or not": "ray_ms_per_second",
        "together, per clip": "ray_ms_per_clip",
        "of the reference reader's clip": "ray_share",
    }
    for heading in ("", *columns):
        table.add_column(heading, justify="right" if heading else "left")
    for name in streams:
        figures_of = [result[f"stream_{name}_{key}"] for key in columns.values()]
        table.add_row(f"stream {name}", *(f"{value:.2f}" for value in figures_of[:-1]), f"{figures_of[-1]:.1%}")
    return table


def per_sample_rates(clips: list[Path], *, samples: int, passes: int) -> dict[str, float]:
    """Clips per CPU-second, one thread: raw_NAME is decoding alone, sample_NAME the per-sample function.

    All variants read the same clips in turn; each clip counts with its fastest pass, so that other programs on the
    machine disturb little and all variants alike.
    """
    contents = [path.read_bytes() for path in clips]
    variants: dict[str, Callable[[int], Any]] = {}
    for name in usable_decoders():
        variants[f"raw_{name}"] = _raw(name, contents)
        variants[f"sample_{name}"] = _sample(name, contents)
    best = {name: np.full(samples, np.inf) for name in variants}
    for work in variants.values():
        work(0)
    for index in range(samples):
        for _ in range(passes):
            for name, work in variants.items():
                start = time.process_time()
                work(index)
                best[name][index] = min(best[name][index], time.process_time() - start)
    return {name: samples / float(seconds.sum()) for name, seconds in best.items()}


def usable_decoders() -> list[Decoder]:
    """The decoders that load here, decord first."""
    found = []
    for name, module in _DECODERS.items():
        try:
            __import__(module)
        except (ImportError, OSError, RuntimeError) as error:
            logger.warning("%s is left out: %s", name, str(error).splitlines()[0])
        else:
            found.append(name)
    return found


def _raw(decoder: str, contents: list[bytes]) -> Callable[[int], Any]:
    """The library as its manual shows it, on one thread, with the frames of the training clip."""
    decode = {"decord": _decode_decord, "torchcodec": _decode_torchcodec, "pyav": _decode_pyav}[decoder]

    def work(index: int) -> Any:
        rng = generator(Draw.CLIP, seed=0, sample_id=index)
        return decode(contents[index % len(contents)], frame_indices(FRAMES, FPS, ClipConfig(), rng).tolist())

    return work


def _decode_decord(content: bytes, indices: list[int]) -> np.ndarray:
    import decord

    return decord.VideoReader(io.BytesIO(content), ctx=decord.cpu(0), num_threads=1).get_batch(indices).asnumpy()


def _decode_torchcodec(content: bytes, indices: list[int]) -> Any:
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(content, num_ffmpeg_threads=1, seek_mode="exact").get_frames_at(indices).data


def _decode_pyav(content: bytes, indices: list[int]) -> np.ndarray:
    import av

    wanted = set(indices)
    with av.open(io.BytesIO(content)) as container:
        container.streams.video[0].thread_type = "NONE"
        frames = enumerate(islice(container.decode(video=0), indices[-1] + 1))
        return np.stack([frame.to_ndarray(format="rgb24") for index, frame in frames if index in wanted])


def _sample(decoder: str, contents: list[bytes]) -> Callable[[int], Any]:
    config = SampleConfig(decoder=decoder)
    clip_THWC, visible_RV = np.empty(config.clip_shape, np.uint8), np.empty(config.visible_shape, np.int32)

    def work(index: int) -> None:
        video = Video(index, "", 0, "", FRAMES, FPS)
        read_sample(video, contents[index % len(contents)], config, epoch=0, out_THWC=clip_THWC, out_RV=visible_RV)

    return work

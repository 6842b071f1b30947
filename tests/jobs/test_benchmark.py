"""The benchmark of the input pipeline: files of the right shape, and figures that follow from the rates."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from jobs.parts import benchmark_stream
from jobs.parts.benchmark_clips import FPS, FRAMES, SIZE, cut_clips, repeated_catalog
from jobs.parts.benchmark_input import figures, per_sample_rates
from jobs.parts.benchmark_stream import TimedReader, stream_rate
from pipelines.order import PADDING
from pipelines.probe import probe
from pipelines.sample import SampleConfig
from pipelines.video_stream import eligible_videos
from tests.pipelines import media

JOB = Path(__file__).parents[2] / "jobs" / "benchmark.py"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    return cut_clips((), tmp_path_factory.mktemp("clips"), most=1)


def test_test_files_have_the_shape_of_voxceleb2(clips):
    info = probe(clips[0].read_bytes())
    assert (info.frames, info.fps, info.height, info.width) == (FRAMES, FPS, SIZE, SIZE)
    assert 50_000 < clips[0].stat().st_size < 500_000, "about as many bits as a talking face"


def test_a_video_too_short_to_cut_is_refused(tmp_path):
    (tmp_path / "short.mp4").write_bytes(media.video(20))
    with pytest.raises(ValueError, match=f"fewer than {FRAMES} frames"):
        cut_clips((tmp_path / "short.mp4",), tmp_path)


def test_the_repeated_catalog_is_read_and_every_row_tells_its_cpu_time(clips, tmp_path):
    catalog = repeated_catalog(clips, tmp_path / "videos", 8)
    assert catalog.table.num_rows == 8 and catalog.counts() == {"ok": 8}
    sample = SampleConfig()
    videos = eligible_videos(catalog, "train", sample)
    reader = TimedReader(videos, storage=catalog.storage, config=sample, fetch_threads=1, epoch=0)
    start = time.process_time()
    read, padding = (reader.read(np.array(positions)) for positions in ([0, 7], [PADDING, PADDING]))
    spent = time.process_time() - start
    assert read["sample_id_B"].tolist() == [0, 7] and not any(read["rejected_B"])
    assert 0 < padding["read_seconds_B"].sum() < read["read_seconds_B"].sum() < spent


def test_what_reading_did_not_take_of_the_counted_seconds_is_rays_and_what_a_pause_costs_is_told_apart(monkeypatch):
    """Of 2 warm-up and 4 counted batches of 2 clips, each read in .5 s; in 8 s all processes together spend 12 s, of
    which 2 are what they spend in 8 s of a pause."""
    batch = {"rejected_B": ["", ""], "read_seconds_B": np.array([0.25, 0.25])}
    marks = [(2.0, {1: 2.0, 2: 3.0}), (10.0, {1: 10.0, 2: 7.0}), (15.0, {1: 20.0}), (19.0, {1: 21.0})]
    monkeypatch.setattr(benchmark_stream, "_timed_stream", lambda *_: MagicMock(num_samples=4))
    monkeypatch.setattr(MagicMock, "streaming_split", lambda *_, **__: (None,), raising=False)
    monkeypatch.setattr(benchmark_stream, "read_batches", lambda _: iter([batch] * 9))
    monkeypatch.setattr(benchmark_stream, "_mark", lambda: marks.pop(0))
    monkeypatch.setattr(benchmark_stream.time, "sleep", lambda _: None)
    found = stream_rate(None, decoder="pyav", actors=1, micro_batch=2, batches=4)
    assert found["clips_per_cpu_second"] == pytest.approx(4 * 2 / 12) and found["clips_per_second"] == 1
    assert found["ray_ms_per_clip"] == pytest.approx(1e3 * (12 - 4 * 0.5) / 8)
    assert found["ray_ms_per_second"] == pytest.approx(1e3 / 4)
    assert found["ray_ms_per_further_clip"] == pytest.approx(1e3 * (12 - 4 * 0.5 - 2) / 8)
    assert not marks


def test_every_decoder_that_loads_is_measured_alone_and_in_the_per_sample_function(clips):
    pytest.importorskip("decord")
    rates = per_sample_rates(clips, samples=2, passes=1)
    assert {"raw_decord", "sample_decord", "raw_pyav", "sample_pyav"} <= set(rates) and all(
        rate > 0 for rate in rates.values()
    )


def test_figures_are_set_against_the_reference_reader():
    stream = {"clips_per_cpu_second": 17.0, "ray_ms_per_clip": 0.75}
    found = figures({"raw_decord": 59.7}, {"decord": stream})
    assert found["reference"] == 34.0
    assert found["raw_decord_ratio"] == pytest.approx(59.7 / 34, abs=1e-3)
    assert found["stream_decord_ratio"] == 0.5 and found["stream_decord_ray_ms_per_clip"] == 0.75
    assert found["stream_decord_ray_share"] == pytest.approx(0.75e-3 * 34, abs=1e-3)


@pytest.mark.parametrize("arguments", [["--batches", "1"], ["--samples", "0"], ["--clip", "nowhere.mp4"]])
def test_options_that_cannot_work_are_refused_by_name(arguments):
    run = subprocess.run([sys.executable, str(JOB), "input", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode != 0 and arguments[0].strip("-") in run.stderr

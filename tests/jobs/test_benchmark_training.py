"""The benchmark of checkpoints and bookkeeping: a run from the command line, and shares that follow from times."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.parts.benchmark_training import Stopwatch, figures

JOB = Path(__file__).parents[2] / "jobs" / "benchmark.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), "training", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def test_the_last_line_holds_the_cost_at_the_recipes_interval_and_nothing_is_left_behind(tmp_path: Path) -> None:
    finished = run("--recipe", "nano", "--batch", "1", "--steps", "2", "--saves", "2", "--directory", str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout.splitlines()[-1])
    assert (result["recipe"], result["batch"], result["steps"], result["saves"]) == ("nano", 1, 2, 2)
    assert result["every_steps"] == 120 and result["bitmap_bytes"] == 136_502
    assert result["checkpoint_megabytes"] > 12 * result["parameters"] / 1e6, "weights and two moments, float32"
    parts = [result[f"{name}_ms_per_step"] for name in ("mark", "reduce", "rows", "checkpoint")]
    assert all(part > 0 for part in parts)
    assert result["share"] == pytest.approx(sum(parts) / 1e3 / result["step_seconds"], rel=1e-2)
    assert not list(tmp_path.iterdir())


def test_saves_are_spread_over_the_recipes_interval_and_set_against_the_step_without_its_marks() -> None:
    seconds = {"step": [1.1, 1.1, 9.0, 1.1], "mark": [0.1] * 4, "rows": [0.0, 0.2] * 2}
    found = figures(seconds | {"reduce": [0.5] * 2, "checkpoint": [2.0, 4.0]}, every_steps=100)
    assert (found["steps"], found["saves"], found["step_seconds"]) == (4, 2, 1.0)
    assert (found["save_seconds"], found["longest_save_seconds"]) == (3.0, 4.0)
    assert found["mark_share"] == found["rows_share"] == pytest.approx(0.1)
    assert (found["reduce_share"], found["checkpoint_share"]) == (pytest.approx(0.005), pytest.approx(0.03))
    assert found["share"] == pytest.approx(0.235)


def test_a_watched_method_is_timed_and_does_what_it_did() -> None:
    class Clock:
        def sleep(self, seconds: float) -> float:
            time.sleep(seconds)
            return seconds

    stopwatch, clock = Stopwatch(), Clock()
    stopwatch.watch(clock, "sleep", name="slept")
    assert [clock.sleep(0.05), clock.sleep(0.0)] == [0.05, 0.0]
    assert stopwatch.seconds["slept"][0] >= 0.05 > stopwatch.seconds["slept"][1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("--recipe", "nanno"), "nanno"), (("--batch", "0"), "batch"), (("--steps", "10"), "multiple of saves=3")],
)
def test_options_that_cannot_work_are_refused_by_name(arguments: tuple[str, ...], named: str) -> None:
    finished = run(*arguments)
    assert finished.returncode != 0 and named in finished.stderr

"""The benchmark of checkpoints and bookkeeping: a run from the command line, and shares that follow from times."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.parts.benchmark_training import Stopwatch, figures, measure

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
    parts = [result[f"{name}_ms_per_step"] for name in ("mark", "reduce", "rows", "save")]
    assert all(part > 0 for part in parts)
    assert 0 < result["held_up_seconds"] and 0 < result["write_seconds"]
    assert result["share"] == pytest.approx(sum(parts) / 1e3 / result["step_seconds"], rel=1e-2)
    assert not list(tmp_path.iterdir())


def test_saves_are_spread_over_the_recipes_interval_and_set_against_the_step_without_its_marks() -> None:
    seconds = {"step": [1.1, 1.1, 9.0, 1.1], "mark": [0.1] * 4, "rows": [0.0, 0.2] * 2, "reduce": [0.5] * 2}
    seconds |= {"checkpoint": [2.0, 10.0], "wait": [0.0, 6.0, 8.0], "write": [7.0, 9.0]}
    found = figures(seconds, every_steps=100)
    assert (found["steps"], found["saves"], found["step_seconds"]) == (4, 2, 1.0)
    assert (found["held_up_seconds"], found["write_seconds"]) == (3.0, 8.0), "the save before is written in 100 steps"
    assert found["mark_share"] == found["rows_share"] == pytest.approx(0.1)
    assert (found["reduce_share"], found["save_share"]) == (pytest.approx(0.005), pytest.approx(0.03))
    assert found["share"] == pytest.approx(0.235) and found["share_at_most"] == pytest.approx(0.315)


def test_a_save_that_takes_longer_than_the_recipes_interval_is_waited_for() -> None:
    seconds = {"step": [1.0] * 4, "mark": [0.0] * 4, "rows": [0.0] * 4, "reduce": [0.0]}
    found = figures(seconds | {"checkpoint": [3.0], "wait": [0.0, 9.0], "write": [14.0]}, every_steps=10)
    assert found["save_share"] == found["share"] == pytest.approx(0.7), "3 s of copying, 4 s of waiting in 10 steps"
    assert found["share_at_most"] == pytest.approx(1.7)


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
    [(("--batch", "0"), "batch"), (("--steps", "10"), "multiple of saves=3")],
)
def test_options_that_cannot_work_are_refused_by_name(arguments: tuple[str, ...], named: str) -> None:
    finished = run(*arguments)
    assert finished.returncode != 0 and named in finished.stderr


def test_a_recipe_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="recipe='nanno' is not one of nano, "):
        measure("nanno", batch=None, steps=1, saves=1, directory=None)

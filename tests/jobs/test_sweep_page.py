"""The page and the table of a sweep: what they say, and reports that are not as expected."""

from __future__ import annotations

import base64
import re
from io import StringIO
from typing import Any

import pytest

from jobs.parts.sweep_charts import draw_learning, draw_parallel, draw_values
from jobs.parts.sweep_page import sweep_page
from jobs.parts.sweep_table import trial_table

RATIO = {"name": "mask.ratio", "choices": [0.6, 0.75], "low": None, "high": None, "log": False}
RATE = {"name": "optimizer.base_lr", "choices": None, "low": 1e-4, "high": 1e-2, "log": True}
REGION = {"name": "region", "choices": [[2, 5, 10], [1, 5, 10]], "low": None, "high": None, "log": False}
WEIGHT = {"name": "lambda", "choices": None, "low": 0.0, "high": 1.0, "log": False}
FLIP = {"name": "crop.flip", "choices": [True, None, "<both>"], "low": None, "high": None, "log": False}
SPACE = [RATIO, RATE, REGION, WEIGHT, FLIP]


def trial(number: int, state: str, *scores: float, space: list[dict[str, Any]] = SPACE) -> dict[str, Any]:
    values = {
        one["name"]: one["choices"][number % len(one["choices"])] if one["choices"] else (one["low"] + one["high"]) / 2
        for one in space
    }
    return {
        "number": number,
        "values": values,
        "state": state,
        "score": scores[-1] if scores else None,
        "samples": 100 * len(scores),
        "rows": [{"samples": 100 * (index + 1), "score": score} for index, score in enumerate(scores)],
        "detail": "out of <memory>" if state == "failed" else "",
        "run_directory": f"runs/{number}" if state == "finished" else None,
    }


def report(
    trials: list[dict[str, Any]], *, best: int | None = None, space: list[dict[str, Any]] = SPACE
) -> dict[str, Any]:
    chosen = next((one for one in trials if one["number"] == best), None)
    command = "python jobs/pretrain_voxceleb.py nano --init-from 'a&b'"
    return {
        "title": "Sweep $x$ <script>",
        "metric": "transfer/uar",
        "corpus": "synthetic crema_d",
        "space": space,
        "trials": trials,
        "best": chosen and {"number": best, "values": chosen["values"], "score": chosen["score"], "command": command},
        "chance": 0.166,
        "notes": ["not for <i>reporting</i>"],
    }


FOUR = [
    trial(0, "finished", 0.2, 0.31),
    trial(1, "stopped", 0.19),
    trial(2, "failed"),
    trial(3, "finished", 0.2, 0.402),
]


def text(page: bytes) -> str:
    """Without its pictures."""
    return re.sub(r'src="data:[^"]*"', "", page.decode())


def test_the_page_says_the_best_trial_its_command_and_every_trial_from_the_best_down() -> None:
    page = text(sweep_page(report(FOUR, best=3)))
    assert "Best: trial 3, 40.2 %" in page and "region 1x5x10" in page
    assert "<pre>python jobs/pretrain_voxceleb.py nano --init-from &#x27;a&amp;b&#x27;</pre>" in page
    assert "0.0001 to 0.01, evenly in the logarithm" in page and "2x5x10, 1x5x10" in page
    assert "4 trials: 2 finished, 1 stopped, 1 failed; chance 16.6" in page
    rows = re.findall(r'<tr class="(\w+)"><td class="number">(\d)</td><td class="number">([-\d.]+)</td>', page)
    assert rows == [("best", "3", "40.2"), ("finished", "0", "31.0"), ("stopped", "1", "19.0"), ("failed", "2", "-")]
    assert 'title="runs/0">0</td>' in page and "out of &lt;memory&gt;" in page


def test_nothing_of_a_report_is_taken_for_markup_and_nothing_is_fetched() -> None:
    page = text(sweep_page(report(FOUR, best=3)))
    assert "Sweep $x$ &lt;script&gt;" in page and "&lt;both&gt;" in page and "not for &lt;i&gt;" in page
    assert "<script" not in page and "<i>" not in page and "http" not in page and "<both>" not in page


def test_the_page_holds_three_charts_that_stay_the_same() -> None:
    page = sweep_page(report(FOUR, best=3))
    charts = [base64.b64decode(data) for data in re.findall(rb"data:image/svg\+xml;base64,([^\"]*)", page)]
    assert len(charts) == 3 and all(chart.rstrip().endswith(b"</svg>") for chart in charts)
    assert page == sweep_page(report(FOUR, best=3))


MANY = [trial(number, ("finished", "stopped", "failed")[number % 3], 0.2 + number / 1000) for number in range(200)]


@pytest.mark.parametrize("draw", [draw_values, draw_parallel, draw_learning])
@pytest.mark.parametrize(
    "odd",
    [
        report([trial(0, "finished", 0.3)], best=0),
        report([trial(0, "finished", 0.3, space=[RATE])], best=0, space=[RATE]),
        report([trial(0, "running", 0.3), trial(1, "failed")]) | {"chance": None},
        report([trial(0, "finished", 0.25), trial(1, "finished", 0.25)], best=0),
        report(MANY, best=198),
    ],
    ids=["one trial", "one dimension", "no best", "equal scores", "many trials"],
)
def test_odd_reports_are_drawn(draw: Any, odd: dict[str, Any]) -> None:
    chart = draw(odd).decode()
    names = {one["name"].rsplit(".", 1)[-1] for one in odd["space"]}
    if draw is not draw_learning:  # the words of a text stand beside its outlines
        assert all(re.search(rf"<!-- .*{name} -->|<!-- .*\n{name} -->", chart) for name in names)
    assert ("chance" in chart) == (odd["chance"] is not None and draw is not draw_parallel)


def test_a_sweep_of_which_nothing_is_measured_has_a_page_without_charts() -> None:
    for trials in ([], [trial(0, "failed"), trial(1, "running")]):
        page = text(sweep_page(report(trials)))
        assert "No trial has been measured." in page and "<img" not in page
        assert "no best one yet" in page and f"{len(trials)} trial" in page


def test_the_terminal_shows_running_trials_first_and_then_the_best() -> None:
    from rich.console import Console

    terminal = StringIO()
    Console(width=160, file=terminal).print(trial_table(report([*FOUR, trial(4, "running", 0.1)], best=3)))
    lines = terminal.getvalue().splitlines()
    shown = [re.findall(r"[^\s│]+", line) for line in lines if line.startswith("│")]
    assert [row[:2] for row in shown] == [
        ["4", "running"],
        ["3", "finished"],
        ["0", "finished"],
        ["1", "stopped"],
        ["2", "failed"],
    ]
    assert shown[1][2:5] == ["0.75", "0.00505", "1x5x10"] and shown[1][-2:] == ["40.2", "200"]
    assert "transfer UAR, % on synthetic crema_d" in lines[0]

"""Trials on Ray Tune: the worse ones end early, what they held is free again, and a sweep goes on where it stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.protocols import Reference
from cluster.runtime import ray_session
from cluster.search_space import parse_space
from cluster.sweep import Sweep, search
from cluster.sweep_config import EarlyStopping
from cluster.trials import Measurement, TrialRecord
from tests.cluster.toy_trial import SAMPLES, STEPS

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_session(num_cpus=2, object_store_bytes=100_000_000, dashboard=True):
        yield


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def sweep(log: Path, *space: str, **fields: Any) -> Sweep:
    trial = Reference("tests.cluster.toy_trial:build_toy_trial", str(log))
    defaults = {"concurrent": 2, "stopping": EarlyStopping(grace=0.5)}
    return Sweep(trial, parse_space(space), samples_per_trial=STEPS * SAMPLES, **(defaults | fields))


def run(
    plan: Sweep, known: Sequence[TrialRecord] = (), changed: Any = lambda trials: None, stop: Any = None
) -> list[TrialRecord]:
    return search(plan, known, changed, stop or threading.Event())


def states(trials: Sequence[TrialRecord]) -> dict[float, str]:
    return {trial.values["worth"]: trial.state for trial in trials}


def wait_for_free_cpus(seconds: float = 30) -> float:
    deadline = time.monotonic() + seconds
    while ray.available_resources().get("CPU", 0.0) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    return ray.available_resources().get("CPU", 0.0)


def test_worse_trials_are_stopped_early_and_leave_no_cpu_behind(cluster: None, log: Path) -> None:
    found = run(sweep(log, "worth=0.8,0.1,0.9,0.2", concurrent=1))
    assert states(found) == {0.8: "finished", 0.1: "stopped", 0.9: "finished", 0.2: "stopped"}
    assert [trial.samples for trial in found] == [400, 200, 400, 200]
    assert found[2].outcome == {"sharing": 1}
    assert "report 0.1 3" not in log.read_text().splitlines()
    assert wait_for_free_cpus() == 2


def test_workers_know_whom_to_ask_for_the_state_of_this_cluster_and_no_other(cluster: None) -> None:
    known = ray.get(ray.remote(lambda: os.environ.get("RAY_API_SERVER_ADDRESS")).remote())
    assert known.removeprefix("http://") == ray._private.worker.global_worker.node.address_info["webui_url"]


def test_a_trial_whose_process_dies_is_started_again_and_one_that_diverges_fails_alone(
    cluster: None, log: Path
) -> None:
    plan = sweep(log, "worth=0.5", "dies=True", stopping=EarlyStopping(enabled=False))
    found = run(plan)
    assert states(found) == {0.5: "finished"}
    assert [row.samples for row in found[0].rows] == [100, 200, 300, 400]
    assert log.read_text().splitlines().count("start 0.5") == 2
    found = run(sweep(log, "worth=0.6,0.7", "diverges=True,False", stopping=EarlyStopping(enabled=False)))
    assert [trial.state for trial in found] == ["failed", "finished", "failed", "finished"]
    assert found[0].detail == "ValueError: the loss is not finite"


def test_a_trial_that_has_seen_all_its_samples_is_never_stopped(cluster: None, log: Path) -> None:
    plan = sweep(log, "worth=0.9,0.1", "reports=1", concurrent=1)
    assert states(run(plan)) == {0.9: "finished", 0.1: "finished"}


def test_what_is_known_of_a_trial_does_not_stop_it_a_second_time(cluster: None, log: Path) -> None:
    ahead = TrialRecord(1, {"worth": 0.9}, "finished", (Measurement(200, 0.9), Measurement(400, 0.9)))
    behind = TrialRecord(2, {"worth": 0.1}, "running", (Measurement(200, 0.05), Measurement(300, 0.05)))
    found = run(sweep(log, "worth=0.9,0.1", concurrent=1), known=[ahead, behind])
    assert states(found) == {0.9: "finished", 0.1: "finished"}


def test_a_sweep_that_was_stopped_goes_on_with_what_is_not_over(cluster: None, log: Path) -> None:
    plan = sweep(log, "worth=0.3,0.4,0.5", concurrent=1, stopping=EarlyStopping(enabled=False))
    stop = threading.Event()

    def stop_in_the_second(trials: Sequence[TrialRecord]) -> None:
        if len(trials) == 2 and trials[1].rows:
            stop.set()

    first = run(plan, changed=stop_in_the_second, stop=stop)
    assert [trial.state for trial in first] == ["finished", "running"]
    assert wait_for_free_cpus() == 2
    second = run(plan, known=first)
    assert states(second) == {0.3: "finished", 0.4: "finished", 0.5: "finished"}
    assert second[0] == first[0]
    starts = [line for line in log.read_text().splitlines() if line.startswith("start")]
    assert starts == ["start 0.3", "start 0.4", "start 0.4", "start 0.5"]

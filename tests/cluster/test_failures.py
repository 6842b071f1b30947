"""Which failures are worth another start of the workers."""

from __future__ import annotations

import pickle

import pytest
import torch

from cluster.failures import Attempt, NonFinite, describe, is_fatal, verdict
from cluster.monitor import RunMonitor


def died_at(step: int, resumed: int = 0) -> Attempt:
    return Attempt(resumed, reached={0: step - 1, 1: step}, sample_ids={0: [4, 5], 1: [8]})


def test_a_first_death_and_deaths_at_different_steps_are_worth_a_restart() -> None:
    assert verdict([]) is None
    assert verdict([died_at(13)]) is None
    assert verdict([died_at(13), died_at(14)]) is None
    assert verdict([died_at(13), died_at(14), died_at(13)]) is None


def test_two_deaths_at_the_same_step_stop_the_run_and_name_step_and_samples() -> None:
    reason = verdict([died_at(9), died_at(13), died_at(13)])
    assert reason is not None
    assert "twice without progress, in step 13" in reason and "{0: [4, 5], 1: [8]}" in reason


def test_two_deaths_before_the_first_step_stop_the_run() -> None:
    reason = verdict([Attempt(resumed_step=6), Attempt(resumed_step=6)])
    assert reason is not None and "before its first step, after resuming at step 6" in reason


def test_a_bug_is_not_repeated_and_a_lost_peer_is_no_bug() -> None:
    assert is_fatal(KeyError("x")) and is_fatal(ValueError("x"))
    assert is_fatal(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_fatal(RuntimeError("Connection closed by peer")) and not is_fatal(OSError("no route to host"))


def test_an_exhausted_accelerator_comes_with_advice() -> None:
    assert "lower engine.micro_batch" in describe(torch.OutOfMemoryError("CUDA out of memory"))


def test_failures_of_ours_survive_the_way_to_the_driver() -> None:
    error = pickle.loads(pickle.dumps(NonFinite("the loss of step 3")))
    assert isinstance(error, NonFinite) and str(error) == "the loss of step 3"


def test_the_monitor_refuses_a_group_after_a_bug_and_says_which() -> None:
    monitor = RunMonitor()
    assert monitor.starting(0) is None
    monitor.begin(1, 3, [7])
    monitor.failed(1, "KeyError: 'x'", is_fatal=True)
    monitor.failed(0, "RuntimeError: connection closed", is_fatal=False)
    reason = monitor.starting(2)
    assert reason is not None and "in step 3" in reason and "rank 1: KeyError: 'x'" in reason


def test_the_monitor_passes_a_request_to_stop_to_the_ranks() -> None:
    monitor = RunMonitor()
    assert monitor.begin(0, 1, []) is False
    monitor.request_stop()
    assert monitor.begin(0, 2, []) is True


@pytest.mark.parametrize("published", [3, 2500])
def test_news_are_handed_out_once_and_bounded(published: int) -> None:
    monitor = RunMonitor()
    for step in range(published):
        monitor.publish({"step": step})
    count, news = monitor.news_after(0)
    assert count == published and len(news) == min(published, 1000)
    assert news[-1] == {"step": published - 1}
    assert monitor.news_after(count) == (count, [])

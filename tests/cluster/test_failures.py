"""Which failures are worth another start of the workers."""

from __future__ import annotations

import pickle

import pytest
import torch

from cluster.failures import MAX_DRAINS, Attempt, NonFinite, describe, is_fatal, verdict
from cluster.monitor import RunMonitor


def died_at(step: int | None, *, resumed: int = 0, is_drained: bool = False) -> Attempt:
    if step is None:
        return Attempt(resumed, was_drained=is_drained)
    return Attempt(resumed, reached={0: step - 1, 1: step}, sample_ids={0: [4, 5], 1: [8]}, was_drained=is_drained)


def judged(*attempts: Attempt, committed_step: int = 0, max_failures: int = 3) -> str | None:
    return verdict(attempts, committed_step=committed_step, max_failures=max_failures)


def test_a_first_death_and_deaths_in_different_steps_are_worth_a_restart() -> None:
    assert judged() is None
    assert judged(died_at(13)) is None
    assert judged(died_at(13), died_at(14)) is None
    assert judged(died_at(13), died_at(14), died_at(13)) is None


def test_two_deaths_in_the_same_step_stop_the_run_and_name_step_and_samples() -> None:
    reason = judged(died_at(9), died_at(13), died_at(13))
    assert reason is not None
    assert "twice without progress, in step 13" in reason and "{0: [4, 5], 1: [8]}" in reason


def test_two_deaths_before_the_first_step_stop_the_run() -> None:
    reason = judged(died_at(None, resumed=6), died_at(None, resumed=6), committed_step=6)
    assert reason is not None and "before its first step, after resuming at step 6" in reason


def test_deaths_with_a_new_checkpoint_in_between_are_progress_however_many() -> None:
    lives = [died_at(step + 1, resumed=step) for step in range(0, 60, 6)]
    assert judged(*lives, committed_step=60) is None
    assert judged(*lives, died_at(None, resumed=60), committed_step=60) is None, "the same place, six steps on"


def test_deaths_without_a_new_checkpoint_are_counted_wherever_they_happen() -> None:
    lives = [died_at(step) for step in (3, 5, 4, 6)]
    assert judged(*lives[:3]) is None
    reason = judged(*lives)
    assert reason is not None and "gave up after 3 restarts without a new checkpoint" in reason and "step 6" in reason


def test_who_wants_no_restart_gets_none_whatever_was_committed_but_a_drained_node_is_no_failure() -> None:
    assert "gave up after 0 restarts" in (judged(died_at(3), committed_step=2, max_failures=0) or "")
    assert judged(died_at(3, is_drained=True), committed_step=2, max_failures=0) is None


def test_drained_nodes_are_no_failures_but_have_a_limit_of_their_own() -> None:
    drained = [died_at(5, is_drained=True)] * MAX_DRAINS
    assert judged(*drained) is None
    assert judged(died_at(5), *drained[:3]) is None, "the same step, but only one death"
    reason = judged(*drained, died_at(5, is_drained=True))
    assert reason is not None and "save more often" in reason


def test_a_bug_is_not_repeated_and_a_lost_peer_is_no_bug() -> None:
    assert is_fatal(KeyError("x")) and is_fatal(ValueError("x"))
    assert is_fatal(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_fatal(RuntimeError("Connection closed by peer")) and not is_fatal(OSError("no route to host"))


def test_an_exhausted_accelerator_comes_with_advice() -> None:
    assert "lower engine.micro_batch" in describe(torch.OutOfMemoryError("CUDA out of memory"))


def test_failures_of_ours_survive_the_way_to_the_driver() -> None:
    error = pickle.loads(pickle.dumps(NonFinite("the loss of step 3")))
    assert isinstance(error, NonFinite) and str(error) == "the loss of step 3"


def test_a_bug_ends_the_run_at_once_and_is_told_with_the_step_and_rank() -> None:
    monitor = RunMonitor()
    monitor.starting(0)
    monitor.begin(1, 3, [7])
    monitor.failed(1, "KeyError: 'x'", is_fatal=True)
    monitor.failed(0, "RuntimeError: connection closed", is_fatal=False)
    reason = judged(monitor.attempt(), committed_step=2)
    assert reason is not None and "in step 3" in reason and "rank 1: KeyError: 'x'" in reason


def test_a_request_to_stop_holds_and_a_drain_concerns_one_group() -> None:
    monitor = RunMonitor()
    assert monitor.begin(0, 1, []) is False
    monitor.drained()
    assert monitor.begin(0, 2, []) is True
    monitor.starting(2)
    assert monitor.begin(0, 3, []) is False and not monitor.attempt().was_drained
    monitor.request_stop()
    assert monitor.begin(0, 4, []) is True
    monitor.starting(4)
    assert monitor.begin(0, 5, []) is True


@pytest.mark.parametrize("published", [3, 2500])
def test_news_are_handed_out_once_and_bounded(published: int) -> None:
    monitor = RunMonitor()
    for step in range(published):
        monitor.publish({"step": step})
    count, news = monitor.news_after(0)
    assert count == published and len(news) == min(published, 1000)
    assert news[-1] == {"step": published - 1}
    assert monitor.news_after(count) == (count, [])

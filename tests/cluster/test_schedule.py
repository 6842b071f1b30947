"""The learning rate over a run."""

from __future__ import annotations

import math

import pytest

from cluster.config import OptimizerConfig
from cluster.schedule import learning_rate, resolve

RUN = {"total_steps": 100, "warmup_steps": 10, "peak": 1.0, "minimum": 0.1}


def test_the_rate_rises_from_zero_to_the_peak_and_falls_to_the_minimum() -> None:
    assert learning_rate(0, **RUN) == 0.0
    assert learning_rate(5, **RUN) == pytest.approx(0.5)
    assert learning_rate(10, **RUN) == pytest.approx(1.0)
    assert learning_rate(55, **RUN) == pytest.approx(0.55)
    assert learning_rate(100, **RUN) == pytest.approx(0.1)


def test_the_rate_stays_at_the_minimum_after_the_cosine() -> None:
    assert learning_rate(1000, **RUN) == pytest.approx(0.1)


def test_the_rate_never_jumps() -> None:
    rates = [learning_rate(step, **RUN) for step in range(121)]
    assert max(abs(b - a) for a, b in zip(rates, rates[1:], strict=False)) <= 0.1 + 1e-12
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_a_run_without_warm_up_starts_at_the_peak() -> None:
    assert learning_rate(0, total_steps=10, warmup_steps=0, peak=2.0, minimum=0.0) == 2.0


def test_rates_are_scaled_by_the_global_batch_and_steps_by_the_epoch() -> None:
    schedule = resolve(OptimizerConfig(base_lr=3e-4, min_lr=1e-5, global_batch=128, epochs=100, warmup_epochs=5), 40)
    assert schedule.peak == pytest.approx(1.5e-4) and schedule.minimum == pytest.approx(5e-6)
    assert (schedule.warmup_steps, schedule.total_steps, schedule.stop_step) == (200, 4000, 4000)
    assert schedule.rate(200) == pytest.approx(1.5e-4) and schedule.rate(4000) == pytest.approx(5e-6)
    assert "learning rate 0.00015 = 0.0003 x 128 / 256" in str(schedule)


def test_a_run_that_stops_early_keeps_the_whole_cosine() -> None:
    schedule = resolve(OptimizerConfig(epochs=100, warmup_epochs=0, stop_epoch=50), 10)
    assert (schedule.stop_step, schedule.total_steps) == (500, 1000)
    middle = schedule.minimum + (schedule.peak - schedule.minimum) * 0.5 * (1 + math.cos(math.pi / 2))
    assert schedule.rate(schedule.stop_step) == pytest.approx(middle)


def test_an_epoch_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="lower global_batch"):
        resolve(OptimizerConfig(), 0)

"""Asynchronous successive halving as a sweep needs it: Ray Tune's, but for two cases in which nothing is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from cluster.sweep import KNOWN

if TYPE_CHECKING:
    from cluster.sweep import Sweep


class Halving(AsyncHyperBandScheduler):
    """A trial that has seen all its samples is finished, whatever its score; and what a sweep that goes on knows of its
    trials fills the rungs again, but decides nothing a second time: in another order it would decide otherwise."""

    def __init__(self, sweep: Sweep) -> None:
        self._all_samples = sweep.samples_per_trial
        last_rung = max(1, self._all_samples - 1)
        super().__init__(
            time_attr="samples",
            max_t=last_rung,
            grace_period=min(last_rung, max(1, round(sweep.stopping.grace * self._all_samples))),
            reduction_factor=sweep.stopping.reduction,
            stop_last_trials=False,
        )

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        action = super().on_trial_result(tune_controller, trial, result)
        is_settled = result.get(KNOWN) or result["samples"] >= self._all_samples
        return TrialScheduler.CONTINUE if is_settled else action

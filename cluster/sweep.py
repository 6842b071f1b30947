"""`search`: trials on Ray Tune, each a whole training run of its own, the worse ones stopped early.

A trial is a process without CPUs that starts a run; the run's workers take theirs from the cluster. So the number
of trials at the same time is derived from what the cluster holds, at every suggestion again, for it may grow. What Tune
keeps is temporary: the ledger (cluster.trials) is what a sweep goes on from, and runs resume from their checkpoints.

The session needs Ray's dashboard: without it the resources of trials that are stopped early are never given back.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster.commit import CheckpointError
from cluster.failures import NonFinite, TrainingError
from cluster.preflight import Demand, InsufficientResources, check, cluster_capacity, how_many
from cluster.protocols import Reference
from cluster.search_space import Dimension, Values, draws, grid
from cluster.sweep_config import EarlyStopping, SearchConfig, SweepBudget
from cluster.trials import TrialRecord
from pipelines.storage import StorageError

FAILED, BROKEN, OUTCOME, KNOWN = "failed", "broken", "outcome", "known"
"""What rows say beside samples and score: the last one how the trial ended, and one of the ledger that it is."""
RAY_TUNE_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # its tables would stand between ours
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in trials and driver
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would make a Ctrl-C look like the end of the search
}
_RESTARTS = 3  # of a trial whose process died
_TRIAL_BYTES = 512 * 2**20  # of a trial's process, which takes no CPU: those are for the workers of its run


@dataclass(frozen=True)
class Sweep:
    """All that is needed to search."""

    trial: Reference
    """A cluster.protocols.Trial."""
    space: tuple[Dimension, ...]
    samples_per_trial: int
    search: SearchConfig = SearchConfig()
    stopping: EarlyStopping = EarlyStopping()
    budget: SweepBudget = SweepBudget()
    workers: int | None = None
    """Training workers of a trial; None: one per GPU of its share of the cluster, or one."""
    cpus: float = 1.0
    """That a trial's run can do with."""
    concurrent: int | None = None
    """Trials at the same time; None: as many as the cluster holds."""

    def limit(self) -> int:
        """Trials that run at the same time, as the cluster is now."""
        if self.concurrent is not None:
            return self.concurrent
        capacity = cluster_capacity()
        return min(how_many(capacity, self.workers), max(1, int(capacity.cpus / self.cpus + 1e-6)))

    def workers_of(self, sharing: int) -> int:
        """Workers of one of so many trials."""
        return self.workers or max(1, int(cluster_capacity().gpus // sharing))

    def check(self) -> None:
        """Raises InsufficientResources where as many trials as are asked for do not fit."""
        capacity, trials = cluster_capacity(), self.limit()
        gpus = float(self.workers_of(trials)) if capacity.gpus else 0.0
        check([Demand("trial", trials, self.cpus, gpus)], capacity)


def search(
    sweep: Sweep, known: Sequence[TrialRecord], changed: Callable[[Sequence[TrialRecord]], None], stop: threading.Event
) -> list[TrialRecord]:
    """Runs all trials that are not over. Ray must be up, with its dashboard.

    Args:
        known: the ledger so far.
        changed: called with all trials at every event.
        stop: once set, trials are ended where they stand; the same call goes on with them.

    Returns:
        All trials; some are still "running" where the budget was spent or a stop was asked for.

    Raises InsufficientResources where trials at the same time would starve one another.
    """
    for name, value in RAY_TUNE_SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    from cluster.halving import Halving
    from cluster.suggestions import SpentOrStopped, Suggestions

    sweep.check()
    suggestions = Suggestions(sweep, known, changed)
    scheduler = Halving(sweep) if sweep.stopping.enabled else FIFOScheduler()
    with tempfile.TemporaryDirectory(prefix="ray-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(partial(run_trial, reference=sweep.trial), {"memory": _TRIAL_BYTES}),
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                search_alg=suggestions,
                scheduler=scheduler,
                num_samples=suggestions.count,
                reuse_actors=False,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=_RESTARTS),
                stop=SpentOrStopped(suggestions, stop),
                verbose=0,
            ),
        )
        tuner.fit()
    suggestions.close()
    return suggestions.trials


def run_trial(config: dict[str, Any], *, reference: Reference) -> None:
    """What a trial's process does. Rows of the ledger first, for the scheduler to compare with; then, unless it is
    over, the run."""
    from ray import tune

    newest: dict[str, float] = {"samples": -1, "score": math.nan}

    def report(samples: int, score: float, **more: Any) -> None:
        if samples > newest["samples"]:
            newest.update(samples=samples, score=score)
            tune.report({**newest, **more})

    for samples, score in config["known"]:
        report(samples, score, **{KNOWN: True})
    if config["is_over"]:
        return
    try:
        outcome = reference.build()(config["values"], sharing=config["sharing"], report=report)
    except (CheckpointError, OSError, StorageError, TrainingError, ValueError) as error:
        is_of_values = isinstance(error, (NonFinite, ValueError)) and not isinstance(error, InsufficientResources)
        tune.report({**newest, FAILED if is_of_values else BROKEN: f"{type(error).__name__}: {error}"})
        return
    tune.report({**newest, OUTCOME: json.dumps(outcome)})  # as text, for Tune takes nested results apart


def points(sweep: Sweep) -> list[Values] | None:
    """Those that do not depend on how trials went; None where they do."""
    count = sweep.search.count(sweep.space)
    if sweep.search.method == "grid":
        return grid(sweep.space)[:count]
    if sweep.search.method == "random":
        return draws(sweep.space, seed=sweep.search.seed, count=count)
    return None

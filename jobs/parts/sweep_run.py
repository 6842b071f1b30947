"""A sweep from its config: data prepared once, trials searched, the best told as a command, a page to look at."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any

from cluster.protocols import Reference
from cluster.runtime import end_job, ray_session, record_result, stop_requests
from cluster.sweep import Sweep, search
from cluster.trials import TrialRecord, best_of, read_trials, write_trials
from jobs.parts.claims import claim
from jobs.parts.command_line import Command
from jobs.parts.finetune_run import prepare as prepare_finetuning
from jobs.parts.fold_runs import score
from jobs.parts.sweep_config import FinetuneSweepConfig, PretrainingSweepConfig
from jobs.parts.sweep_report import Searched, best_command, report, show, write_page
from jobs.parts.sweep_trial import TrialConfig, prepare_pretraining
from jobs.parts.training import Work, finished_result, least_cpus, run_name
from pipelines.catalog import load
from pipelines.storage import Storage
from pipelines.storage import home as default_home

logger = logging.getLogger(__name__)

SWEEP = "sweep.json"
AnySweep = PretrainingSweepConfig | FinetuneSweepConfig


def sweep(command: Command[AnySweep]) -> None:
    """`run_sweep` in a session of its own; prints the result as the last line, see `end_job`."""
    home = Storage(command.home) if command.home else default_home()
    with ray_session(dashboard=True):
        result = run_sweep(command, home)
    end_job(result)


def run_sweep(command: Command[AnySweep], home: Storage) -> dict[str, Any]:
    """Searches, or goes on searching, records and returns the result. Ray must be up, with its dashboard.

    Raises ValueError for a name that belongs to another sweep, data that do not fit, and when every trial failed.
    """
    config = command.config
    searched = measure(config, home)
    identity = {**config.identity(), "data": searched.fingerprint}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    name = command.name or f"{config.recipe}-{digest}"
    place = home.child("sweeps", name)
    claim(place, SWEEP, identity, what="a sweep")
    if (known := finished_result(place)) is not None:
        logger.info("sweep %s is finished; this is its result", name)
        return known
    trials = search_all(config, home, place, name, searched)
    result = summarize(config, trials, place, searched, home=command.home)
    if result["is_finished"] and isinstance(config, FinetuneSweepConfig):
        result |= {"test": score_best(config, result["best"], home, place)}
    if result["is_finished"]:
        record_result(result, place)
    return result


def search_all(config: AnySweep, home: Storage, place: Storage, name: str, searched: Searched) -> list[TrialRecord]:
    """All trials, after those that were not over went on; the ledger is written at every event."""
    trials = read_trials(place)
    if trials:
        logger.info("%d trials are known, %d of them over", len(trials), sum(trial.is_over for trial in trials))
    plan = Sweep(
        trial=Reference("jobs.parts.sweep_trial:build_trial", TrialConfig(config, home.uri, name)),
        space=config.dimensions,
        samples_per_trial=searched.samples_per_trial,
        search=config.search,
        stopping=config.stopping,
        budget=config.budget,
        workers=config.base.workers.num_workers,
        cpus=least_cpus(config.base),
        concurrent=config.concurrent,
    )
    with show(config, searched) as shown, stop_requests() as stop:

        def changed(now: Sequence[TrialRecord]) -> None:
            write_trials(place, now)
            shown(now)

        return search(plan, trials, changed, stop)


def summarize(
    config: AnySweep, trials: Sequence[TrialRecord], place: Storage, searched: Searched, *, home: str | None
) -> dict[str, Any]:
    """The result line; writes sweep.html. `home` is what the user said of it. Raises ValueError where every trial
    failed."""
    best = best_of(trials)
    command = best and best_command(config, best.values, home=home)
    page = write_page(place, report(config, trials, searched, command=command))
    count = config.search.count(config.dimensions)
    if len(trials) == count and all(trial.state in ("failed", "broken") for trial in trials):
        raise ValueError(f"every trial failed; the first: {trials[0].detail}")
    names = ("finished", "stopped", "failed", "broken")
    states = {state: sum(trial.state == state for trial in trials) for state in names}
    found = None
    if best is not None:
        found = {"number": best.number, "values": best.values, config.metric: best.score, **best.outcome}
        found["command"] = command
    return {
        "directory": place.uri,
        "page": page,
        "best": found,
        "trials": len(trials),
        **states,
        "samples": sum(trial.samples for trial in trials),
        "worker_hours": round(sum(trial.worker_seconds for trial in trials) / 3600, 3),
        "is_finished": sum(trial.is_over for trial in trials) == count and found is not None,
    }


def score_best(config: FinetuneSweepConfig, best: dict[str, Any], home: Storage, place: Storage) -> dict[str, Any]:
    """Of the trial that did best on validation videos, and of no other, the runs are scored on the test videos."""
    runs = prepare_finetuning(Command(config.trial(best["values"])), home)
    scored = score(runs, best["checkpoints"], place.child("test"))
    return scored | {"chosen_by": f"{config.metric} on validation videos", "trials_tested": 1}


def measure(config: AnySweep, home: Storage) -> Searched:
    """What is searched, known before any trial. Prepares the data, once for all trials."""
    if isinstance(config, FinetuneSweepConfig):
        runs = prepare_finetuning(Command(config.finetune), home)
        samples = sum(_samples(run.work, config) for run in runs)
        work = runs[0].work
        chance = 1 / len(work.protocol.classes) if work.protocol.task == "classes" else None
        return Searched(work.fingerprint, samples, chance, lambda values: None)
    work = prepare_pretraining(config.pretrain, home)
    protocol = load(work.transfer.catalog).protocol(work.transfer.protocol)
    return Searched(
        work.fingerprint,
        _samples(work, config),
        1 / len(protocol.classes),
        lambda values: home.full(f"runs/{run_name(config.trial(values), work.fingerprint)}"),
    )


def _samples(work: Work, config: AnySweep) -> int:
    """Of one run."""
    optimizer = config.base.optimizer
    return work.stream(1).build().samples_per_epoch * (optimizer.stop_epoch or optimizer.epochs)

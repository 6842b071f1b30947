"""Runs of every fold and seed of a protocol: trained, as many at a time as the cluster holds, and scored together.

What is learned from what, and how its test part is predicted, is known to the `FoldWork` of each job.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from cluster.preflight import Capacity, Demand, check, cluster_capacity, how_many
from cluster.runtime import end_job, ray_session, record_result, stop_requests
from jobs.config import to_json
from jobs.parts.command_line import Command
from jobs.parts.evaluation import METRICS, PREDICTIONS, evaluate_folds, write_result
from jobs.parts.fold_config import FoldConfig
from jobs.parts.training import Work, run_name, train
from pipelines.storage import Storage
from pipelines.storage import home as default_home

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.labels import EvaluationProtocol

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=FoldConfig)


class FoldWork(Work, Protocol):
    """What is learned from all parts of a protocol but one, and tested on that one."""

    config: FoldConfig
    """Of a single run."""
    protocol: EvaluationProtocol
    unit: str
    """What a row of predictions is of: videos, images or frames."""

    def expected(self) -> list[str]:
        """What has to be scored, by uri."""
        ...

    def predict(self, run_directory: Storage, checkpoint: str) -> pa.Table:
        """Predictions (jobs.parts.scores) of the test part, each exactly once, kept in the run directory and found
        there again. Ray must be up. Raises ValueError, naming them, for what cannot be predicted."""
        ...

    def cost(self) -> dict[str, float]:
        """What stands beside the scores: parameters, and gflops where they can be told."""
        ...

    def describe_predictions(self, place: Storage, predictions: pa.Table, runs: Sequence[Run]) -> dict[str, Any]:
        """Writes whatever else is told of the predictions of all folds of a seed, whose runs are given. Returns what
        the result says of it, as JSON values."""
        ...


class Run(NamedTuple):
    """One fold with one seed."""

    name: str
    directory: Storage
    work: FoldWork


def train_and_score(command: Command[Config], prepare: Callable[[Command[Config], Storage], list[Run]]) -> None:
    """`run_folds` in a session of its own; prints the result as the last line, see `end_job`."""
    home = Storage(command.home) if command.home else default_home()
    with ray_session():
        result = run_folds(command, prepare, home)
    end_job(result)


def run_folds(
    command: Command[Config], prepare: Callable[[Command[Config], Storage], list[Run]], home: Storage
) -> dict[str, Any]:
    """Trains what is missing, scores what is not scored, records and returns the result. Called again it goes on where
    it was stopped. Ray must be up.

    Raises ValueError for a config that does not fit the corpus or a sample that cannot be used, CheckpointError for
    weights to start from that are not there, and what `cluster.trainer.fit` raises.
    """
    runs = prepare(command, home)
    trained = train_all(runs, command.config.concurrent)
    unfinished = [run.name for run, result in zip(runs, trained, strict=True) if not result["is_finished"]]
    if unfinished:
        return {"is_finished": False, "unfinished": unfinished, "runs": [run.directory.uri for run in runs]}
    place = home.child(command.config.RESULTS, command.name or _group_name(command.config, runs))
    result = {"is_finished": True} | score(runs, [one["checkpoint"] for one in trained], place)
    result |= {name: sum(one[name] for one in trained) for name in ("samples", "quarantined", "unusable")}
    record_result(result, place)
    return result


def single_runs(
    command: Command[Config],
    protocol: EvaluationProtocol,
    home: Storage,
    make_work: Callable[[Config], FoldWork],
) -> list[Run]:
    """A run for every fold and seed of a config. Raises ValueError as `chosen_folds` and `make_work` do."""
    config, runs = command.config, []
    for seed in range(config.seed, config.seed + config.seeds):
        for fold in chosen_folds(config, protocol):
            work = make_work(config.single(fold=fold, seed=seed))
            suffix = (f"-fold{fold}" if fold else "") + f"-seed{seed}"
            name = command.name or run_name(config.single(fold=None, seed=0), work.fingerprint)
            runs.append(Run(f"{name}{suffix}", home.child("runs", f"{name}{suffix}"), work))
    return runs


def chosen_folds(config: FoldConfig, protocol: EvaluationProtocol) -> list[int | None]:
    """The folds to train; [None] where the protocol has fixed parts. Raises ValueError for one that it does not
    have."""
    if not protocol.folds:
        if config.folds:
            raise ValueError(f"folds={config.folds} have no effect on protocol {protocol.name}, whose parts are fixed")
        return [None]
    if unknown := [fold for fold in config.folds if fold > protocol.folds]:
        raise ValueError(f"folds={unknown} are none of protocol {protocol.name}, which has 1 to {protocol.folds}")
    return list(config.folds) or list(range(1, protocol.folds + 1))


def train_all(runs: Sequence[Run], concurrent: int | None) -> list[dict[str, Any]]:
    """Result lines of all runs, so many trained at the same time; None: as many as the cluster holds. A run that fails
    does not end the others; its error is raised when they are done. A request to stop reaches all of them, also those
    that have not begun. Raises InsufficientResources where so many do not fit."""
    capacity, config = cluster_capacity(), runs[0].work.config
    sharing = min(len(runs), concurrent or how_many(capacity, config.workers.num_workers))
    check([_workers(config, capacity, sharing)], capacity)
    logger.info("%d runs, %d at a time", len(runs), sharing)
    pool = ThreadPoolExecutor(sharing, thread_name_prefix="run")
    with stop_requests() as stop:
        try:
            futures = [pool.submit(_train, run, sharing, stop) for run in runs]
            wait(futures)
        finally:  # of an interrupt too: what has not begun does not begin, and what has is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() for future in futures]


def _workers(config: FoldConfig, capacity: Capacity, runs: int) -> Demand:
    """Of so many runs, each with as few as it can do with."""
    count = runs * (config.workers.num_workers or 1)
    return Demand("training worker", count, config.workers.cpus_per_worker, 1.0 if capacity.gpus else 0.0)


def score(runs: Sequence[Run], checkpoints: Sequence[str], place: Storage) -> dict[str, Any]:
    """The result line; writes metrics.json, predictions.parquet and confusion.png, of several seeds in a folder each.
    Ray must be up."""
    from jobs.parts.score_comparison import details_over_seeds, over_seeds
    from jobs.parts.score_report import show

    by_seed: dict[int, list[tuple[Run, str]]] = defaultdict(list)
    for run, checkpoint in zip(runs, checkpoints, strict=True):
        by_seed[run.work.config.seed].append((run, checkpoint))
    results = []
    for seed, members in by_seed.items():
        works = [run.work for run, _ in members]
        tables = [run.work.predict(run.directory, checkpoint) for run, checkpoint in members]
        result, predictions = evaluate_folds(works, tables)
        result["runs"] = [run.directory.uri for run, _ in members]
        result["checkpoints"] = [checkpoint for _, checkpoint in members]
        where = place if len(by_seed) == 1 else place.child(f"seed{seed}")
        result |= works[0].describe_predictions(where, predictions, [run for run, _ in members])
        write_result(where, result, predictions, works[0].protocol)
        results.append(result)
        show(result)
    line = {"directory": place.uri, "runs": [run.directory.uri for run in runs]}
    if len(results) > 1:
        summary = over_seeds(results)
        place.write(METRICS, json.dumps(summary | details_over_seeds(results), indent=1).encode())
        return line | {name: summary[name] for name in ("metric", "headline", "metrics")} | {"seeds": len(results)}
    names = ("corpus", "protocol", "evaluation", "setting", "metric", "headline", "headline_interval_95", "metrics")
    more = {name: results[0][name] for name in ("timelines", "submissions") if name in results[0]}
    return line | {name: results[0][name] for name in names} | {"predictions": place.full(PREDICTIONS)} | more


def _train(run: Run, sharing: int, stop: Event) -> dict[str, Any]:
    if stop.is_set():
        return {"is_finished": False}
    try:
        return train(run.work.config, run.work, run.name, run.directory, sharing=sharing)
    except Exception as error:
        logger.error("run %s failed: %s", run.name, error)
        raise


def _group_name(config: FoldConfig, runs: Sequence[Run]) -> str:
    key = json.dumps([to_json(config.scored()), [run.name for run in runs]], sort_keys=True)
    return f"{config.recipe}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"

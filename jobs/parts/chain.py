"""The stages of a chain, one after the other: what is done is skipped, what was interrupted goes on, what changed and
all that follows from it is done again, and what fails stops what depends on it and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, Literal

from cluster.runtime import stop_requests
from jobs.parts.chain_config import Stage
from jobs.parts.chain_keys import LOOKED_UP, outcome_key, stage_key
from jobs.parts.chain_ledger import Entry, Ledger
from jobs.parts.evaluation import METRICS
from pipelines.feature_store import STORE
from pipelines.storage import Storage

logger = logging.getLogger(__name__)

Results = Mapping[str, dict[str, Any]]
"""What the jobs of the stages before returned, by name of the stage."""
Runner = Callable[[Stage, Results], dict[str, Any]]
"""Does a stage, or goes on with it, or finds it done, and returns what is recorded of it, as JSON values: "is_finished"
False where it was asked to end before it was done; "fingerprint" of what was looked up. After an interruption it is
called again with the same stage."""

TRAINING = ("pretrain", "sweep_pretraining", "finetune", "sweep_finetuning", "head")
"""Jobs that, asked to stop, end where they can be gone on with: a run after a checkpoint, the runs of a sweep where
they stand, which costs what came since theirs. The other jobs end at once, and lose little."""


@dataclass(frozen=True)
class Outcome:
    """What this call did for a stage."""

    state: Literal["done", "skipped", "failed", "unfinished", "not run"]
    """skipped: it was done before."""
    seconds: float | None = None
    detail: str = ""
    """Why it is not done."""
    key: str = ""
    """What the stages that follow are keyed by, where this one is done."""
    was_asked_to_stop: bool = False

    @property
    def is_done(self) -> bool:
        return self.state in ("done", "skipped")


def run_stages(stages: Sequence[Stage], ledger: Ledger, runners: Mapping[str, Runner]) -> dict[str, Outcome]:
    """Runs what is to be run and returns the outcome of every stage. A stage that raises an Exception has failed, and
    those that do not need it go on; a request to stop (SIGTERM) ends the chain with the stage that runs.

    Args:
        stages: checked (chain_config.check_stages).
        ledger: of the chain's directory.
        runners: by job.
    """
    outcomes: dict[str, Outcome] = {}
    for number, stage in enumerate(stages, start=1):
        title = f"stage {number} of {len(stages)}, {stage.name}"
        with stop_requests() if stage.job in TRAINING else nullcontext(Event()) as stop:
            outcomes[stage.name] = _attempt(stage, outcomes, ledger, runners, title)
        if stop.is_set():
            outcomes[stage.name] = replace(outcomes[stage.name], was_asked_to_stop=True)
            logger.info("the chain ends here, as was asked; the same command goes on")
            break
    ended = Outcome("not run", detail="the chain was ended before")
    return {stage.name: outcomes.get(stage.name, ended) for stage in stages}


def _attempt(
    stage: Stage, outcomes: Mapping[str, Outcome], ledger: Ledger, runners: Mapping[str, Runner], title: str
) -> Outcome:
    if missing := [name for name in stage.inputs if not outcomes[name].is_done]:
        logger.warning("%s is not run, it needs %s", title, ", ".join(missing))
        return Outcome("not run", detail=f"needs {', '.join(missing)}")
    key = stage_key(stage, {name: outcomes[name].key for name in stage.inputs})
    known = ledger.entries.get(stage.name)
    if known is not None and is_settled(stage, key, known):
        logger.info("%s: done before, skipped", title)
        return Outcome("skipped", key=key)
    logger.info("%s (%s): %s", title, stage.job, _beginning(stage, key, known))
    results = {name: ledger.entries[name].result or {} for name, outcome in outcomes.items() if outcome.is_done}
    ledger.begin(stage.name, key)
    try:
        result = runners[stage.job](stage, results)
    except Exception as error:
        ledger.fail(stage.name, f"{type(error).__name__}: {error}")
        logger.exception("%s failed", title)
        return Outcome("failed", ledger.entries[stage.name].seconds, detail=f"{type(error).__name__}: {error}")
    if not result.get("is_finished", True):
        ledger.interrupt(stage.name)
        logger.info("%s is not finished", title)
        return Outcome("unfinished", ledger.entries[stage.name].seconds, detail="the same command goes on with it")
    ledger.finish(stage.name, result)
    entry = ledger.entries[stage.name]
    logger.info("%s: done in %.0f s", title, entry.seconds)
    return Outcome("done", entry.seconds, key=outcome_key(stage, key, entry.result or {}))


def is_settled(stage: Stage, key: str, known: Entry) -> bool:
    """Whether there is nothing to do for a stage, not even to look again. What was removed has to be made again."""
    is_done = known.state == "done" and known.key == key and stage.job not in LOOKED_UP
    return is_done and all(_is_there(address) for address in _left_behind(known.result or {}))


def _left_behind(result: Mapping[str, Any]) -> list[str]:
    """Files that stages after this one read."""
    files = [result[name] for name in ("weights", "markdown", "page") if name in result]
    runs = [result["run_directory"]] if "run_directory" in result else result.get("runs", [])
    files += [f"{run}/run.json" for run in runs]
    files += [f"{result['store']}/{STORE}"] if "store" in result else []
    return files + ([f"{result['directory']}/{METRICS}"] if "runs" in result else [])


def _is_there(address: str) -> bool:
    folder, _, name = address.rpartition("/")
    return Storage(folder).exists(name)


def _beginning(stage: Stage, key: str, known: Entry | None) -> str:
    if known is None:
        return "begins"
    if known.key != key:
        return "changed, done again"
    return {"running": "goes on", "failed": "failed before, tried again", "done": "looked at again"}[known.state]

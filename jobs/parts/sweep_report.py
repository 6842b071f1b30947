"""What a sweep shows: a table while it runs, a page at its end, and the best config as a command."""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster.search_space import Values, said
from cluster.trials import TrialRecord, best_of
from jobs.parts.command_for import command_for
from pipelines.storage import Storage

if TYPE_CHECKING:
    from jobs.parts.sweep_config import SweepConfig

logger = logging.getLogger(__name__)

PAGE = "sweep.html"


class Searched(NamedTuple):
    """What is known of a search before any trial."""

    fingerprint: str
    """Of the data."""
    samples_per_trial: int
    chance: float | None
    """UAR of guessing; None where there are no classes."""
    run_of: Callable[[Values], str | None]
    """Directory of a trial's run, where it is one."""


@contextlib.contextmanager
def show(config: SweepConfig, searched: Searched) -> Iterator[Callable[[Sequence[TrialRecord]], None]]:
    """Shows the trials at every event: a table on a terminal, lines in the log of a job."""
    from rich.console import Console
    from rich.live import Live

    from jobs.parts.sweep_table import trial_table

    if not sys.stderr.isatty():
        seen: dict[int, TrialRecord] = {}
        yield lambda trials: _log_changes(seen, trials, config)
        return
    with Live(console=Console(stderr=True), auto_refresh=False) as live:
        yield lambda trials: live.update(trial_table(report(config, trials, searched, command=None)), refresh=True)


def report(
    config: SweepConfig, trials: Sequence[TrialRecord], searched: Searched, *, command: str | None
) -> dict[str, Any]:
    """What the page and the table are drawn from, as JSON values. `command` is that of the best trial, which the table
    does not show."""
    best = best_of(trials)
    return {
        "title": f"Sweep {config.recipe}",
        "metric": config.metric,
        "corpus": config.scored_on,
        "space": [
            {
                "name": one.name,
                "choices": None if one.choices is None else list(one.choices),
                "low": None if one.choices else one.low,
                "high": None if one.choices else one.high,
                "log": one.log,
            }
            for one in config.dimensions
        ],
        "trials": [
            {
                "number": trial.number,
                "values": trial.values,
                "state": "failed" if trial.state == "broken" else trial.state,
                "score": trial.score,
                "samples": trial.samples,
                "rows": [{"samples": row.samples, "score": row.score} for row in trial.rows],
                "detail": trial.detail,
                "run_directory": searched.run_of(trial.values),
            }
            for trial in trials
        ],
        "best": best and {"number": best.number, "values": best.values, "score": best.score, "command": command},
        "chance": searched.chance if config.metric.endswith("uar") else None,
        "notes": config.notes,
    }


def best_command(config: SweepConfig, values: Values, *, home: str | None) -> str:
    """The command line of a trial's run by itself: given, it finds the run of the sweep again. `home` is what the user
    said of it."""
    trial = config.trial(values)
    command = command_for(f"jobs/{trial.JOB}.py", config.recipes()[trial.recipe], trial)
    return command + (f" --home {shlex.quote(home)}" if home else "")


def write_page(place: Storage, found: dict[str, Any]) -> str:
    """Address of sweep.html."""
    from jobs.parts.sweep_page import sweep_page

    place.write(PAGE, sweep_page(found))
    return place.full(PAGE)


def _log_changes(seen: dict[int, TrialRecord], trials: Sequence[TrialRecord], config: SweepConfig) -> None:
    total = config.search.count(config.dimensions)
    for trial in trials:
        before = seen.get(trial.number)
        if before is not None and (before.state, before.rows) == (trial.state, trial.rows):
            continue
        seen[trial.number] = trial
        values = ", ".join(f"{name} {said(value)}" for name, value in trial.values.items())
        measured = f": {config.metric} {trial.score:.3f} after {trial.samples} samples" if trial.rows else ""
        state = "" if trial.state == "running" else f" ({trial.state})"
        logger.info("trial %d of %d%s, %s%s", trial.number, total, state, values, measured)
        if trial.detail:
            logger.warning("trial %d failed: %s", trial.number, trial.detail)

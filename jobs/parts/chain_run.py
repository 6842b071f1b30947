"""A chain from its config: planned, or run to its end, or as far as it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cluster.runtime import end_job, print_result, ray_session
from jobs.parts.chain import Outcome, run_stages
from jobs.parts.chain_config import ChainConfig, Stage
from jobs.parts.chain_keys import describe
from jobs.parts.chain_ledger import Ledger, read_ledger
from jobs.parts.chain_report import show_outcomes, show_plan, show_tables
from jobs.parts.command_line import Command
from pipelines.storage import Storage
from pipelines.storage import home as default_home

CHAIN = "chain.json"


def run_chain(command: Command[ChainConfig]) -> dict[str, Any]:
    """Runs what is to be run, shows what became of the stages, and prints the result as the last line, which it also
    returns.

    Raises ValueError for roots that are missing or not used, or a directory that holds another recipe's chain.
    """
    config = command.config
    home, place = _places(command)
    stages = config.stages()
    ledger = Ledger(place, config.recipe, [stage.name for stage in stages])
    place.write(CHAIN, json.dumps({"recipe": config.recipe, "stages": describe(stages)}, indent=1).encode())
    with ray_session(dashboard=True):
        from jobs.parts.chain_runners import stage_runners

        outcomes = run_stages(stages, ledger, stage_runners(home, place))
    result = summarize(stages, outcomes, ledger, place)
    show_outcomes(stages, outcomes, title=place.uri)
    show_tables(list(map(_text, result["tables"])))
    if failures(result):  # told by the caller, who ends with status 1: trying again later would not mend them
        print_result(result, place)
    else:
        end_job(result, place)
    return result


def plan_chain(command: Command[ChainConfig]) -> None:
    """Shows what `run_chain` would do and prints it as the last line. Starts no Ray and writes nothing. Raises as
    `run_chain` does, but not for roots that are missing."""
    from jobs.parts.chain_plan import plan

    config = command.config
    home, place = _places(command)
    rows = plan(config.stages(), read_ledger(place, config.recipe), home)
    show_plan(rows, title=f"{config.recipe}: what would run, in {place.uri}")
    print_result({"directory": place.uri, "recipe": config.recipe, "plan": [asdict(row) for row in rows]})


def failures(result: Mapping[str, Any]) -> str | None:
    """What to end the job with: the stages that failed, each with its error, that ended early though nobody asked them
    to, and those that were not run for it."""
    lines = [f"{name} failed: {error}" for name, error in result["failed"].items()]
    if not result["was_asked_to_stop"]:
        lines += [f"{name} is not finished" for name, state in result["stages"].items() if state == "unfinished"]
    if not lines:
        return None
    if without := [name for name, state in result["stages"].items() if state == "not run"]:
        lines.append(f"not run: {', '.join(without)}")
    return "\n".join([*lines, "the same command tries again, or goes on"])


def summarize(
    stages: Sequence[Stage], outcomes: Mapping[str, Outcome], ledger: Ledger, place: Storage
) -> dict[str, Any]:
    """The result line."""
    done = [stage for stage in stages if outcomes[stage.name].is_done]
    results = {stage.name: ledger.entries[stage.name].result or {} for stage in done}
    return {
        "directory": place.uri,
        "stages": {name: outcome.state for name, outcome in outcomes.items()},
        "failed": {name: outcome.detail for name, outcome in outcomes.items() if outcome.state == "failed"},
        "tables": [results[stage.name]["markdown"] for stage in done if stage.job == "table"],
        "exported": [results[stage.name]["weights"] for stage in done if stage.job == "export"],
        "submissions": [one for stage in done for one in results[stage.name].get("submissions", {}).values()],
        "was_asked_to_stop": any(outcome.was_asked_to_stop for outcome in outcomes.values()),
        "is_finished": len(done) == len(stages),
    }


def _text(address: str) -> str:
    folder, _, name = address.rpartition("/")
    return Storage(folder).read(name).decode()


def _places(command: Command[ChainConfig]) -> tuple[Storage, Storage]:
    home = Storage(command.home) if command.home else default_home()
    return home, home.child("chains", command.name or command.config.recipe)

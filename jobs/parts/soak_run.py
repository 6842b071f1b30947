"""A soak: short trainings as a user starts them, each under a plan of faults, and each beside one without any."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.fault_config import FaultPlan
from cluster.faults import DIRECTORY as FAULTS
from cluster.faults import unfired
from jobs.parts.catalog import find_catalog
from jobs.parts.command_for import command_for
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.pretraining import TRAINING_SPLIT
from jobs.parts.soak_audit import LOSS_TOLERANCE, account, largest_gap, losses
from jobs.parts.soak_config import SoakConfig
from jobs.parts.soak_plan import Leg, SoakPlan, draw_plan, training_config
from jobs.parts.synthetic_corpus import synthetic_place
from jobs.recipes.voxceleb import nano
from pipelines.catalog import OK
from pipelines.storage import Storage

logger = logging.getLogger(__name__)

JOB = Path(__file__).parents[1] / "pretrain_voxceleb.py"
SPARE_COMMANDS = 2
"""Given beyond those that the plan needs, to see whether the run can still be finished; they count as wrong."""


@dataclass(frozen=True)
class Ended:
    """One command."""

    code: int | None
    """None: it took too long and was ended."""
    result: dict[str, Any] | None
    log: str


def soak(config: SoakConfig) -> list[dict[str, Any]]:
    """One row for each seed, with what is "wrong" with it. Raises RuntimeError when an undisturbed run fails."""
    home = Storage(config.home or tempfile.mkdtemp(prefix="soak-"))
    logger.info("runs are kept in %s", home.uri)
    rows = []
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        rows.append(soak_seed(config, draw_plan(config, seed), home))
        logger.info("seed %d: %s", seed, "; ".join(rows[-1]["wrong"]) or "well")
    if config.home is None and not any(row["wrong"] for row in rows):
        shutil.rmtree(home.uri)
    return rows


def soak_seed(config: SoakConfig, plan: SoakPlan, home: Storage) -> dict[str, Any]:
    begun = time.monotonic()
    name, reference = f"soak-{plan.seed}", f"soak-{plan.seed}-undisturbed"
    whole = Leg(plan.legs[0].workers, until=None)
    undisturbed = give(training_config(config, plan, whole, is_disturbed=False), home, reference, config)
    if undisturbed.result is None:
        raise RuntimeError(
            f"the undisturbed run of seed {plan.seed} failed (exit code {undisturbed.code}):\n{undisturbed.log}"
        )
    commands = _walk(config, plan, home, name)
    run = home.child("runs", name)
    own, others = (losses(home.child("runs", one), config.steps) for one in (name, reference))
    place = run.child(FAULTS)
    found = account(run, _due(config, plan, home), config.epochs, config.steps)
    row = {
        "seed": plan.seed,
        "zero_stage": plan.zero_stage,
        "workers": [leg.workers for leg in plan.legs],
        "stops": [leg.until for leg in plan.legs[:-1]],
        "faults": list(plan.faults),
        "planned": len(plan.faults),
        "fired": sum(1 for _ in place.list()),
        "commands": len(commands),
        "attempts": found.lives,
        "steps": _steps(commands[-1]),
        "undisturbed_steps": _steps(undisturbed),
        "consumed": found.consumed,
        "twice": found.twice,
        "missing": found.missing,
        "foreign": found.foreign,
        "loss": own and own[-1],
        "undisturbed_loss": others and others[-1],
        "largest_gap": largest_gap(own, others),
        "seconds": round(time.monotonic() - begun),
    }
    silent = [fault.label for fault in unfired(FaultPlan(plan.faults), place)]
    wrong = judge(row, config.steps, needed=plan.num_commands, silent=silent)
    if wrong:
        logger.error("seed %d: the end of its last command's log\n%s", plan.seed, commands[-1].log)
    return row | {"wrong": wrong}


def judge(row: dict[str, Any], steps: int, *, needed: int, silent: list[str]) -> list[str]:
    """What is wrong with a row, `needed` commands being planned for it; `silent` are the faults that did not happen."""
    wrong = [f"{row[name]} ids {name}" for name in ("twice", "missing", "foreign") if row[name]]
    if silent:
        wrong.append(f"did not happen: {', '.join(silent)}")
    if (row["steps"], row["undisturbed_steps"]) != (steps, steps):
        wrong.append(f"{row['steps']} steps, undisturbed {row['undisturbed_steps']}, instead of {steps}")
    if row["commands"] > needed:
        wrong.append(f"{row['commands']} commands were needed instead of {needed}")
    if row["largest_gap"] is None:
        wrong.append("the log of losses has not every step once")
    elif not row["largest_gap"] <= LOSS_TOLERANCE:
        wrong.append(f"losses differ by up to {row['largest_gap']:.2g} from those of the undisturbed run")
    return wrong


def give(training: PretrainConfig, home: Storage, name: str, config: SoakConfig) -> Ended:
    """One command, in a process of its own."""
    words = shlex.split(command_for(JOB.name, nano, training))[2:]
    command = [sys.executable, str(JOB), *words, "--home", home.uri, "--name", name]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, stdout=out, stderr=log)
        try:
            code = child.wait(60 * config.command_minutes)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            child.kill()
            child.wait()
        out.seek(0)
        log.seek(0)
        printed, text = out.read().decode(), log.read().decode(errors="replace")
    result = json.loads(printed.splitlines()[-1]) if code == 0 else None
    return Ended(code, result, text[-4000:])


def _walk(config: SoakConfig, plan: SoakPlan, home: Storage, name: str) -> list[Ended]:
    """The commands of a run, given again after each that ended otherwise than by a result."""
    commands: list[Ended] = []
    left = list(plan.legs)
    while left and len(commands) < plan.num_commands + SPARE_COMMANDS:
        commands.append(give(training_config(config, plan, left[0]), home, name, config))
        logger.info("seed %d: %d workers, exit code %s", plan.seed, left[0].workers, commands[-1].code)
        if commands[-1].result is not None:
            left.pop(0)
        elif commands[-1].code is None:
            break
    return commands


def _steps(ended: Ended) -> int | None:
    return ended.result and ended.result["steps"]


def _due(config: SoakConfig, plan: SoakPlan, home: Storage) -> frozenset[int]:
    """The ids of an epoch, by the catalog."""
    corpus = training_config(config, plan, plan.legs[0]).corpus
    found = find_catalog(corpus.layout, synthetic_place(corpus, home).uri, home)
    if found is None:
        raise RuntimeError(f"there is no catalog in {home.uri}, although runs have used it")
    rows = found[1].table.select(["sample_id", "split", "status"]).to_pylist()
    return frozenset(row["sample_id"] for row in rows if (row["split"], row["status"]) == (TRAINING_SPLIT, OK))

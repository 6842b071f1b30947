"""The laptop's chain, from nothing to its table, also when it is killed on the way. Half an hour: run by hand."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4000)]

ROOT = Path(__file__).parents[2]
STAGES = ("videos", "faces", "labelled", "pretrain", "export", "sweep", "pretrained", "scratch", "table")


def start(home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "jobs" / "chain.py"), "--home", str(home)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"RAY_AUTH_MODE": "disabled"})


def finish(home: Path) -> dict:
    chain = start(home)
    printed, _ = chain.communicate(timeout=1800)
    assert chain.returncode == 0
    return json.loads(printed.splitlines()[-1])


def kill_during(home: Path, stage: str, *, after: float) -> None:
    """Ends the chain's driver at once, so many seconds after it began the stage."""
    chain, ledger = start(home), home / "chains" / "nano" / "ledger.json"
    deadline = time.monotonic() + 1800
    while time.monotonic() < deadline and chain.poll() is None:
        if ledger.exists() and json.loads(ledger.read_text())["stages"].get(stage, {}).get("state") == "running":
            break
        time.sleep(0.1)
    time.sleep(after)
    assert chain.poll() is None, f"the chain was over before {stage} could be disturbed"
    os.kill(chain.pid, signal.SIGKILL)
    chain.wait()


def table_of(result: dict) -> dict:
    return json.loads(Path(result["tables"][0]).with_suffix(".json").read_text())


def test_a_chain_that_is_killed_twice_ends_with_the_table_of_one_that_is_not(tmp_path: Path) -> None:
    begun = time.monotonic()
    undisturbed = finish(tmp_path / "undisturbed")
    print(f"undisturbed: {time.monotonic() - begun:.0f} s")
    assert undisturbed["stages"] == dict.fromkeys(STAGES, "done")
    seed = int(os.environ.get("SEMBLANCE_KILL_SEED", "0"))
    draws = random.Random(seed)
    first, second = sorted(draws.sample(["pretrain", "sweep", "pretrained", "scratch"], 2), key=STAGES.index)
    for stage in (first, second):
        kill_during(tmp_path / "killed", stage, after=draws.uniform(5, 30))
    killed = finish(tmp_path / "killed")
    assert killed["is_finished"]
    assert killed["stages"][STAGES[0]] in ("done", "skipped")
    assert table_of(killed) == table_of(undisturbed)

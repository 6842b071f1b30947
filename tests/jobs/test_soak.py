"""The small form of the soak: two runs through deaths of workers and of the driver, failed uploads, another world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.fault_config import DRIVER, FaultPlan
from jobs.parts.soak_config import SoakConfig
from pipelines.storage import Storage

JOB = Path(__file__).parents[2] / "jobs" / "soak.py"
FIRST_SEED = 9
"""Of two whose plans have, together, all that the docstring says."""


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_two_disturbed_runs_lose_nothing_and_end_like_undisturbed_ones(tmp_path: Path) -> None:
    command = [sys.executable, str(JOB), "--seeds", "2", "--first-seed", str(FIRST_SEED), "--home", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"RAY_AUTH_MODE": "disabled"})
    assert ended.stdout, ended.stderr[-6000:]
    result = json.loads(ended.stdout.splitlines()[-1])
    assert (ended.returncode, result["wrong"]) == (0, []), ended.stderr[-6000:]

    rows, config = result["runs"], SoakConfig()
    planned = [fault for row in rows for fault in FaultPlan(tuple(row["faults"])).faults]
    assert any(fault.rank == DRIVER for fault in planned) and any(fault.kind == "fail_upload" for fault in planned)
    assert any(len(set(row["workers"])) > 1 for row in rows)
    for row in rows:
        assert row["fired"] == row["planned"] == len(row["faults"]) >= 2
        assert (row["steps"], row["consumed"], row["twice"], row["missing"]) == (config.steps, 3 * config.videos, 0, 0)
        assert row["attempts"] > len(row["workers"]), "a life ended otherwise than by a stop"
        assert row["loss"] == pytest.approx(row["undisturbed_loss"], abs=1e-4) and row["largest_gap"] < 1e-4
        assert str(row["seed"]) in ended.stderr and "undisturbed" in ended.stderr
        records = [info.name for info in Storage(tmp_path).list(f"runs/soak-{row['seed']}/faults")]
        assert len(records) == row["planned"]

"""A bad number on one rank stops all of them before the update, through the loop, in every stage and precision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.commit import scan
from cluster.config import CheckpointConfig, EngineConfig
from cluster.failures import NonFinite
from cluster.fault_config import FaultPlan
from cluster.protocols import BatchPlan, Reference
from cluster.trainer import DIRECTORY
from pipelines.storage import Storage
from tests.cluster.loops import Loss, toy_run
from tests.cluster.tiny_runs import live
from tests.cluster.toy import ToyData, remaining_blocks
from tests.cluster.workers import Workers

BAD_STEP = 3
COMBINATIONS = [(stage, precision) for stage in (0, 1, 2, 3) for precision in ("fp32", "bf16")]


def blocks_of_rank_1() -> list[list[int]]:
    """Sample ids of its two micro-batches of the bad step."""
    blocks = remaining_blocks(ToyData(), 0, np.zeros(50, bool), BatchPlan(2, 2, 2))
    first = 4 * (BAD_STEP - 1)
    return [blocks[first + 1].tolist(), blocks[first + 3].tolist()]


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize(("stage", "precision"), COMBINATIONS)
def test_a_bad_number_of_one_rank_stops_all_before_the_update(
    pair: Workers, tmp_path: Path, stage: int, precision: str, what: str
) -> None:
    own = blocks_of_rank_1()
    phase = {"loss": "forward", "gradient": "backward"}[what]
    faults = FaultPlan((f"nan:rank=1,step={BAD_STEP},phase={phase}",))
    settings = {
        "engine": EngineConfig(zero_stage=stage, precision=precision, micro_batch=2),
        "checkpoint": CheckpointConfig(every_steps=BAD_STEP - 1),
        "probes": (),
    }
    stream = Reference("tests.cluster.loops:make_stream", (ToyData(), Loss()))
    run = replace(toy_run(tmp_path, data=ToyData(), faults=faults, **settings), stream=stream)
    ends = pair.run(live, run)
    for ended in ends:
        assert isinstance(ended.error, NonFinite) and f"the {what} of step {BAD_STEP}" in str(ended.error)
        assert (ended.step, ended.updates) == (BAD_STEP - 1, BAD_STEP - 1)
        assert ended.begun[-1][0] == BAD_STEP
    [commit] = scan(Storage(tmp_path / DIRECTORY)).commits
    assert commit.step == BAD_STEP - 1 and commit.progress["samples"] == 8 * (BAD_STEP - 1)
    report = json.loads((tmp_path / f"failures/step-{BAD_STEP:08d}.json").read_text())
    assert (report["step"], report["epoch"]) == (BAD_STEP, 0)
    assert [list(entry["non_finite"]) for entry in report["ranks"]] == [[], ["loss"] if what == "loss" else []]
    assert sorted(report["ranks"][1]["sample_ids"]) == sorted(own[0] + own[1])
    assert all(len(entry["losses"]) == 2 for entry in report["ranks"])
    # The checkpoint was made before the bad step: who resumes from it loads what the refused step has left.
    for ended, resumed in zip(ends, pair.run(live, replace(run, retry_refused=True)), strict=True):
        assert resumed.resumed_step == BAD_STEP - 1 and resumed.loaded == ended.left

"""From what checkpoint a run goes on, and what is told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.commit import Commit, now
from cluster.config import EngineConfig
from cluster.failures import DataChanged
from cluster.protocols import BatchPlan
from cluster.resume import check_resume, versions
from tests.cluster.loops import Loss, run_loop, toy_run
from tests.cluster.toy import ToyData
from tests.cluster.workers import Workers

PLAN = BatchPlan(workers=2, accumulation=2, micro_batch=2, deterministic=True)


def commit_of(**metadata: object) -> Commit:
    engine = {"zero_stage": 2, "precision": "fp32", "micro_batch": 2, "updates": 3}
    own = {"stream": "toy", "versions": versions(), **metadata}
    return Commit("step-00000003-0a", 3, 0, 2, now(), progress={}, engine=engine, metadata=own, files={})


def test_a_checkpoint_of_the_same_making_is_gone_on_from_in_silence(tmp_path: Path) -> None:
    run = toy_run(tmp_path, data=ToyData())
    assert check_resume(run, None, "toy", PLAN) == []
    assert check_resume(run, commit_of(), "toy", PLAN) == []


def test_other_versions_are_told_of_each_with_both_numbers(tmp_path: Path) -> None:
    run = toy_run(tmp_path, data=ToyData())
    [line] = check_resume(run, commit_of(versions=versions() | {"torch": "2.9.0"}), "toy", PLAN)
    assert "other versions: torch 2.9.0 -> " in line and "ray" not in line


def test_other_workers_and_stages_are_told_of_in_deterministic_mode_alone(tmp_path: Path) -> None:
    run = toy_run(tmp_path, data=ToyData(), engine=EngineConfig(zero_stage=1, precision="fp32"))
    [line] = check_resume(run, commit_of(), "toy", replace(PLAN, workers=1, micro_batch=4))
    assert "workers 2 -> 1, zero_stage 2 -> 1, micro_batch 2 -> 4" in line
    assert check_resume(run, commit_of(), "toy", replace(PLAN, workers=1, deterministic=False)) == []


def test_other_data_than_that_of_the_checkpoint_is_refused_on_all_ranks_and_nothing_changes(
    pair: Workers, tmp_path: Path
) -> None:
    run = toy_run(tmp_path, data=ToyData(), stop_at_step=3)
    pair.run(run_loop, run, Loss(), None)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    changed = toy_run(tmp_path, data=ToyData(fingerprint="other"))
    with pytest.raises(DataChanged, match="toy, the stream now has other"):
        pair.run(run_loop, changed, Loss(), None)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

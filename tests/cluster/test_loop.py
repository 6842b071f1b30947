"""The loop: every sample of an epoch once, exact means, no damage, resumable at any step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster.commit import scan
from cluster.config import CheckpointConfig, QuarantineBudget, TelemetryConfig
from cluster.failures import EpochIncomplete, NonFinite, QuarantineBudgetExceeded, SampleRepeated
from cluster.fault_config import FaultPlan
from cluster.ledger import QUARANTINE, read_epoch
from cluster.loop import MAX_ROUNDS, forward_seed
from cluster.protocols import BatchPlan, Reference
from cluster.trainer import DIRECTORY
from pipelines.storage import Storage
from tests.cluster.loops import Loss, Outcome, mark_twice, run_loop, some_micro_batch, toy_run
from tests.cluster.toy import SquaredMeanTask, ToyData, ToyTask, make_rows, remaining_blocks
from tests.cluster.workers import Workers

REJECTED = (7, 30)


def train(
    pair: Workers,
    folder: Path,
    *,
    data: ToyData | None = None,
    loss: Loss | None = None,
    stop_after: int | None = None,
    **changes: Any,
) -> list[Outcome]:
    run = toy_run(folder, data=data or ToyData(), **changes)
    return pair.run(run_loop, run, loss or Loss(), stop_after)


def trained_ids(outcomes: list[Outcome]) -> list[int]:
    return sorted(sample_id for outcome in outcomes for _, ids in outcome.begun for sample_id in ids)


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_sample_is_trained_on_once_per_epoch(pair: Workers, tmp_path: Path) -> None:
    outcomes = train(pair, tmp_path)
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert trained_ids(outcomes) == sorted([*range(50), *range(50)])
    assert (outcomes[0].step, outcomes[0].samples) == (14, 100)
    for epoch in (0, 1):
        consumed, quarantined = read_epoch(Storage(tmp_path), epoch)
        assert consumed.sum() == 50 and quarantined.size == 0


def test_the_loss_falls_and_each_step_is_logged_once(pair: Workers, tmp_path: Path) -> None:
    train(pair, tmp_path)
    rows = [row for row in json_lines(tmp_path / "metrics.jsonl") if "loss/total" in row]
    assert [row["step"] for row in rows] == list(range(1, 15))
    losses = [row["loss/total"] for row in rows]
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])


@pytest.mark.parametrize("is_global", [False, True])
def test_the_update_is_that_of_the_mean_over_the_real_samples_of_a_ragged_batch(
    pair: Workers, tmp_path: Path, is_global: bool
) -> None:
    data = ToyData(num_samples=5, rejected=(2,))
    changes = {"task": Reference("tests.cluster.toy:make_squared_mean_task", ())} if is_global else {}
    outcomes = train(pair, tmp_path, data=data, stop_at_step=1, **changes)
    torch.manual_seed(0)
    task = SquaredMeanTask() if is_global else ToyTask()
    ids_B = np.array([0, 1, 3, 4])
    x_BD = torch.from_numpy(make_rows(ids_B, ())["x_BD"])
    optimizer = torch.optim.AdamW(task.parameters(), lr=3.2 * 8 / 256, betas=(0.9, 0.95), weight_decay=0.0)
    batch = {"x_BD": x_BD, "sample_id_B": torch.from_numpy(ids_B), "weight_B": torch.full((4,), 0.25)}
    loss = (task.linear(x_BD).squeeze(1) - x_BD.sum(1)).mean() ** 2 if is_global else task(batch)["loss"]
    loss.backward()
    optimizer.step()
    expected = torch.cat([parameter.detach().flatten() for parameter in task.parameters()])
    for outcome in outcomes:
        torch.testing.assert_close(outcome.weights, expected, rtol=1e-5, atol=1e-6)
    [row] = [row for row in json_lines(tmp_path / "metrics.jsonl") if row["step"] == 1]
    assert row["loss/total"] == pytest.approx(loss.item(), rel=1e-5)


def test_a_run_stopped_and_resumed_ends_like_an_undisturbed_one(pair: Workers, tmp_path: Path) -> None:
    data = ToyData(rejected=REJECTED)
    whole = train(pair, tmp_path / "whole", data=data)
    first = train(pair, tmp_path / "parts", data=data, stop_at_step=4)
    second = train(pair, tmp_path / "parts", data=data, stop_after=4)
    third = train(pair, tmp_path / "parts", data=data)
    assert [part[0].step for part in (first, second, third)] == [4, 8, whole[0].step]
    assert sorted(trained_ids(first) + trained_ids(second) + trained_ids(third)) == trained_ids(whole)
    torch.testing.assert_close(third[0].weights, whole[0].weights, rtol=0, atol=0)
    for name in (QUARANTINE, "metrics.jsonl"):
        parts, undisturbed = json_lines(tmp_path / "parts" / name), json_lines(tmp_path / "whole" / name)
        assert [row["step"] for row in parts] == [row["step"] for row in undisturbed]


def test_a_resumed_run_drops_what_was_written_after_its_checkpoint(pair: Workers, tmp_path: Path) -> None:
    data = ToyData(rejected=REJECTED)
    train(pair, tmp_path, data=data)
    listing = scan(Storage(tmp_path / DIRECTORY))
    for commit in listing.commits:
        if commit.step > 3:  # as if the run had died before these were committed
            Storage(tmp_path / DIRECTORY).remove_tree(commit.name)
    train(pair, tmp_path, data=data)
    rows = json_lines(tmp_path / QUARANTINE)
    assert sorted((row["epoch"], row["sample_id"]) for row in rows) == [(e, i) for e in (0, 1) for i in REJECTED]
    assert [row["step"] for row in json_lines(tmp_path / "metrics.jsonl")] == list(range(15))


def test_rejected_rows_are_recorded_and_not_trained_on(pair: Workers, tmp_path: Path) -> None:
    outcomes = train(pair, tmp_path, data=ToyData(rejected=REJECTED))
    assert not set(trained_ids(outcomes)) & set(REJECTED)
    assert (outcomes[0].samples, outcomes[0].quarantined) == (96, 4)
    row = json_lines(tmp_path / QUARANTINE)[0]
    assert row["uri"] == f"toy/{row['sample_id']}" and row["reason"] == "empty"
    consumed, quarantined = read_epoch(Storage(tmp_path), 1)
    assert consumed.all() and quarantined.tolist() == list(REJECTED)


def test_too_many_rejected_rows_stop_the_run_with_their_reasons(pair: Workers, tmp_path: Path) -> None:
    budget = QuarantineBudget(fraction=0.0, at_least=3)
    outcomes = train(pair, tmp_path, data=ToyData(rejected=tuple(range(20))), quarantine=budget)
    for outcome in outcomes:
        assert isinstance(outcome.error, QuarantineBudgetExceeded)
        assert "3 allowed ({'empty':" in str(outcome.error) and "toy/" in str(outcome.error)
    assert len(json_lines(tmp_path / QUARANTINE)) >= 4


def test_a_batch_of_rejected_rows_alone_makes_no_update(pair: Workers, tmp_path: Path) -> None:
    data = ToyData(num_samples=8, rejected=tuple(range(8)))
    outcomes = train(pair, tmp_path, data=data)
    assert [(outcome.step, outcome.samples, outcome.quarantined) for outcome in outcomes] == [(0, 0, 16)] * 2
    torch.manual_seed(0)
    untouched = torch.cat([parameter.detach().flatten() for parameter in ToyTask().parameters()])
    torch.testing.assert_close(outcomes[0].weights, untouched, rtol=0, atol=0)


def test_blocks_lost_on_the_way_are_asked_for_again(pair: Workers, tmp_path: Path) -> None:
    outcomes = train(pair, tmp_path, loss=Loss(dropped_blocks=(1, 2, 5), dropped_rounds=1))
    assert trained_ids(outcomes) == sorted([*range(50), *range(50)])
    assert outcomes[0].rounds + outcomes[1].rounds == 3


def test_blocks_that_never_come_stop_the_run(pair: Workers, tmp_path: Path) -> None:
    outcomes = train(pair, tmp_path, loss=Loss(dropped_blocks=(0,), dropped_rounds=100))
    for outcome in outcomes:
        assert isinstance(outcome.error, EpochIncomplete)
        assert f"epoch 0: 2 samples missing after {MAX_ROUNDS} rounds" in str(outcome.error)


def test_a_sample_delivered_twice_stops_the_run_before_it_is_committed(pair: Workers, tmp_path: Path) -> None:
    outcomes = train(pair, tmp_path, loss=Loss(repeated_block=0))
    assert all(isinstance(outcome.error, SampleRepeated) for outcome in outcomes)
    assert all(commit.step < outcomes[0].step for commit in scan(Storage(tmp_path / DIRECTORY)).commits)
    assert pair.run(mark_twice, str(tmp_path)) == ["epoch 0: delivered twice: some samples, to two workers"] * 2


def test_a_nan_on_one_rank_stops_both_before_the_update_and_names_its_samples(pair: Workers, tmp_path: Path) -> None:
    blocks = remaining_blocks(ToyData(), 0, np.zeros(50, bool), BatchPlan(2, 2, 2))
    outcomes = train(pair, tmp_path, faults=FaultPlan(("nan:rank=1,step=3,phase=forward",)))
    before = train(pair, tmp_path / "before", stop_at_step=2)
    concerned = sorted(int(i) for block in (blocks[9], blocks[11]) for i in block)  # step 3, rank 1
    for outcome, clean in zip(outcomes, before, strict=True):
        assert isinstance(outcome.error, NonFinite) and outcome.step == 2
        assert "the loss of step 3" in str(outcome.error) and "rank 1: sample ids [" in str(outcome.error)
        assert "rank 0" not in str(outcome.error)
        torch.testing.assert_close(outcome.weights, clean.weights, rtol=0, atol=0)
    report = json.loads((tmp_path / "failures/step-00000003.json").read_text())
    assert sorted(report["ranks"][1]["sample_ids"]) == concerned
    assert scan(Storage(tmp_path / DIRECTORY)).commits == []


def test_a_nan_gradient_behind_a_finite_loss_stops_before_the_update(pair: Workers, tmp_path: Path) -> None:
    outcomes = train(pair, tmp_path, faults=FaultPlan(("nan:rank=0,step=2,phase=backward",)))
    for outcome in outcomes:
        assert isinstance(outcome.error, NonFinite)
        assert "the gradient of step 2" in str(outcome.error)
        assert "rank 0" in str(outcome.error) and "rank 1" in str(outcome.error)
        assert outcome.weights.isfinite().all()


def test_checkpoints_come_every_n_steps_and_at_the_end_of_each_epoch_and_never_twice(
    pair: Workers, tmp_path: Path
) -> None:
    train(pair, tmp_path, checkpoint=CheckpointConfig(every_steps=7, keep_last=100))
    commits = scan(Storage(tmp_path / DIRECTORY)).commits
    assert [(commit.step, commit.epoch) for commit in commits] == [(14, 2), (7, 1)]


def test_probes_run_first_at_their_interval_and_at_the_end(pair: Workers, tmp_path: Path) -> None:
    telemetry = TelemetryConfig(log_every_steps=5, probe_every_steps=4, tensorboard=False)
    outcomes = train(pair, tmp_path / "run", telemetry=telemetry)
    assert (tmp_path / "run-probe").read_text().split() == ["0", "4", "8", "12", "14"]
    assert all(outcome.is_training for outcome in outcomes)
    rows = json_lines(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if "toy/mean_weight" in row] == [0, 4, 8, 12, 14]
    assert [row["step"] for row in rows] == [0, 4, 5, 8, 10, 12, 14]


def test_a_micro_batch_weighs_real_rows_alone() -> None:
    batch = some_micro_batch()
    assert batch.weighted(3.0)["weight_B"].tolist() == [3.0, 0.0, 0.0]
    assert batch.blank().weighted(3.0)["weight_B"].tolist() == [0.0, 0.0, 0.0]
    assert (batch.num_rejected, batch.blank().num_rejected) == (1, 0)
    assert set(batch.weighted(1.0)) == {"x_BD", "sample_id_B", "weight_B"}


def test_the_seed_of_a_forward_pass_differs_by_step_rank_and_micro_step() -> None:
    seeds = {forward_seed(0, step, rank, micro) for step in range(5) for rank in range(4) for micro in range(3)}
    assert len(seeds) == 60
    assert forward_seed(0, 3, 1, 2) == forward_seed(0, 3, 1, 2)

"""`fit` on Ray: two workers, a stop, a death, a NaN. Reuses three runs, because starting workers is what takes time."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import ray

from cluster import attempts, runtime, worker_group
from cluster.audit import surviving
from cluster.checkpoint import load_weights
from cluster.commit import scan
from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, WorkersConfig
from cluster.failures import NonFinite, WorkersFailed
from cluster.fault_config import FaultPlan
from cluster.ledger import read_epoch
from cluster.monitor import start_monitor
from cluster.preflight import Capacity, Demand, InsufficientResources
from cluster.runtime import ray_session, stop_requests
from cluster.trainer import TrainingResult, TrainingRun, fit, plan_batches
from cluster.watch import watching
from cluster.worker import train_worker
from cluster.worker_group import RAY_TRAIN_SETTINGS, set_ray_train
from pipelines.storage import Storage
from tests.cluster.loops import toy_run
from tests.cluster.toy import ToyData

REJECTED = (7, 30)
LAPTOP = Capacity(cpus=2, gpus=0, node_cpus=2, node_gpus=0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        patch.delenv("RAY_ADDRESS", raising=False)
        with ray_session(num_cpus=2, object_store_bytes=300_000_000):
            yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(cluster: None, folder: Path) -> TrainingResult:
    return fit(toy_run(folder / "undisturbed", data=ToyData(rejected=REJECTED)))


@pytest.fixture(scope="module")
def disturbed(cluster: None, folder: Path) -> TrainingResult:
    """Stopped after step 8, and in the next life both workers are killed in the second epoch."""
    run = toy_run(folder / "disturbed", data=ToyData(rejected=REJECTED))
    stopped = fit(replace(run, stop_at_step=8))
    assert not stopped.is_finished and stopped.steps == 8
    deaths = tuple(f"kill:rank={rank},step=11,phase=forward" for rank in (0, 1))
    result = fit(replace(run, faults=FaultPlan(deaths)))
    assert result.unfired_faults == ()
    return result


def weights_of(result: TrainingResult) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in load_weights(result.checkpoint)[0].items()}


def rows_of(result: TrainingResult, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Storage(result.run_directory).read(name).splitlines()]


@pytest.mark.timeout(300)
def test_after_a_run_an_interrupt_is_no_longer_ray_trains(undisturbed: TrainingResult) -> None:
    assert "ray" not in signal.getsignal(signal.SIGINT).__module__


@pytest.mark.timeout(300)
def test_a_run_trains_to_its_end(undisturbed: TrainingResult) -> None:
    assert undisturbed.is_finished
    assert (undisturbed.steps, undisturbed.epochs, undisturbed.samples, undisturbed.quarantined) == (14, 2, 96, 4)
    losses = [row["loss/total"] for row in rows_of(undisturbed, "metrics.jsonl") if "loss/total" in row]
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])
    assert undisturbed.metrics["step"] == 14 and undisturbed.metrics["data/quarantined"] == 4


def test_rejected_rows_end_in_the_quarantine_file(undisturbed: TrainingResult) -> None:
    rows = rows_of(undisturbed, "quarantine.jsonl")
    assert sorted((row["epoch"], row["sample_id"]) for row in rows) == [(e, i) for e in (0, 1) for i in REJECTED]


def test_the_run_directory_says_what_was_run(undisturbed: TrainingResult) -> None:
    facts = json.loads(Storage(undisturbed.run_directory).read("run.json"))
    assert facts["stream"] == "toy" and facts["plan"]["accumulation"] == 2 and "torch" in facts["versions"]


@pytest.mark.timeout(300)
def test_a_stopped_run_with_all_workers_killed_ends_like_an_undisturbed_one(
    undisturbed: TrainingResult, disturbed: TrainingResult
) -> None:
    assert replace(disturbed, run_directory="", checkpoint="", metrics={}) == replace(
        undisturbed, run_directory="", checkpoint="", metrics={}
    )
    expected = weights_of(undisturbed)
    for name, weight in weights_of(disturbed).items():
        np.testing.assert_allclose(weight, expected[name], rtol=1e-6)


def test_every_epoch_consumed_the_same_samples_after_a_stop_and_a_kill(
    undisturbed: TrainingResult, disturbed: TrainingResult
) -> None:
    for epoch in (0, 1):
        whole, parts = (read_epoch(Storage(result.run_directory), epoch) for result in (undisturbed, disturbed))
        assert whole[0].all() and parts[0].all()
        assert whole[1].tolist() == parts[1].tolist() == list(REJECTED)


def test_no_row_is_lost_or_doubled_by_a_stop_and_a_kill(undisturbed: TrainingResult, disturbed: TrainingResult) -> None:
    for name in ("metrics.jsonl", "quarantine.jsonl"):
        assert [row["step"] for row in rows_of(disturbed, name)] == [row["step"] for row in rows_of(undisturbed, name)]


def test_a_finished_run_is_returned_at_once(undisturbed: TrainingResult, folder: Path) -> None:
    again = fit(toy_run(folder / "undisturbed", data=ToyData(rejected=REJECTED), bug_ids=(0,)))
    assert again == undisturbed


def test_a_finished_run_names_the_planned_faults_that_did_not_happen(
    undisturbed: TrainingResult, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = FaultPlan(("kill:rank=0,step=99,phase=mark", "raise:rank=5,step=1,phase=update,count=2"))
    again = fit(toy_run(folder / "undisturbed", data=ToyData(rejected=REJECTED), faults=plan))
    assert again == replace(undisturbed, unfired_faults=("kill-0-99-mark", "raise-5-1-update"))
    assert "did not happen: kill-0-99-mark, raise-5-1-update" in caplog.text


@pytest.mark.timeout(300)
def test_a_nan_ends_a_run_begun_from_other_weights_and_is_not_committed(
    undisturbed: TrainingResult, folder: Path
) -> None:
    run = toy_run(
        folder / "nan",
        data=ToyData(),
        faults=FaultPlan(("nan:rank=1,step=4,phase=forward",)),
        init_from=undisturbed.checkpoint,
    )
    with pytest.raises(NonFinite, match=r"loss of step 4 .*(.|\n)*rank 1: sample ids \[\d"):
        fit(run)
    before = json.loads((folder / "nan" / "metrics.jsonl").read_text().splitlines()[0])
    assert before == {"step": 0, "toy/mean_weight": undisturbed.metrics["toy/mean_weight"]}
    [report] = list((folder / "nan" / "failures").iterdir())
    failed_step = json.loads(report.read_text())["step"]
    assert all(commit.step < failed_step for commit in scan(Storage(run.run_directory).child("checkpoints")).commits)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_worker_that_always_dies_at_the_same_step_ends_the_run(cluster: None, folder: Path) -> None:
    run = toy_run(folder / "crash", data=ToyData(), faults=FaultPlan(("kill:rank=0,step=2,phase=forward,count=9",)))
    with pytest.raises(WorkersFailed, match=r"twice without progress, in step 2, with sample ids by rank .*0: \[\d"):
        fit(run)


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_a_rank_that_hangs_is_noticed_by_the_others_which_leave_their_stacks_and_the_run_goes_on(
    cluster: None, folder: Path
) -> None:
    workers = WorkersConfig(num_workers=2, cpus_per_worker=0.5, hang_timeout_s=60)
    faults = FaultPlan(("stop:rank=1,step=5,phase=update",), record_ids=True)
    checkpoint = CheckpointConfig(every_steps=3, timeout_s=50)
    run = toy_run(folder / "hang", data=ToyData(), workers=workers, checkpoint=checkpoint, faults=faults, probes=())
    result = fit(run)
    assert result.is_finished and result.steps == 14 and result.unfired_faults == ()
    assert surviving(Storage(result.run_directory)) == {epoch: dict.fromkeys(range(50), 1) for epoch in (0, 1)}
    first, second = attempts.read(Storage(result.run_directory))
    assert "failed in step 5" in first["how"] and (second["resumed_step"], second["how"]) == (3, "ended")
    stacks = (folder / "hang" / "failures" / "stacks-rank-00000.txt").read_text()
    assert "Timeout" in stacks and "all_reduce" in stacks and "_global_batches" in stacks


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_bug_on_one_rank_ends_the_run_after_one_restart(cluster: None, folder: Path) -> None:
    run = toy_run(folder / "bug", data=ToyData(), bug_ids=(5,))
    with pytest.raises(WorkersFailed, match="KeyError: 'a bug in the task'"):
        fit(run)


def test_a_job_that_does_not_fit_is_refused_before_anything_starts(cluster: None, folder: Path) -> None:
    run = toy_run(folder / "large", data=ToyData(), demands=(Demand("decoder", 3, cpus=1.0),))
    with pytest.raises(InsufficientResources, match="3 x decoder with 1 CPU each"):
        fit(run)
    assert not (folder / "large").exists()


def test_the_monitor_runs_beside_the_driver_and_takes_no_cpu(cluster: None) -> None:
    before = ray.available_resources()["CPU"]
    monitor = start_monitor()
    assert ray.get(monitor.attempt.remote()).resumed_step == 0
    assert ray.available_resources()["CPU"] == before


def test_a_job_whose_own_node_is_draining_is_asked_to_stop_and_its_workers_are_told(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_was_asked_to_stop", Event())
    monitor, here = start_monitor(), ray.get_runtime_context().get_node_id()
    ray.get(monitor.joined.remote(0, here))
    with stop_requests() as stop, watching(monitor, stop, print, draining=lambda: {here: 0}):
        assert stop.wait(10)
    assert ray.get(monitor.begin.remote(0, 1, [])) and ray.get(monitor.attempt.remote()).was_drained
    with pytest.raises(SystemExit):
        runtime.end_job({"is_finished": False})


def test_a_run_that_is_stopped_before_its_first_checkpoint_is_not_finished(
    cluster: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_group, "train_once", lambda *_, **__: None)  # the workers left before their first step
    run = toy_run(folder / "before", data=ToyData())
    with stop_requests() as stop:
        stop.set()
        result = fit(run)
    assert (result.is_finished, result.checkpoint, result.steps, result.samples) == (False, None, 0, 0)
    monkeypatch.undo()
    assert fit(replace(run, stop_at_step=2)).steps == 2


def test_drains_of_other_nodes_concern_nobody(cluster: None) -> None:
    monitor = start_monitor()
    ray.get(monitor.joined.remote(0, ray.get_runtime_context().get_node_id()))
    with stop_requests() as stop, watching(monitor, stop, print, draining=lambda: {"another": 0}):
        assert not stop.wait(2)
    assert not ray.get(monitor.begin.remote(0, 1, []))


def test_the_train_function_travels_by_name() -> None:
    assert train_worker.__module__ == "cluster.worker" and train_worker.__qualname__ == "train_worker"


def plan(run: TrainingRun, capacity: Capacity = LAPTOP) -> tuple[int, int, int]:
    planned = plan_batches(run, capacity)
    return planned.workers, planned.accumulation, planned.micro_batch


def base_run(**changes: Any) -> TrainingRun:
    run = toy_run("runs/x", data=ToyData())
    return replace(
        run, workers=WorkersConfig(), engine=EngineConfig(), optimizer=OptimizerConfig(global_batch=12), **changes
    )


def test_the_global_batch_is_dealt_out_to_one_worker_per_gpu_or_one_on_cpus() -> None:
    assert plan(base_run()) == (1, 1, 12)
    assert plan(base_run(), Capacity(cpus=64, gpus=4, node_cpus=64, node_gpus=4)) == (4, 1, 3)
    micro = replace(base_run(), engine=EngineConfig(micro_batch=2), workers=WorkersConfig(num_workers=2))
    assert plan(micro) == (2, 3, 2)


def test_a_global_batch_that_cannot_be_dealt_out_is_refused_with_what_can() -> None:
    with pytest.raises(ValueError, match=r"to 5 workers; num_workers may be \[1, 2, 3, 4, 6, 12\]"):
        plan(replace(base_run(), workers=WorkersConfig(num_workers=5)))
    with pytest.raises(ValueError, match=r"micro_batch=5 does not divide the 12 .* \[1, 2, 3, 4, 6, 12\]"):
        plan(replace(base_run(), engine=EngineConfig(micro_batch=5)))


def test_a_run_that_stops_before_its_first_step_is_refused() -> None:
    with pytest.raises(ValueError, match="stop_at_step=0"):
        base_run(stop_at_step=0)


def test_a_save_may_not_take_as_long_as_a_worker_that_is_taken_for_hung() -> None:
    with pytest.raises(ValueError, match=r"checkpoint\.timeout_s=90 must be below workers\.hang_timeout_s=60"):
        replace(base_run(), workers=WorkersConfig(hang_timeout_s=60), checkpoint=CheckpointConfig(timeout_s=90))


def test_settings_of_ray_train_are_explicit_but_the_users_own_stay() -> None:
    environment = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "9"}
    set_ray_train(environment, with_gpus=False)
    assert environment == RAY_TRAIN_SETTINGS | {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "9"}
    set_ray_train(environment, with_gpus=True)
    assert environment["RAY_TRAIN_ENABLE_NCCL_HANG_DETECTOR"] == "1"

"""The head of a cluster dies with the job, the workers and all of Ray's memory: the same command, on another one, goes
on where the last checkpoint stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from cluster import attempts
from cluster.commit import scan
from cluster.ledger import read_epoch
from pipelines.storage import Storage

pytestmark = pytest.mark.soak

JOB = """
import sys
from dataclasses import asdict, replace
from cluster.protocols import Reference
from cluster.runtime import end_job, ray_session
from cluster.trainer import fit
from tests.cluster.loops import toy_run
from tests.cluster.toy import ToyData

run = toy_run(sys.argv[1], data=ToyData(), task=Reference("tests.cluster.slow_toy:make_task", float(sys.argv[2])))
with ray_session():
    result = fit(replace(run, probes=()))
end_job(asdict(result))
"""
PATIENCE = 120.0


def start_head() -> Cluster:
    """A cluster of one node whose processes give up soon after its head is gone."""
    settings = {"gcs_rpc_server_reconnect_timeout_s": 5, "gcs_server_request_timeout_seconds": 5}
    arguments = {"num_cpus": 2, "object_store_memory": 150_000_000, "_system_config": settings}
    return Cluster(initialize_head=True, head_node_args=arguments)


def start_job(cluster: Cluster, folder: Path, seconds_per_step: float, log: Any) -> subprocess.Popen[str]:
    variables = {"RAY_ADDRESS": cluster.address, "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder), str(seconds_per_step)],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )


def wait_for_a_checkpoint(folder: Path, job: subprocess.Popen[str]) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and job.poll() is None:
        if commits := scan(Storage(folder / "checkpoints")).commits:
            return commits[0].step
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint after {PATIENCE} s; status of the job: {job.poll()}")


@pytest.mark.timeout(400)
def test_a_job_whose_head_died_goes_on_by_the_same_command_on_another_cluster(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    with log.open("w") as stderr:
        cluster = start_head()
        try:
            lost = start_job(cluster, folder, 1.0, stderr)
            step = wait_for_a_checkpoint(folder, lost)
        finally:
            cluster.remove_node(cluster.head_node, allow_graceful=False)
        status = lost.wait(PATIENCE)
        assert status not in (0, 75), "a job that lost its cluster neither finished nor was asked to stop"
        assert not (folder / "epochs").exists()
        another = start_head()
        try:
            job = start_job(another, folder, 0.0, stderr)
            output, _ = job.communicate(timeout=PATIENCE)
        finally:
            another.shutdown()
    result = json.loads(output.splitlines()[-1])
    assert (result["is_finished"], result["steps"], result["samples"]) == (True, 14, 100)
    for epoch in (0, 1):
        assert read_epoch(Storage(folder), epoch)[0].all()
    first, second = attempts.read(Storage(folder))
    assert first["resumed_step"] == 0 and second["resumed_step"] >= step >= 3 and second["how"] == "ended"
    rows = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(1, 15))

"""Nodes that go away, announced or not: four raylets on this machine, three of which can hold both workers.

One run meets both, because starting workers is what takes time: the node of the workers is drained, and the node that
they are started on next dies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from cluster import attempts
from cluster.commit import scan
from cluster.config import CheckpointConfig, WorkersConfig
from cluster.ledger import read_epoch
from cluster.protocols import Reference
from cluster.runtime import ray_session
from cluster.trainer import TrainingResult, fit
from pipelines.storage import Storage
from tests.cluster.loops import toy_run
from tests.cluster.toy import ToyData

pytestmark = pytest.mark.soak

NODES, EVERY = 3, 6
DRAINED_AFTER, LOST_AFTER = 2, 9  # steps, of 7 in an epoch


@dataclass
class Misfortune:
    """Drains the node of the workers after one step and kills their next one after another, seen in the metrics."""

    cluster: Cluster
    nodes: dict[str, Any]
    directory: Storage
    drained: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def __call__(self, row: dict[str, float]) -> None:
        if row["step"] >= DRAINED_AFTER and not self.drained:
            self.drained.append(self._node_of_the_workers())
            client = ray._raylet.GcsClient(address=self.cluster.address)
            preemption = 2  # DRAIN_NODE_REASON_PREEMPTION; the deadline is in ms, far away
            accepted, why = client.drain_node(self.drained[0], preemption, "a test", 2**53)
            assert accepted, why
        if row["step"] >= LOST_AFTER and self.drained and not self.lost:
            self.lost.append(self._node_of_the_workers())
            self.cluster.remove_node(self.nodes[self.lost[0]], allow_graceful=False)

    def _node_of_the_workers(self) -> str:
        actors = ray._private.state.state.actor_table(None).values()
        workers = [one for one in actors if one["ActorClassName"] == "RayTrainWorker" and one["State"] == "ALIVE"]
        [node] = {one["Address"]["NodeID"] for one in workers}
        return node


@pytest.fixture(scope="module")
def misfortune(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Misfortune]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=100_000_000) for _ in range(NODES)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster.address)
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session():
            yield Misfortune(cluster, {node.node_id: node for node in nodes}, Storage(tmp_path_factory.mktemp("run")))
    cluster.shutdown()


@pytest.fixture(scope="module")
def result(misfortune: Misfortune) -> TrainingResult:
    run = toy_run(
        misfortune.directory.uri,
        data=ToyData(),
        task=Reference("tests.cluster.slow_toy:make_task", 0.4),
        probes=(),
        workers=WorkersConfig(num_workers=2, cpus_per_worker=0.9, deterministic=True),
        checkpoint=CheckpointConfig(every_steps=EVERY, keep_last=100),
    )
    return fit(run, watch=misfortune)


@pytest.mark.timeout(400)
def test_workers_that_lost_their_nodes_end_with_the_same_steps_and_samples(
    misfortune: Misfortune, result: TrainingResult
) -> None:
    assert len(misfortune.drained) == len(misfortune.lost) == 1 and misfortune.drained != misfortune.lost
    assert result.is_finished and (result.steps, result.epochs, result.samples) == (14, 2, 100)
    for epoch in (0, 1):
        assert read_epoch(misfortune.directory, epoch)[0].all()
    rows = [json.loads(line) for line in misfortune.directory.read("metrics.jsonl").splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 15))


def test_a_drained_node_costs_no_step_and_a_dead_one_those_since_the_last_checkpoint(
    misfortune: Misfortune, result: TrainingResult
) -> None:
    first, second, third = attempts.read(misfortune.directory)
    assert first["resumed_step"] == 0 and "left a node that is draining" in first["how"]
    assert DRAINED_AFTER <= second["resumed_step"] < EVERY
    assert "failed in step" in second["how"]
    assert third["resumed_step"] >= 7 and third["how"] == "ended", "the end of the first epoch was saved"
    steps = sorted(commit.step for commit in scan(misfortune.directory.child("checkpoints")).commits)
    assert steps == [second["resumed_step"], 6, 7, 12, 14], "saved at once when the drain was noticed"

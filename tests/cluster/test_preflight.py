"""A job that cannot run at once is refused, with its parts, the total and what to change."""

from __future__ import annotations

import pytest

from cluster.preflight import Capacity, Demand, InsufficientResources, check, how_many, share_of

LAPTOP = Capacity(cpus=2, gpus=0, node_cpus=2, node_gpus=0)


def test_demands_that_fit_pass() -> None:
    check([Demand("training worker", 2, cpus=0.5), Demand("decoder", 2, cpus=0.5), Demand("planner")], LAPTOP)


def test_two_workers_and_a_decoder_on_two_cpus_are_refused_with_their_sum_and_a_share_that_fits() -> None:
    demands = [Demand("training worker", 2, cpus=1.0), Demand("decoder", 1, cpus=1.0)]
    with pytest.raises(InsufficientResources) as caught:
        check(demands, LAPTOP)
    text = str(caught.value)
    assert "2 x training worker with 1 CPU each" in text and "1 x decoder with 1 CPU each" in text
    assert "together they ask for 3 CPUs, the cluster has 2" in text
    assert "a share of 0.65 CPU each" in text
    check([Demand(demand.name, demand.count, cpus=0.65) for demand in demands], LAPTOP)


def test_one_process_larger_than_any_node_is_refused_although_the_cluster_has_enough() -> None:
    with pytest.raises(InsufficientResources, match="one decoder asks for 8 CPUs, the largest node has 4"):
        check([Demand("decoder", 1, cpus=8.0)], Capacity(cpus=16, gpus=0, node_cpus=4, node_gpus=0))


def test_missing_gpus_are_named() -> None:
    with pytest.raises(InsufficientResources, match="ask for 2 GPUs, the cluster has 1"):
        check([Demand("training worker", 2, cpus=1, gpus=1)], Capacity(cpus=8, gpus=1, node_cpus=8, node_gpus=1))


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 7, 64, 1000])
def test_shares_of_all_processes_fit_together(processes: int) -> None:
    share = share_of(2, processes)
    assert 0 < share <= 1
    assert share * processes <= 2 + 1e-9


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "expected"),
    [(2, 0, None, 1), (8, 0, None, 2), (8, 0, 2, 1), (16, 1, None, 1), (64, 8, None, 8), (64, 8, 4, 2), (64, 8, 16, 1)],
)
def test_as_many_runs_train_at_once_as_the_cluster_holds(
    cpus: float, gpus: float, workers: int | None, expected: int
) -> None:
    assert how_many(Capacity(cpus, gpus, cpus, gpus), workers) == expected

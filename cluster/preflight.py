"""Does a job fit the cluster? Asked before anything waits for resources, because Ray waits for ever and says little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_CPUS_PER_RUN = 4  # where there are no GPUs; with fewer a run alone is no slower


class InsufficientResources(ValueError):
    """The processes of a job cannot all run at once on this cluster."""


@dataclass(frozen=True)
class Demand:
    """`count` processes that run at the same time, each with its share of CPUs and GPUs."""

    name: str
    count: int = 1
    cpus: float = 0.0
    gpus: float = 0.0

    def __str__(self) -> str:
        parts = [f"{amount:g} {kind}" for amount, kind in ((self.cpus, "CPU"), (self.gpus, "GPU")) if amount]
        return f"{self.count} x {self.name} with {' and '.join(parts) or 'nothing'} each"


@dataclass(frozen=True)
class Capacity:
    """CPUs and GPUs of a whole cluster and of its largest node."""

    cpus: float
    gpus: float
    node_cpus: float
    node_gpus: float


def check(demands: Sequence[Demand], capacity: Capacity) -> None:
    """Raises InsufficientResources, listing the parts, the totals and what to change, unless all demands fit."""
    problems = []
    for kind, total, node in (("cpus", capacity.cpus, capacity.node_cpus), ("gpus", capacity.gpus, capacity.node_gpus)):
        asked = sum(demand.count * getattr(demand, kind) for demand in demands)
        if asked > total + 1e-6:
            problems.append(f"together they ask for {asked:g} {kind.upper()[:-1]}s, the cluster has {total:g}")
        problems += [
            f"one {demand.name} asks for {getattr(demand, kind):g} {kind.upper()[:-1]}s, the largest node has {node:g}"
            for demand in demands
            if demand.count and getattr(demand, kind) > node + 1e-6
        ]
    if problems:
        parts = "\n".join(f"  {demand}" for demand in demands)
        processes = sum(demand.count for demand in demands if demand.cpus)
        raise InsufficientResources(
            f"the job does not fit the cluster and would wait for ever:\n{parts}\n{'; '.join(problems)}.\n"
            f"Ask for less (fewer processes, or a share of {share_of(capacity.cpus, processes):g} CPU each, "
            "which lets all of them run at once), or give the cluster more nodes."
        )


def share_of(cpus: float, processes: int) -> float:
    """CPUs for each of `processes` so that all of them run at once: at most 1, a multiple of 0.05 where it can be.

    A share is a reservation, not a limit: on a laptop processes with shares of 0.25 still use whole cores in turn.
    """
    share = min(1.0, cpus / max(processes, 1))
    return math.floor(share * 20 + 1e-9) / 20 or math.floor(share * 10_000) / 10_000


def how_many(capacity: Capacity, workers: int | None) -> int:
    """Training runs of so many workers (None: one) that a cluster holds at the same time: one for each GPU that a run
    takes, else one for four CPUs."""
    per_run = workers or 1
    return max(1, int(capacity.gpus // per_run if capacity.gpus else capacity.cpus // (_CPUS_PER_RUN * per_run)))


def cluster_capacity() -> Capacity:
    """Of the Ray cluster this process is connected to: what its autoscaler may start, where there is one."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    largest = {kind: max((node.get(kind, 0.0) for node in nodes), default=0.0) for kind in ("CPU", "GPU")}
    total = {kind: sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")}
    # The same call Ray Train itself makes; None without an autoscaler. The nodes to come are of unknown size.
    declared = ray._private.state.state.get_max_resources_from_cluster_config()
    for kind in declared or {}:
        if kind in total:
            total[kind] = largest[kind] = max(total[kind], float(declared[kind]))
    return Capacity(total["CPU"], total["GPU"], largest["CPU"], largest["GPU"])

"""How a cluster is shared out between readers of test clips and models."""

from __future__ import annotations

import pytest

from cluster.preflight import Capacity, check
from jobs.parts.inference import pools


@pytest.mark.parametrize(
    ("cpus", "gpus", "readers", "models"), [(0.5, 0, 1, 1), (1, 1, 1, 1), (2, 0, 1, 1), (16, 0, 12, 4), (16, 1, 15, 1)]
)
def test_readers_and_models_fill_the_cluster_and_fit(cpus: float, gpus: float, readers: int, models: int) -> None:
    capacity = Capacity(cpus, gpus, cpus, gpus)
    reader, model = pools(capacity)
    assert (reader.count, model.count, model.gpus) == (readers, models, 1.0 if gpus else 0.0)
    check([reader, model], capacity)


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 7, 8, 12, 16.5, 100])
@pytest.mark.parametrize("gpus", [0, 1, 2, 8])
def test_a_cluster_of_any_size_holds_its_pools(cpus: float, gpus: float) -> None:
    capacity = Capacity(cpus, gpus, cpus, gpus)
    check(pools(capacity), capacity)

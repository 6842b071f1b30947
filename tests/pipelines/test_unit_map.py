from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray

from pipelines.storage import AccessDenied, ObjectMissing, StorageError, StorageUnavailable
from pipelines.unit_map import WorkerPool, map_units, most_workers


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=300 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


class Counting:
    """Answers with its process and how many units it has seen."""

    def __init__(self, start: int) -> None:
        self._seen = start

    def __call__(self, unit: int) -> list[int]:
        self._seen += 1
        return [os.getpid(), self._seen]


def square(unit: int, power: int) -> int:
    return unit**power


def refuse(unit: str) -> None:
    raise {
        "access": AccessDenied,
        "missing": ObjectMissing,
        "unavailable": StorageUnavailable,
        "storage": StorageError,
        "value": ValueError,
        "unicode": lambda text: UnicodeError(text),
    }[unit](f"about {unit}")


def test_a_class_is_made_once_in_each_process() -> None:
    answers = [answer for _, answer in map_units(list(range(9)), Counting, {"start": 10}, WorkerPool(num_workers=1))]
    assert len({process for process, _ in answers}) == 1
    assert sorted(seen for _, seen in answers) == list(range(11, 20))


def test_every_unit_comes_back_with_its_answer() -> None:
    assert sorted(map_units([1, 2, 3, 4], square, {"power": 2}, WorkerPool())) == [(1, 1), (2, 4), (3, 9), (4, 16)]
    assert list(map_units([], square, {"power": 2}, WorkerPool())) == []


@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        ("access", AccessDenied),
        ("missing", ObjectMissing),
        ("unavailable", StorageUnavailable),
        ("storage", StorageError),
        ("value", ValueError),
        ("unicode", ValueError),
    ],
)
def test_an_error_that_a_user_can_mend_arrives_as_what_it_is(unit: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"^about {unit}$") as raised:
        list(map_units([unit], refuse, {}, WorkerPool()))
    assert type(raised.value) is kind


def test_a_pool_without_resources_is_refused() -> None:
    for name in ("num_workers", "cpus_per_worker", "memory_per_worker_mb"):
        with pytest.raises(ValueError, match=f"{name}=0 must be positive"):
            WorkerPool(**{name: 0})


def test_a_pool_is_as_large_as_the_scarcer_of_its_resources_allows() -> None:
    resources = {"CPU": 16.0, "GPU": 2.0}
    assert most_workers(WorkerPool(), resources) == 16
    assert most_workers(WorkerPool(gpus_per_worker=1.0), resources) == 2
    assert most_workers(WorkerPool(gpus_per_worker=0.5, cpus_per_worker=8.0), resources) == 2
    assert most_workers(WorkerPool(cpus_per_worker=4.0), {"CPU": 1.0}) == 1
    with pytest.raises(ValueError, match="gpus_per_worker=-1"):
        WorkerPool(gpus_per_worker=-1.0)

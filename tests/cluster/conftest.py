"""The processes that tests of the engine and of checkpoints run in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.workers import Workers


@pytest.fixture(scope="session")
def pair() -> Iterator[Workers]:
    """Two workers."""
    workers = Workers(2)
    yield workers
    workers.close()


@pytest.fixture(scope="session")
def solo() -> Iterator[Workers]:
    """One worker, in a group of its own."""
    workers = Workers(1)
    yield workers
    workers.close()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """Address for checkpoints, and what the environment of a worker must hold to reach it."""
    if request.param == "local":
        return str(tmp_path), {}
    bucket = request.getfixturevalue("s3_bucket")
    return f"{bucket}/run/checkpoints", request.getfixturevalue("s3_variables")

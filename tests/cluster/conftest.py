"""The processes that tests of the engine and of checkpoints run in."""

from __future__ import annotations

from collections.abc import Iterator

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

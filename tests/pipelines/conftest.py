"""What several modules of this room's tests share, made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.pipelines.take_corpus import TakeCorpus


@pytest.fixture(scope="session")
def take_corpus(tmp_path_factory: pytest.TempPathFactory) -> TakeCorpus:
    """Rendered takes; nobody may change its files."""
    from tests.pipelines.take_corpus import render

    return render(tmp_path_factory.mktemp("takes"))

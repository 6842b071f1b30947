"""Takes as a user asks for them: where their catalog and annotations are found, or made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.parts.annotation import find_annotations
from jobs.parts.catalog import find_or_build
from jobs.parts.mead_config import MeadCorpusConfig
from pipelines.storage import Storage

if TYPE_CHECKING:
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog

LAYOUT = "mead"


def prepare_takes(corpus: MeadCorpusConfig, place: Storage) -> tuple[str, Catalog, Annotations]:
    """Address and content of the catalog of a corpus, and its annotations. Ray must be up.

    Raises ValueError where a corpus that is not ours has no annotations, with the command that makes them.
    """
    is_ours = corpus.name == "synthetic"
    root = _render(corpus, place).uri if is_ours else corpus.root or ""
    uri, catalog = find_or_build(LAYOUT, root, place, exclude=corpus.exclude)
    return uri, catalog, find_annotations(uri, catalog, given=corpus.annotations, has_truth=is_ours)


def _render(corpus: MeadCorpusConfig, place: Storage) -> Storage:
    from pipelines.synthetic.config import MeadConfig
    from pipelines.synthetic.corpus import ensure_corpus

    config = MeadConfig(actors=corpus.actors, takes_per_actor=corpus.takes_per_actor)
    return ensure_corpus(place.child("corpora"), config)

"""Takes as a user asks for them: where their catalog and annotations are found, or made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.parts.annotation import find_annotations
from jobs.parts.catalog import find_or_build
from jobs.parts.mead_config import MeadCorpusConfig
from jobs.parts.synthetic_corpus import render
from pipelines.storage import Storage

if TYPE_CHECKING:
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog

LAYOUT = "mead"


def prepare_takes(corpus: MeadCorpusConfig, place: Storage) -> tuple[str, Catalog, Annotations]:
    """Address and content of the catalog of a corpus, and its annotations. Ray must be up.

    Raises ValueError where a corpus that is not ours has no annotations, with the command that makes them.
    """
    uri, catalog = catalog_takes(corpus, place)
    return uri, catalog, find_annotations(uri, catalog, given=corpus.annotations, has_truth=corpus.is_synthetic)


def catalog_takes(corpus: MeadCorpusConfig, place: Storage) -> tuple[str, Catalog]:
    """Address and content of the catalog of a corpus, rendered and built where it is not there. Ray must be up."""
    root = render(corpus, place).uri if corpus.is_synthetic else corpus.root or ""
    return find_or_build(LAYOUT, root, place, exclude=corpus.exclude)

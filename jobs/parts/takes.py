"""Takes as a user asks for them: where their catalog and annotations are found, or made."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from jobs.parts.annotation import GROUND_TRUTH, address, annotate_catalog
from jobs.parts.catalog import find_or_build
from jobs.parts.mead_config import MeadCorpusConfig
from pipelines.annotate_video import AnnotateConfig
from pipelines.annotations import Annotations, open_annotations
from pipelines.storage import Storage

if TYPE_CHECKING:
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)

LAYOUT = "mead"


def prepare_takes(corpus: MeadCorpusConfig, place: Storage) -> tuple[str, Catalog, Annotations]:
    """Address and content of the catalog of a corpus, and its annotations. Ray must be up.

    Raises ValueError where a corpus that is not ours has no annotations, with the command that makes them.
    """
    if corpus.name == "synthetic":
        root = _render(corpus, place)
        uri, catalog = find_or_build(LAYOUT, root.uri, place)
        found = annotate_catalog(uri, None, AnnotateConfig(openface=root.full(GROUND_TRUTH)))
        return uri, catalog, open_annotations(found["annotations"])
    uri, catalog = find_or_build(LAYOUT, corpus.root or "", place, exclude=corpus.exclude)
    try:
        return uri, catalog, open_annotations(corpus.annotations or address(uri))
    except ValueError as error:
        raise ValueError(f"{error}\nthe command is: python jobs/annotate_faces.py --catalog {uri}") from None


def _render(corpus: MeadCorpusConfig, place: Storage) -> Storage:
    from pipelines.synthetic.config import MeadConfig
    from pipelines.synthetic.corpus import ensure_corpus

    config = MeadConfig(actors=corpus.actors, takes_per_actor=corpus.takes_per_actor)
    return ensure_corpus(place.child("corpora"), config)

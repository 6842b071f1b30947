"""Corpora of any kind, as the stages of a chain look them up: their catalogs and annotations, found or made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.parts.annotation import address, annotate_catalog, find_annotations
from jobs.parts.catalog import find_catalog, prepare_catalog
from jobs.parts.face_config import FaceCorporaConfig
from jobs.parts.face_pretraining import known_union, unite_corpora
from jobs.parts.labelled_corpus import prepare_labelled
from jobs.parts.mead_config import MeadCorpusConfig
from jobs.parts.pretrain_config import CorpusConfig
from jobs.parts.synthetic_corpus import AnyCorpus, synthetic_place
from jobs.parts.takes import LAYOUT, catalog_takes
from pipelines.annotate_video import AnnotateConfig
from pipelines.annotations import open_annotations
from pipelines.storage import Storage

if TYPE_CHECKING:
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog


def catalog_corpus(corpus: AnyCorpus | FaceCorporaConfig, home: Storage) -> tuple[str, Catalog]:
    """Address and content of the newest catalog, rendered and built where there is none; of several corpora of their
    union. Ray must be up."""
    if isinstance(corpus, FaceCorporaConfig):
        return unite_corpora(corpus, home)
    if isinstance(corpus, CorpusConfig):
        return prepare_catalog(corpus, home)
    return catalog_takes(corpus, home) if isinstance(corpus, MeadCorpusConfig) else prepare_labelled(corpus, home)


def known_catalog(corpus: AnyCorpus | FaceCorporaConfig, home: Storage) -> tuple[str, Catalog] | None:
    """The catalog that `catalog_corpus` would return, where it is there. Needs no Ray."""
    if isinstance(corpus, FaceCorporaConfig):
        return known_union(corpus, home)
    root = synthetic_place(corpus, home).uri if corpus.is_synthetic else corpus.root
    return find_catalog(_layout(corpus), root or "", home, exclude=corpus.exclude)


def annotate_corpus(corpus: AnyCorpus, home: Storage) -> Annotations:
    """The annotations that training on the corpus takes: those that are there, of whatever options, else made by
    MediaPipe, of the synthetic ones from their ground truth. An interrupted search for faces goes on. Ray must be up.

    Raises what `pipelines.annotate.annotate` raises.
    """
    uri, catalog = catalog_corpus(corpus, home)
    if corpus.is_synthetic:
        return find_annotations(uri, catalog, given=None, has_truth=True)
    place = corpus.annotations or address(uri)
    try:
        return open_annotations(place)
    except ValueError:  # none, or not all
        return open_annotations(annotate_catalog(uri, place, AnnotateConfig())["annotations"])


def _layout(corpus: AnyCorpus) -> str:
    if isinstance(corpus, CorpusConfig):
        return corpus.layout
    return LAYOUT if isinstance(corpus, MeadCorpusConfig) else corpus.name

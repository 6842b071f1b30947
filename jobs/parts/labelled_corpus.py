"""Labelled corpora as a user asks for them: where their catalog and annotations are found, or made."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.parts.catalog import find_or_build
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.synthetic_corpus import render
from pipelines.labels import EvaluationProtocol, label_rows
from pipelines.storage import Storage

if TYPE_CHECKING:
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)


def prepare_labelled(corpus: LabelledCorpusConfig, place: Storage) -> tuple[str, Catalog]:
    """Address and content of the catalog of a corpus, rendered and built where it is not there. Ray must be up."""
    if corpus.root is None:
        logger.warning("no root of %s was given: these are procedural faces in its layout, its twin", corpus.name)
        return find_or_build(corpus.name, render(corpus, place).uri, place)
    return find_or_build(corpus.name, corpus.root, place, exclude=corpus.exclude)


def prepare_annotations(corpus: LabelledCorpusConfig, catalog_uri: str, catalog: Catalog) -> Annotations:
    """The annotations of its catalog. Raises ValueError where a corpus that is not ours has none, with the command
    that makes them."""
    from jobs.parts.annotation import find_annotations

    return find_annotations(catalog_uri, catalog, given=corpus.annotations, has_truth=corpus.is_synthetic)


def chosen_protocol(corpus: LabelledCorpusConfig, catalog: Catalog) -> EvaluationProtocol:
    """The protocol that a config names, else the first. A corpus that is smaller or larger than it is said to be is
    told of. Raises ValueError listing the protocols there are."""
    protocol = catalog.protocol(corpus.protocol or catalog.protocols[0].name)
    if corpus.is_synthetic:
        return replace(protocol, official=None)
    found = len(label_rows(catalog.table["labels"], protocol)[0])
    if protocol.official is not None and found != protocol.official:
        logger.warning("protocol %s has %d videos here, officially %d", protocol.name, found, protocol.official)
    return protocol

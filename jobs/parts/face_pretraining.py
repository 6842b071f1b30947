"""Pre-training on face images: the corpora, their union, and the stream of `jobs/pretrain_face_images.py`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from cluster.protocols import Reference
from jobs.parts.catalog import address, find_catalog, find_or_build
from jobs.parts.face_config import FaceCorporaConfig, FacePretrainConfig
from jobs.parts.pretraining import TRAINING_SPLIT
from jobs.parts.synthetic_corpus import image_twin
from jobs.parts.training import stream_fields
from jobs.parts.transfer import prepare_transfer
from jobs.parts.video_pretraining import VideoPretraining
from pipelines.storage import Storage
from pipelines.video_stream import VideoStreamConfig

if TYPE_CHECKING:
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)


def prepare(config: FacePretrainConfig, home: Storage) -> FacePretraining:
    """The corpora found or rendered, cataloged and united. Ray must be up. Raises what `prepare_transfer` raises."""
    uri, catalog = unite_corpora(config.corpus, home)
    return FacePretraining(config, uri, catalog, transfer=prepare_transfer(config, home))


def unite_corpora(corpus: FaceCorporaConfig, home: Storage) -> tuple[str, Catalog]:
    """Address and content of the union of the catalogs of all corpora, which are found or built. Ray must be up."""
    from pipelines.catalog import save
    from pipelines.catalog_union import unite
    from pipelines.synthetic.corpus import ensure_corpus

    if corpus.is_synthetic:
        for name in corpus.names:
            ensure_corpus(home.child("corpora"), image_twin(name, corpus.images))
    options = {"exclude": corpus.exclude, "cleaning": corpus.cleaning}
    found = {name: find_or_build(name, root, home, **options)[1] for name, root in _roots(corpus, home).items()}
    union = unite(found)
    uri = address(union, home)
    folder, _, file = uri.rpartition("/")
    if not Storage(folder).exists(file):
        save(union, uri)
    logger.info("face images of %s: %s", ", ".join(corpus.names), union.counts())
    return uri, union


def known_union(corpus: FaceCorporaConfig, home: Storage) -> tuple[str, Catalog] | None:
    """What `unite_corpora` would return, where all catalogs are there. Needs no Ray."""
    from pipelines.catalog_union import unite

    options = {"exclude": corpus.exclude, "cleaning": corpus.cleaning}
    known = {name: find_catalog(name, root, home, **options) for name, root in _roots(corpus, home).items()}
    if any(one is None for one in known.values()):
        return None
    union = unite({name: one[1] for name, one in known.items() if one is not None})
    return address(union, home), union


def _roots(corpus: FaceCorporaConfig, home: Storage) -> dict[str, str]:
    from pipelines.synthetic.corpus import corpus_place

    if not corpus.is_synthetic:
        return {name: corpus.roots[name] for name in corpus.names}
    place = home.child("corpora")
    return {name: corpus_place(place, image_twin(name, corpus.images)).uri for name in corpus.names}


class FacePretraining(VideoPretraining):
    """A masked autoencoder on the images of several corpora (see jobs.parts.pretraining.Pretraining)."""

    config: FacePretrainConfig

    def stream(self, actors: int) -> Reference:
        config = VideoStreamConfig(
            catalog=self.catalog_uri,
            split=TRAINING_SPLIT,
            sample=self.config.sample(),
            weights=tuple(sorted(self.config.corpus.weights.items())),
            **stream_fields(self.config, actors),
        )
        return Reference("pipelines.video_stream:build_stream", config)

    def data(self) -> dict[str, Any]:
        return super().data() | {"corpus": self.config.corpus.title}

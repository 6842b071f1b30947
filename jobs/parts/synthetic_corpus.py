"""Synthetic corpora as configs name them: which one is meant, and where it is kept."""

from __future__ import annotations

from typing import get_args

from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.mead_config import MeadCorpusConfig
from jobs.parts.pretrain_config import CorpusConfig
from pipelines.corpora.registry import ImageName
from pipelines.storage import Storage
from pipelines.synthetic.config import AffWild2Config, ImageTwinConfig, MeadConfig, SyntheticConfig, TwinConfig

AnyCorpus = CorpusConfig | MeadCorpusConfig | LabelledCorpusConfig


def render(corpus: AnyCorpus, home: Storage) -> Storage:
    """The corpus, rendered if it is not there."""
    from pipelines.synthetic.corpus import ensure_corpus

    return ensure_corpus(home.child("corpora"), _generator(corpus))


def synthetic_place(corpus: AnyCorpus, home: Storage) -> Storage:
    """Where `render` puts it."""
    from pipelines.synthetic.corpus import corpus_place

    return corpus_place(home.child("corpora"), _generator(corpus))


def image_twin(name: ImageName, images: int) -> ImageTwinConfig:
    """The twin of a corpus of images, of so many."""
    return ImageTwinConfig(corpus=name, images=images)


def _generator(corpus: AnyCorpus) -> SyntheticConfig | MeadConfig | TwinConfig | ImageTwinConfig | AffWild2Config:
    if isinstance(corpus, CorpusConfig):
        return SyntheticConfig(
            speakers_dev=corpus.speakers,
            speakers_test=max(4, corpus.speakers // 4),
            clips_per_speaker=corpus.clips_per_speaker,
        )
    if isinstance(corpus, MeadCorpusConfig):
        return MeadConfig(actors=corpus.actors, takes_per_actor=corpus.takes_per_actor)
    if corpus.name == "mead":
        return MeadConfig(takes_per_actor=4 * corpus.clips_per_class)
    if corpus.name == "aff_wild2":
        return AffWild2Config(videos=12 * corpus.clips_per_class, audio=corpus.audio)
    if corpus.name in get_args(ImageName):
        return image_twin(corpus.name, 48 * corpus.clips_per_class)
    return TwinConfig(corpus=corpus.name, clips_per_class=corpus.clips_per_class)

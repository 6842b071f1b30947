"""Stages that chains are composed of: corpora listed and annotated, and jobs of existing recipes put onto them."""

from __future__ import annotations

from dataclasses import replace

from jobs.parts.chain_config import AnyCorpus, Roots, Stage
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.mead_config import MeadCorpusConfig, MeadPretrainConfig
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig


def corpus_stages(roots: Roots, *corpora: str, faces: bool = False) -> tuple[Stage, ...]:
    """The catalog of each corpus and, where crops or masks follow the `faces`, its annotations."""
    stages = []
    for name in corpora:
        corpus = _corpus(name, roots)
        stages.append(Stage(_catalog(name), "catalog", corpus))
        if faces:
            stages.append(Stage(_faces(name), "annotate", corpus, after=(_catalog(name),)))
    return tuple(stages)


def pretrain_stage(config: PretrainConfig | MeadPretrainConfig, roots: Roots) -> Stage:
    """A recipe of pre-training on the paper's corpus, named after it."""
    if isinstance(config, MeadPretrainConfig):
        placed = replace(config, corpus=_corpus("mead", roots))
        return Stage(config.recipe, "pretrain", placed, after=(_faces("mead"),))
    placed = replace(config, corpus=_corpus("voxceleb2", roots))
    return Stage(config.recipe, "pretrain", placed, after=(_catalog("voxceleb2"),))


def finetune_stage(
    name: str, config: FinetuneConfig, roots: Roots, *, weights_from: str | None, weights_epoch: int | None = None
) -> Stage:
    """A recipe of fine-tuning, with its corpus where it lies. Without weights it starts from scratch."""
    corpus = config.corpus.name
    placed = replace(config, corpus=replace(config.corpus, root=roots.of(corpus)))
    ready = _faces(corpus) if config.sample().follows_face else _catalog(corpus)
    return Stage(name, "finetune", placed, weights_from=weights_from, weights_epoch=weights_epoch, after=(ready,))


def _corpus(name: str, roots: Roots) -> AnyCorpus:
    if name == "voxceleb2":
        return CorpusConfig(name=name, root=roots.of(name))
    if name == "mead":
        return MeadCorpusConfig(name=name, root=roots.of(name))
    return LabelledCorpusConfig(name=name, root=roots.of(name))


def _catalog(corpus: str) -> str:
    return f"{corpus}-catalog"


def _faces(corpus: str) -> str:
    return f"{corpus}-faces"

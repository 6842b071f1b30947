"""What the chains of the three ABAW systems share: how large they are, and the stages that all of them have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jobs.parts.chain_config import Cell, Roots, Stage, TableConfig
from jobs.parts.face_config import FaceCorporaConfig, FacePretrainConfig
from jobs.parts.feature_config import FeatureConfig, VisionConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.head_config import HeadConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.published import Paper
from jobs.recipes import faces, features, frames, heads
from pipelines.corpora.aff_wild2_files import DIMENSIONS, EXPRESSIONS, UNITS

FACES, VIDEOS, PRETRAINED = "faces", "aff_wild2-catalog", "pretrain"
SOUND = ("hubert", "vggish")
"""What NetEase's best systems hear (Table 8)."""


@dataclass(frozen=True)
class Scale:
    """A paper's size on its corpora, or a laptop's on their twins."""

    roots: Roots
    is_small: bool

    def corpus(self, protocol: str | None = None) -> LabelledCorpusConfig:
        root = None if self.is_small else self.roots.of("aff_wild2")
        return LabelledCorpusConfig(name="aff_wild2", root=root, protocol=protocol)

    def faces(self, base: FacePretrainConfig) -> FacePretrainConfig:
        if self.is_small:
            small = faces.nano()
            model = replace(small.model, target=base.model.target, loss_tokens=base.model.loss_tokens)
            corpus = FaceCorporaConfig(names=base.corpus.names, images=48)
            return replace(small, recipe=base.recipe, corpus=corpus, model=model)
        placed = {name: self.roots.of(name) for name in base.corpus.names}
        return replace(base, corpus=replace(base.corpus, roots=placed))

    def frames(self, base: FinetuneConfig) -> FinetuneConfig:
        config = frames.laptop(base) if self.is_small else base
        return replace(config, corpus=self.corpus(base.corpus.protocol))

    def head(self, base: HeadConfig) -> HeadConfig:
        config = heads.laptop(base) if self.is_small else base
        return replace(config, corpus=self.corpus(base.corpus.protocol))

    def sound(self, names: Sequence[str] = SOUND) -> dict[str, FeatureConfig]:
        """What is heard, by name of the stage: of the twin log-mel bands, for which nobody needs weights."""
        if self.is_small:
            return {"log_mel": replace(features.log_mel(), corpus=self.corpus())}
        found = {}
        for name in names:
            base = features.RECIPES[name]()
            encoder = replace(base.encoder, weights=self.roots.of(name))
            found[name] = replace(base, corpus=self.corpus(), encoder=encoder)
        return found


def first_stages(scale: Scale, pretraining: FacePretrainConfig) -> tuple[Stage, ...]:
    """Both corpora cataloged, and the image masked autoencoder."""
    config = scale.faces(pretraining)
    return (
        Stage(FACES, "catalog", config.corpus),
        Stage(VIDEOS, "catalog", scale.corpus()),
        Stage(PRETRAINED, "pretrain", config, after=(FACES,)),
    )


def frames_stage(scale: Scale, name: str, base: FinetuneConfig) -> Stage:
    """A fine-tuning frame by frame of what was pre-trained."""
    return Stage(name, "finetune", scale.frames(base), weights_from=PRETRAINED, after=(VIDEOS,))


def vision_stage(scale: Scale, name: str, weights_from: str) -> Stage:
    """What an encoder makes of every frame."""
    config = VisionConfig(recipe="vision", corpus=scale.corpus())
    return Stage(name, "extract", config, weights_from=weights_from, after=(VIDEOS,))


def sound_stages(scale: Scale, names: Sequence[str] = SOUND) -> tuple[Stage, ...]:
    return tuple(Stage(name, "extract", config, after=(VIDEOS,)) for name, config in scale.sound(names).items())


def head_stage(scale: Scale, name: str, base: HeadConfig, features_from: Sequence[str]) -> Stage:
    return Stage(name, "head", scale.head(base), features_from=tuple(features_from), after=(VIDEOS,))


def table_stage(scale: Scale, paper: Paper, table: str, title: str, cells: Sequence[Cell]) -> Stage:
    """A table beside the paper's; the name of the stage is that of the table."""
    said = "Synthetic twins: " if scale.is_small else ""
    config = TableConfig(f"{said}{title}", tuple(cells), paper=paper, table=table)
    return Stage(table, "table", config)


def class_cells(row: str, stage: str, task: str) -> list[Cell]:
    """A row of a table of single expressions, units or values, and their mean."""
    names, metric = {"expr": (EXPRESSIONS, "f1"), "au": (UNITS, "f1"), "va": (DIMENSIONS, "ccc")}[task]
    columns = [name.capitalize() if task == "va" else name for name in names]
    cells = [Cell(row, column, stage, f"{metric}/{name}") for name, column in zip(names, columns, strict=True)]
    return [*cells, Cell(row, "Avg.", stage, "headline")]


Build = Callable[[Scale], tuple[Stage, ...]]


def paper(build: Build) -> Callable[[Roots], tuple[Stage, ...]]:
    """The stages of a paper's size."""
    return lambda roots: build(Scale(roots, is_small=False))


def laptop(build: Build) -> Callable[[Roots], tuple[Stage, ...]]:
    """The same stages on twins."""
    return lambda roots: build(Scale(roots, is_small=True))

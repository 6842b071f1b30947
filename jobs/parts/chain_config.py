"""A chain of jobs as data: which stages, on what, after which. Imports nothing heavy.

A recipe is a function without arguments that returns a ChainConfig. Its stages are built by a function of the `Roots`,
the addresses of the corpora on disk, because a chain is known before they are:

    def dfer() -> ChainConfig:
        '''One sentence, which --help shows.'''
        return ChainConfig(recipe="dfer", build=_dfer)

    def _dfer(roots: Roots) -> tuple[Stage, ...]:
        corpus = CorpusConfig(name="voxceleb2", root=roots.of("voxceleb2"))
        return (Stage("videos", "catalog", corpus), Stage("pretrain", "pretrain", ..., after=("videos",)), ...)

What a stage is keyed by is told in jobs/parts/chain_keys.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import tyro

from cluster.search_space import edge_points
from jobs.parts.face_config import FaceCorporaConfig, FacePretrainConfig
from jobs.parts.feature_config import AudioConfig, ForeignConfig, VisionConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.head_config import HeadConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.published import Paper
from jobs.parts.sweep_config import FinetuneSweepConfig, PretrainingSweepConfig
from jobs.parts.sweep_space import with_values
from jobs.parts.synthetic_corpus import AnyCorpus

JobName = Literal[
    "catalog",
    "annotate",
    "pretrain",
    "sweep_pretraining",
    "export",
    "finetune",
    "sweep_finetuning",
    "extract",
    "head",
    "table",
]

UNKNOWN_ROOT = "?"
"""Stands for a root that was not given, in a plan."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_EXPORTED = ("pretrain", "sweep_pretraining")
_MAKES_WEIGHTS = (*_EXPORTED, "finetune")
_TAKES_WEIGHTS = ("pretrain", "sweep_pretraining", "export", "finetune", "sweep_finetuning", "extract")
_SCORED = ("finetune", "head")
_SWEEP_OF = {"pretrain": "sweep_pretraining", "finetune": "sweep_finetuning"}


class Roots:
    """Addresses of corpora by name; notes which a chain asks for."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given, self._asked = given, dict[str, None]()

    def of(self, corpus: str) -> str:
        """UNKNOWN_ROOT where none was given: a plan shows it, anything else refuses to run."""
        self._asked[corpus] = None
        return self._given.get(corpus, UNKNOWN_ROOT)

    @property
    def asked(self) -> list[str]:
        return list(self._asked)

    @property
    def missing(self) -> list[str]:
        return [corpus for corpus in self._asked if corpus not in self._given]

    @property
    def unused(self) -> list[str]:
        return [corpus for corpus in self._given if corpus not in self._asked]


@dataclass(frozen=True)
class ExportConfig:
    """Weights of an earlier stage as safetensors, with a description and a model card."""

    part: Literal["encoder", "all"] = "encoder"
    """encoder: what is fine-tuned, as timm loads it; all: with the decoder."""


@dataclass(frozen=True)
class Cell:
    """One number of a table that is measured."""

    row: str
    column: str
    """Row and column are spelled as in the data of the published table, where there is one."""
    stage: str
    """A finetune or head stage."""
    metric: str
    """What of its result: headline (the protocol's own metric), a metric of the task (uar, war, f1_macro, ...),
    METRIC/CLASS (recall/happy), ATTRIBUTE/VALUE/METRIC (view/front/f1_macro), parameters or gflops."""


@dataclass(frozen=True)
class TableConfig:
    """Numbers of fine-tunings side by side, and beside those of a paper."""

    title: str
    cells: tuple[Cell, ...]
    paper: Paper | None = None
    """Whose numbers stand beside; None: nothing published does."""
    table: str | None = None
    """table_6, figure_3, ... of that paper."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise ValueError(f"table {self.title!r} has no cells; name at least one")
        if (self.paper is None) != (self.table is None):
            raise ValueError(f"paper={self.paper} and table={self.table} go together; give both or neither")
        places = [(cell.row, cell.column) for cell in self.cells]
        if twice := sorted({place for place in places if places.count(place) > 1}):
            raise ValueError(f"table {self.title!r} has two numbers for row and column {twice}; one each")


@dataclass(frozen=True)
class Stage:
    """One job of a chain. `weights_from`, `values_from`, `after` and the cells of a table name earlier stages."""

    name: str
    """Lower case; also the name of the files that the stage leaves in the chain's directory."""
    job: JobName
    config: Any
    """catalog and annotate: the config of a corpus; pretrain: PretrainConfig, MeadPretrainConfig or FacePretrainConfig;
    sweep_pretraining: PretrainingSweepConfig; export: ExportConfig; finetune: FinetuneConfig; sweep_finetuning:
    FinetuneSweepConfig; extract: VisionConfig, AudioConfig or ForeignConfig; head: HeadConfig; table: TableConfig."""
    weights_from: str | None = None
    """Stage whose trained weights this one starts from (its config's init_from), or exports."""
    weights_epoch: int | None = None
    """Of a pre-training the checkpoint at the end of this epoch, one of its checkpoint.keep_epochs; None: the last."""
    values_from: str | None = None
    """Sweep whose best values are put into the config."""
    features_from: tuple[str, ...] = ()
    """Extract stages whose features a head reads, side by side in this order."""
    after: tuple[str, ...] = ()
    """Other stages that must be done before: catalogs and annotations of the corpora used. What they find is part of
    what this stage is keyed by."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"stage name {self.name!r} must be of a-z, 0-9, '_', '-' and '.', as {_NAME.pattern}")
        if self.job not in get_args(JobName):
            raise ValueError(f"job={self.job!r} of stage {self.name} is none of {', '.join(get_args(JobName))}")
        kinds = _config_kinds(self.job)
        if not isinstance(self.config, kinds):
            raise ValueError(
                f"stage {self.name} ({self.job}) has a {type(self.config).__name__} as its config; "
                f"give a {' or '.join(kind.__name__ for kind in kinds)}"
            )
        if self.weights_from is not None and self.job not in _TAKES_WEIGHTS:
            raise ValueError(f"weights_from has no effect on stage {self.name} ({self.job}); leave it")
        if self.job == "extract":
            self._check_extraction()
        if self.job == "export" and self.weights_from is None:
            raise ValueError(f"stage {self.name} exports nothing; name its weights_from")
        if self.weights_epoch is not None and self.weights_from is None:
            raise ValueError(f"weights_epoch={self.weights_epoch} of stage {self.name} needs weights_from")
        if self.features_from and self.job != "head":
            raise ValueError(f"features_from has no effect on stage {self.name} ({self.job}); leave it")
        if self.job == "head" and not self.features_from:
            raise ValueError(f"stage {self.name} has no features to learn from; name its features_from")
        if self.values_from is not None and self.job not in _SWEEP_OF:
            raise ValueError(f"values_from has no effect on stage {self.name} ({self.job}); leave it")

    def _check_extraction(self) -> None:
        if self.weights_from is None:
            try:
                self.config.check_given()
            except ValueError as error:
                raise ValueError(f"stage {self.name}: {error}") from None
        elif not isinstance(self.config, VisionConfig):
            raise ValueError(f"weights_from has no effect on stage {self.name}, whose features no trained model makes")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the stages that must be done before, each once."""
        cells = [cell.stage for cell in self.config.cells] if isinstance(self.config, TableConfig) else []
        named = [name for name in (self.weights_from, self.values_from) if name is not None]
        return tuple(dict.fromkeys([*self.after, *named, *self.features_from, *cells]))


@dataclass(frozen=True)
class ChainConfig:
    """Which chain, on which corpora."""

    recipe: tyro.conf.Suppress[str]
    """Name of the recipe."""
    build: tyro.conf.Suppress[Callable[[Roots], tuple[Stage, ...]]]
    """Its stages, in the order in which they run."""
    roots: dict[str, str] = field(default_factory=dict)
    """Where the corpora are: pairs of a name and a directory or s3://bucket/prefix, `--roots dfew s3://bucket/dfew`."""
    plan: bool = False
    """Show what would run and how much it is, and run nothing. Roots may be missing."""

    def stages(self) -> tuple[Stage, ...]:
        """Raises ValueError for a root that is missing (not of a plan) or not used, and for stages that do not fit."""
        roots = Roots(self.roots)
        stages = self.build(roots)
        if roots.unused:
            raise ValueError(
                f"--roots {', '.join(roots.unused)} have no effect on the recipe {self.recipe}, which "
                + (f"reads {', '.join(roots.asked)}" if roots.asked else "reads no corpus of yours")
            )
        if roots.missing and not self.plan:
            needed = " ".join(f"{corpus} ADDRESS" for corpus in roots.missing)
            raise ValueError(
                f"the recipe {self.recipe} needs the corpora {', '.join(roots.missing)}: add --roots {needed}, or look "
                "at its stages with --plan"
            )
        check_stages(stages)
        return stages


def check_stages(stages: Sequence[Stage]) -> None:
    """Raises ValueError, naming the stage, unless names differ and whatever a stage takes comes from an earlier one of
    the right kind."""
    earlier: dict[str, Stage] = {}
    for stage in stages:
        if stage.name in earlier:
            raise ValueError(f"two stages are named {stage.name}; give each a name of its own")
        for name in stage.inputs:
            if name not in earlier:
                raise ValueError(
                    f"stage {stage.name} needs {name}, which is no earlier stage: "
                    f"{', '.join(earlier) or 'it is the first'}"
                )
        _check_weights(stage, earlier)
        for name in stage.features_from:
            _check_job(stage, earlier[name], ("extract",), "features_from")
        if stage.values_from is not None:
            _check_job(stage, earlier[stage.values_from], (_SWEEP_OF[stage.job],), "values_from")
            _check_values(stage, earlier[stage.values_from])
        if isinstance(stage.config, TableConfig):
            for cell in stage.config.cells:
                _check_job(stage, earlier[cell.stage], _SCORED, f"cell {cell.row}, {cell.column}")
        earlier[stage.name] = stage


def _check_weights(stage: Stage, earlier: dict[str, Stage]) -> None:
    if stage.weights_from is None:
        return
    source = earlier[stage.weights_from]
    _check_job(stage, source, _EXPORTED if stage.job == "export" else _MAKES_WEIGHTS, "weights_from")
    if isinstance(source.config, FinetuneConfig) and (len(source.config.folds) > 1 or source.config.seeds > 1):
        raise ValueError(
            f"weights_from of stage {stage.name} names {source.name}, a fine-tuning of several folds or seeds; weights "
            "are taken from one of a single run"
        )
    if stage.weights_epoch is None:
        return
    _check_job(stage, source, ("pretrain",), "weights_epoch")
    optimizer, kept = source.config.optimizer, source.config.checkpoint.keep_epochs
    last = optimizer.stop_epoch or optimizer.epochs
    if stage.weights_epoch != last and not (stage.weights_epoch in kept and stage.weights_epoch < last):
        raise ValueError(
            f"stage {stage.name} wants epoch {stage.weights_epoch} of {source.name}, which ends after epoch {last} and "
            f"keeps {kept}; add it to its checkpoint.keep_epochs, or train longer"
        )


def _check_values(stage: Stage, source: Stage) -> None:
    for point in edge_points(source.config.dimensions):
        try:
            with_values(stage.config, point)
        except ValueError as error:
            raise ValueError(f"stage {stage.name} cannot take the values of {source.name}, {point}: {error}") from None


def _check_job(stage: Stage, source: Stage, jobs: tuple[str, ...], what: str) -> None:
    if source.job not in jobs:
        raise ValueError(
            f"{what} of stage {stage.name} names {source.name}, a stage of {source.job}; name one of {', '.join(jobs)}"
        )


def _config_kinds(job: JobName) -> tuple[type, ...]:
    return {
        "catalog": (*get_args(AnyCorpus), FaceCorporaConfig),
        "annotate": get_args(AnyCorpus),
        "pretrain": (PretrainConfig, MeadPretrainConfig, FacePretrainConfig),
        "sweep_pretraining": (PretrainingSweepConfig,),
        "export": (ExportConfig,),
        "finetune": (FinetuneConfig,),
        "sweep_finetuning": (FinetuneSweepConfig,),
        "extract": (VisionConfig, AudioConfig, ForeignConfig),
        "head": (HeadConfig,),
        "table": (TableConfig,),
    }[job]

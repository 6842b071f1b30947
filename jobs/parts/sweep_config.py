"""The configs of `jobs/sweep_pretraining.py` and `jobs/sweep_finetuning.py`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import tyro

from cluster.search_space import Dimension, Values, draws, edge_points, grid, parse_space, said
from cluster.sweep_config import EarlyStopping, SearchConfig, SweepBudget
from jobs.config import to_json
from jobs.parts.face_config import FacePretrainConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.run_config import RunConfig
from jobs.parts.sweep_space import with_values


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """What sweeps of any job have in common."""

    BASE: ClassVar[str]
    """Name of the field that all trials share."""
    SCORED_BY: ClassVar[tuple[str, ...]]
    """Fields of it that decide not what is learned, but what the score is measured on."""
    UNSEARCHABLE: ClassVar[dict[str, str]] = {
        "recipe": "it is a name",
        "corpus": "scores on different videos do not compare",
        "passes_per_epoch": "trials are compared at equal samples seen",
        "optimizer.epochs": "trials are compared at equal samples seen",
        "optimizer.stop_epoch": "trials are compared at equal samples seen",
        "overfit": "it is a check, not training",
        "choice": "trials are compared at equal samples seen",
        "seed": "it is no choice; name several seeds for the best, afterwards",
        "seeds": "it is no choice",
        "folds": "scores on different folds do not compare",
        "evaluation": "the test videos choose nothing",
        "validation_share": "scores on different videos do not compare",
        "init_from": "search from one checkpoint at a time",
    }
    """Fields, and parts of the config, that cannot be searched, and why."""

    recipe: tyro.conf.Suppress[str]
    space: tuple[str, ...]
    """What is searched: FIELD=VALUE,VALUE or FIELD=LOW..HIGH or FIELD=LOW..HIGH:log, with any field of the config below
    (mask.ratio, optimizer.base_lr, ...), or `lambda`, `region` (2x5x10) or `head`."""
    search: SearchConfig = field(default_factory=SearchConfig)
    stopping: EarlyStopping = field(default_factory=EarlyStopping)
    budget: SweepBudget = field(default_factory=SweepBudget)
    concurrent: int | None = None
    """Trials at the same time; None: as many as the cluster holds, asked again before each."""

    def __post_init__(self) -> None:
        if self.concurrent is not None and self.concurrent < 1:
            raise ValueError(f"concurrent={self.concurrent} must be at least 1")
        for dimension in self.dimensions:
            for name, reason in {**self.UNSEARCHABLE, **dict.fromkeys(self.base.PLACEMENT, _PLACEMENT)}.items():
                if dimension.name == name or dimension.name.startswith(f"{name}."):
                    raise ValueError(f"{dimension.name} cannot be searched: {reason}")
        for name in ("stop_at_step", "overfit"):
            if getattr(self.base, name) is not None:
                raise ValueError(f"{name} would leave nothing to compare; leave it out")
        self.search.count(self.dimensions)
        for values in self._first_points():
            self._check(values)

    @property
    def base(self) -> RunConfig:
        """What all trials share."""
        return getattr(self, self.BASE)

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        return parse_space(self.space)

    @property
    def scored_on(self) -> str:
        """Title of the corpus that tells the trials apart."""
        raise NotImplementedError

    @property
    def notes(self) -> list[str]:
        """What whoever reads the scores has to know."""
        raise NotImplementedError

    def recipes(self) -> dict[str, Callable[[], Any]]:
        """Those of the job that a trial is a run of."""
        raise NotImplementedError

    def trial(self, values: Values) -> Any:
        """The config of a trial's run."""
        return with_values(self.base, values)

    def identity(self) -> dict[str, Any]:
        """What is searched, as JSON values: by which a sweep is found again."""
        config = to_json(replace(self, budget=SweepBudget(), concurrent=None))
        scored_by = {name: value for name, value in config[self.BASE].items() if name in self.SCORED_BY}
        return {**config, self.BASE: to_json(self.base.learning()) | scored_by}

    def _first_points(self) -> list[Values]:
        """Points that show whether all can be: they are checked before anything is trained."""
        if self.search.method == "grid":
            return grid(self.dimensions)
        return edge_points(self.dimensions) + draws(self.dimensions, seed=self.search.seed, count=20)

    def _check(self, values: Values) -> None:
        try:
            self.trial(values)
        except ValueError as error:
            told = ", ".join(f"{name}={said(value)}" for name, value in values.items())
            raise ValueError(f"{told} cannot be trained: {error}") from None


@dataclass(frozen=True, kw_only=True)
class PretrainingSweepConfig(SweepConfig):
    """A search for what pre-training learns most from, told by what a probe reads off the frozen features on the way:
    losses do not compare across mask ratios and weights."""

    BASE: ClassVar[str] = "pretrain"
    SCORED_BY: ClassVar[tuple[str, ...]] = ("transfer",)

    pretrain: PretrainConfig | MeadPretrainConfig | FacePretrainConfig
    metric: Literal["uar", "f1_macro", "knn_uar"] = "uar"
    """Of the probe. uar, f1_macro: linear; knn_uar: nearest neighbours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrain.transfer.corpus is None:
            raise ValueError("a sweep compares by transfer: name a labelled corpus by --pretrain.transfer.corpus")

    @property
    def scored_on(self) -> str:
        transfer = self.pretrain.transfer
        return transfer.corpus or "" if transfer.root else f"synthetic {transfer.corpus}"

    @property
    def notes(self) -> list[str]:
        return [
            f"{self.metric} of a probe on {self.pretrain.transfer.clips} or fewer clips, measured while training: good "
            "for telling trials apart, not for reporting. What was stopped saw fewer samples than the others."
        ]

    def recipes(self) -> dict[str, Callable[[], Any]]:
        from jobs.recipes import faces, mead, voxceleb

        return {MeadPretrainConfig: mead, FacePretrainConfig: faces}.get(type(self.pretrain), voxceleb).RECIPES


@dataclass(frozen=True, kw_only=True)
class FinetuneSweepConfig(SweepConfig):
    """A search for how to fine-tune. A trial is a run of every fold and seed, scored on videos of people that are held
    out of its training part; the best is then scored on the test videos, once."""

    BASE: ClassVar[str] = "finetune"
    SCORED_BY: ClassVar[tuple[str, ...]] = ("validation_clips", "test_clips")

    finetune: FinetuneConfig
    metric: Literal["uar", "war", "f1_macro"] = "uar"
    """Of the validation videos, at the end of a run, the mean over folds and seeds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finetune.evaluation != "clean":
            raise ValueError(
                "evaluation=paper validates with the test videos, and whoever chooses by them has no test left: say "
                "--finetune.evaluation clean"
            )

    @property
    def scored_on(self) -> str:
        return self.finetune.corpus.title

    @property
    def notes(self) -> list[str]:
        return [
            f"{self.metric} of held-out people of the training folds, the mean over the runs of a trial. The test "
            "videos were scored for the best trial alone."
        ]

    def recipes(self) -> dict[str, Callable[[], Any]]:
        from jobs.recipes import finetuning

        return finetuning.RECIPES


_PLACEMENT = "it says how a run is carried out, not what it learns"

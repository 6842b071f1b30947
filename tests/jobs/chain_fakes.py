"""A small chain, and jobs that stand in for those that train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from jobs.parts.chain import Results, Runner
from jobs.parts.chain_config import Cell, ExportConfig, JobName, Stage, TableConfig
from jobs.parts.feature_config import FeatureConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.recipes import features, finetuning, heads, voxceleb

ORDER = ["videos", "labelled", "pretrain", "export", "pretrained", "scratch", "table"]
LOOKUPS = ["videos", "labelled"]


def chain(pretrain: PretrainConfig | None = None, finetune: FinetuneConfig | None = None) -> tuple[Stage, ...]:
    """Two catalogs, a pre-training and its export, two fine-tunings and the table of both."""
    pretrain, finetune = pretrain or voxceleb.nano(), finetune or replace(finetuning.nano(), folds=(1,))
    cells = tuple(Cell(name, "UAR", name, "uar") for name in ("pretrained", "scratch"))
    return (
        Stage("videos", "catalog", pretrain.corpus),
        Stage("labelled", "catalog", finetune.corpus),
        Stage("pretrain", "pretrain", pretrain, after=("videos",)),
        Stage("export", "export", ExportConfig(), weights_from="pretrain"),
        Stage("pretrained", "finetune", finetune, weights_from="pretrain", after=("labelled",)),
        Stage("scratch", "finetune", finetune, after=("labelled",)),
        Stage("table", "table", TableConfig("Both", cells)),
    )


def feature_chain(heard: FeatureConfig | None = None) -> tuple[Stage, ...]:
    """A catalog, what is heard of it, a head that reads it and one that reads something else, and the first's table."""
    head = heads.nano()
    return (
        Stage("labelled", "catalog", head.corpus),
        Stage("heard", "extract", heard or features.log_mel(), after=("labelled",)),
        Stage("other", "extract", replace(features.foreign(), folder="tables"), after=("labelled",)),
        Stage("head", "head", head, features_from=("heard",), after=("labelled",)),
        Stage("head-other", "head", head, features_from=("other",), after=("labelled",)),
        Stage("table", "table", TableConfig("One", (Cell("ours", "F1", "head", "headline"),))),
    )


class Killed(BaseException):
    """As a signal ends a process: nobody handles it."""


class FakeJobs:
    """Every job of a chain; notes what is called with what."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seen: dict[str, Mapping[str, Any]] = {}
        self.fingerprints = {"videos": "v1", "labelled": "l1"}
        self.raises: dict[str, BaseException] = {}
        self.returns: dict[str, dict[str, Any]] = {}

    def runners(self) -> dict[str, Runner]:
        return dict.fromkeys(get_args(JobName), self._run)

    def again(self) -> list[str]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

    def _run(self, stage: Stage, results: Results) -> dict[str, Any]:
        self.calls.append(stage.name)
        self.seen[stage.name] = dict(results)
        if stage.name in self.raises:
            raise self.raises.pop(stage.name)
        if stage.name in self.returns:
            return self.returns.pop(stage.name)
        if stage.job == "catalog":
            return {"fingerprint": self.fingerprints[stage.name]}
        return {"is_finished": True, "made_by": stage.name}

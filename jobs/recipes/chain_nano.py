"""The chain that a laptop runs: every kind of stage but a sweep of pre-training, on synthetic corpora."""

from __future__ import annotations

from dataclasses import replace

from cluster.sweep_config import EarlyStopping
from jobs.parts.chain_config import Cell, ChainConfig, ExportConfig, Roots, Stage, TableConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.sweep_config import FinetuneSweepConfig
from jobs.recipes import finetuning, voxceleb
from pipelines.alignment import AlignConfig

COLUMNS = {"UAR": "uar", "WAR": "war", "F1": "f1_macro"}
FOLDS = (1, 2, 3)


def nano() -> ChainConfig:
    """From nothing to a table on a laptop, all synthetic: a short pre-training against none, on three folds of the
    faces in CREMA-D's layout, in under 15 minutes on 2 cores.

    No paper row. So little is learned that either may win. Every run is deterministic: a chain that was interrupted
    ends with the same table as one that was not. `python jobs/chain.py`
    """
    return ChainConfig(recipe="nano", build=_stages)


def _stages(roots: Roots) -> tuple[Stage, ...]:
    pretrain, finetune = _pretraining(), _finetuning()
    search = FinetuneSweepConfig(
        recipe="chain_nano",
        space=("optimizer.base_lr=0.01,0.03",),
        stopping=EarlyStopping(enabled=False),  # who is stopped would depend on who was first
        finetune=replace(finetune, folds=FOLDS[:1]),
    )
    labelled = ("labelled",)
    return (
        Stage("videos", "catalog", pretrain.corpus),
        Stage("faces", "annotate", pretrain.corpus, after=("videos",)),
        Stage("labelled", "catalog", finetune.corpus),
        Stage("pretrain", "pretrain", pretrain, after=("faces",)),
        Stage("export", "export", ExportConfig(), weights_from="pretrain"),
        Stage("sweep", "sweep_finetuning", search, weights_from="pretrain", after=labelled),
        Stage("pretrained", "finetune", finetune, weights_from="pretrain", values_from="sweep", after=labelled),
        Stage("scratch", "finetune", finetune, after=labelled),
        Stage("table", "table", _table()),
    )


def _pretraining() -> PretrainConfig:
    """The laptop's pre-training, twelve passes of it, with crops that follow the face."""
    base = voxceleb.nano()
    return replace(
        base,
        crop=AlignConfig(size=126),
        passes_per_epoch=12,
        workers=replace(base.workers, deterministic=True),
    )


def _finetuning() -> FinetuneConfig:
    base = finetuning.nano()
    return replace(base, folds=FOLDS, workers=replace(base.workers, deterministic=True))


def _table() -> TableConfig:
    cells = [
        Cell(row, column, stage, metric)
        for row, stage in (("from scratch", "scratch"), ("pre-trained", "pretrained"))
        for column, metric in COLUMNS.items()
    ]
    return TableConfig(f"Synthetic CREMA-D, folds {', '.join(map(str, FOLDS))}", tuple(cells))

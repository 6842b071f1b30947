"""Chains of MAE-DFER (arXiv 2307.02227): from VoxCeleb2 to its result tables, and its ablations.

Every stage is a recipe of jobs/recipes/voxceleb.py or jobs/recipes/finetuning.py; the ablations fine-tune on DFEW's
fold 1 and on FERV39k, as the paper does. Costs are sums of theirs: hours of one H200 at 40 % of its bf16 peak, decoding
not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

from jobs.parts.chain_config import Cell, ChainConfig, ExportConfig, Roots, Stage, TableConfig
from jobs.parts.chain_stages import corpus_stages, finetune_stage, pretrain_stage
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.published import read_published
from jobs.recipes import finetuning, voxceleb

PAPER: Literal["mae_dfer"] = "mae_dfer"
OURS, VIDEO_MAE = "MAE-DFER", "VideoMAE (VoxCeleb2)"
COST = {"#Params": "parameters", "FLOPs": "gflops"}
SCORES = {"UAR": "uar", "WAR": "war"}
IN_THE_WILD = {
    "dfew": ("DFEW", "table_6", "table_12"),
    "ferv39k": ("FERV39k", "table_7", "table_13"),
    "mafw": ("MAFW", "table_8", "table_14"),
}
"""Title of each corpus, its table of all methods, and the one class by class."""
IN_THE_LAB = {"crema_d": "CREMA-D", "ravdess": "RAVDESS", "enterface05": "eNTERFACE05"}
"""Titles of the corpora of Table 9."""


class Arm(NamedTuple):
    """A row of an ablation."""

    row: str
    """As it is spelled in the published table."""
    pretrain: PretrainConfig | None
    """None: trained from scratch."""
    epoch: int | None = None
    """Of the pre-training, a snapshot; None: its end."""
    classified: Literal["representative", "local"] = "representative"
    """LGI-Former's tokens that are classified."""


def mae_dfer() -> ChainConfig:
    """VoxCeleb2 to the six corpora of MAE-DFER: its Tables 6 to 9, and class by class 12 to 14, with VideoMAE on
    VoxCeleb2 beside it on the three in the wild. Rows that start from Kinetics-400 are not measured.

    Cost: about 60 h.
    `python jobs/chain.py mae_dfer --roots voxceleb2 s3://b/vox dfew s3://b/dfew ferv39k s3://b/ferv mafw s3://b/mafw
    crema_d s3://b/crema ravdess s3://b/ravdess enterface05 s3://b/enterface`
    """
    return ChainConfig(recipe="mae_dfer", build=_results)


def epochs() -> ChainConfig:
    """MAE-DFER Table 2: no pre-training, and 10, 30, 50 and 70 epochs of it, which are snapshots of one run under one
    cosine; whether the paper ran one for each is not said. Cost: about 36 h.
    `python jobs/chain.py epochs --roots voxceleb2 s3://b/vox dfew s3://b/dfew ferv39k s3://b/ferv`"""
    base = voxceleb.mae_dfer_base()
    kept = base.checkpoint.keep_epochs
    longest = replace(base, optimizer=replace(base.optimizer, stop_epoch=max(kept)))
    arms = (Arm("0 epochs", None), *(Arm(f"{epoch} epochs", longest, epoch) for epoch in kept))
    return _ablation("epochs", "table_2", "epochs of pre-training", arms)


def architecture() -> ChainConfig:
    """MAE-DFER Table 3: parts of LGI-Former, and a ViT. Cost: about 64 h.
    `python jobs/chain.py architecture --roots voxceleb2 s3://b/vox dfew s3://b/dfew ferv39k s3://b/ferv`"""
    arms = (
        Arm("intra", voxceleb.lgi_intra()),
        Arm("intra + inter", voxceleb.lgi_intra_inter()),
        Arm("intra + LGI", voxceleb.lgi_intra_lgi()),
        Arm("intra + inter + LGI", voxceleb.mae_dfer_base()),
        Arm("ViT", voxceleb.vit_base_joint()),
    )
    return _ablation("architecture", "table_3", "parts of the encoder", arms, with_cost=True)


def loss_weight() -> ChainConfig:
    """MAE-DFER Figure 3: the weight of appearance against motion, lambda, from 0 to 1. The text gives the figure's
    ends on DFEW, no other value is printed. Cost: about 61 h.
    `python jobs/chain.py loss_weight --roots voxceleb2 s3://b/vox dfew s3://b/dfew ferv39k s3://b/ferv`"""
    arms = (
        Arm("lambda 0", voxceleb.lambda_0()),
        Arm("lambda 0.25", voxceleb.lambda_25()),
        Arm("lambda 0.5", voxceleb.mae_dfer_base()),
        Arm("lambda 0.75", voxceleb.lambda_75()),
        Arm("lambda 1", voxceleb.lambda_1()),
    )
    return _ablation("loss_weight", "figure_3", "weight of appearance in the loss", arms)


def region_size() -> ChainConfig:
    """MAE-DFER Table 4: the size of LGI-Former's regions. Cost: about 61 h.
    `python jobs/chain.py region_size --roots voxceleb2 s3://b/vox dfew s3://b/dfew ferv39k s3://b/ferv`"""
    arms = (
        Arm("1x5x10", voxceleb.region_1x5x10()),
        Arm("2x2x10", voxceleb.region_2x2x10()),
        Arm("2x5x10", voxceleb.mae_dfer_base()),
        Arm("2x10x10", voxceleb.region_2x10x10()),
        Arm("4x5x10", voxceleb.region_4x5x10()),
    )
    return _ablation("region_size", "table_4", "size of a region, in tokens", arms, with_cost=True)


def token_type() -> ChainConfig:
    """MAE-DFER Table 5: which tokens of LGI-Former are classified. Cost: about 17 h.
    `python jobs/chain.py token_type --roots voxceleb2 s3://b/vox dfew s3://b/dfew ferv39k s3://b/ferv`"""
    base = voxceleb.mae_dfer_base()
    arms = (Arm("original tokens", base, classified="local"), Arm("representative tokens", base))
    return _ablation("token_type", "table_5", "tokens that are classified", arms)


def model_size() -> ChainConfig:
    """MAE-DFER Table 10: tiny, small and base LGI-Former. Cost: about 27 h.
    `python jobs/chain.py model_size --roots voxceleb2 s3://b/vox dfew s3://b/dfew ferv39k s3://b/ferv`"""
    arms = (
        Arm("tiny", voxceleb.mae_dfer_tiny()),
        Arm("small", voxceleb.mae_dfer_small()),
        Arm("base", voxceleb.mae_dfer_base()),
    )
    return _ablation("model_size", "table_10", "size of the encoder", arms, with_cost=True)


def videomae_joint() -> ChainConfig:
    """MAE-DFER Table 11: a ViT that is to restore motion, appearance (VideoMAE) or both. Cost: about 53 h.
    `python jobs/chain.py videomae_joint --roots voxceleb2 s3://b/vox dfew s3://b/dfew ferv39k s3://b/ferv`"""
    arms = (
        Arm("motion", voxceleb.vit_base_motion()),
        Arm("appearance", voxceleb.vit_base_appearance()),
        Arm("appearance + motion", voxceleb.vit_base_joint()),
    )
    return _ablation("videomae_joint", "table_11", "targets of a ViT", arms, with_cost=True)


def _ablation(name: str, table: str, title: str, arms: Iterable[Arm], *, with_cost: bool = False) -> ChainConfig:
    build = partial(_ablation_stages, arms=tuple(arms), table=table, title=title, with_cost=with_cost)
    return ChainConfig(recipe=name, build=build)


def _ablation_stages(
    roots: Roots, *, arms: tuple[Arm, ...], table: str, title: str, with_cost: bool
) -> tuple[Stage, ...]:
    tested = {"DFEW": replace(finetuning.dfew(), folds=(1,)), "FERV39k": finetuning.ferv39k()}
    pretrained = {arm.pretrain.recipe: arm.pretrain for arm in arms if arm.pretrain}
    finetuned, cells = [], []
    for arm in arms:
        for corpus, config in tested.items():
            stage = finetune_stage(
                f"{config.recipe}-{_slug(arm.row)}",
                _fitted(config, arm),
                roots,
                weights_from=arm.pretrain and arm.pretrain.recipe,
                weights_epoch=arm.epoch,
            )
            finetuned.append(stage)
            cells += [Cell(arm.row, f"{corpus} {score}", stage.name, metric) for score, metric in SCORES.items()]
        if with_cost:
            cells += _cells(arm.row, COST, stage.name)
    return (
        *corpus_stages(roots, "voxceleb2", "dfew", "ferv39k"),
        *(pretrain_stage(config, roots) for config in pretrained.values()),
        *finetuned,
        _table(table, f"{title}, on DFEW's fold 1 and FERV39k", cells),
    )


def _results(roots: Roots) -> tuple[Stage, ...]:
    ours, video_mae = voxceleb.mae_dfer_base(), voxceleb.vit_base_appearance()
    names = (*IN_THE_WILD, *IN_THE_LAB)
    return (
        *corpus_stages(roots, "voxceleb2", *names),
        pretrain_stage(ours, roots),
        Stage(f"{ours.recipe}-encoder", "export", ExportConfig(), weights_from=ours.recipe),
        *(_finetuned(name, Arm(OURS, ours), roots) for name in names),
        _lab_table(),
        pretrain_stage(video_mae, roots),
        *(_finetuned(name, Arm(VIDEO_MAE, video_mae), roots) for name in IN_THE_WILD),
        *(table for corpus in IN_THE_WILD for table in _wild_tables(corpus)),
    )


def _finetuned(name: str, arm: Arm, roots: Roots) -> Stage:
    config = _fitted(finetuning.RECIPES[name](), arm)
    return finetune_stage(_stage_of(name, arm.row), config, roots, weights_from=arm.pretrain.recipe)


def _lab_table() -> Stage:
    cells = [
        Cell(OURS, f"{title} {score}", _stage_of(corpus, OURS), metric)
        for corpus, title in IN_THE_LAB.items()
        for score, metric in SCORES.items()
    ]
    return _table("table_9", ", ".join(IN_THE_LAB.values()), cells)


def _wild_tables(corpus: str) -> tuple[Stage, Stage]:
    """Of all methods, and class by class."""
    from pipelines.corpora.registry import find

    title, short, long = IN_THE_WILD[corpus]
    classes = [column for column in read_published(PAPER, long).columns if column not in COST | SCORES]
    recalls = {column: f"recall/{name}" for column, name in zip(classes, find(corpus).CLASSES, strict=True)}
    rows = OURS, VIDEO_MAE
    cells = [cell for row in rows for cell in _cells(row, COST | SCORES, _stage_of(corpus, row))]
    by_class = [cell for row in rows for cell in _cells(row, recalls, _stage_of(corpus, row))]
    return _table(short, title, cells), _table(long, f"{title} class by class", [*cells, *by_class])


def _fitted(config: FinetuneConfig, arm: Arm) -> FinetuneConfig:
    """The fine-tuning of the encoder that was pre-trained."""
    fields = ("encoder", "region", "lgi_variant") if arm.pretrain else ()
    encoder = {field: getattr(arm.pretrain.model, field) for field in fields}
    return replace(config, model=replace(config.model, global_pool=arm.classified, **encoder))


def _cells(row: str, metrics: dict[str, str], stage: str) -> list[Cell]:
    return [Cell(row, column, stage, metric) for column, metric in metrics.items()]


def _table(table: str, title: str, cells: list[Cell]) -> Stage:
    words = f"MAE-DFER, {table.replace('_', ' ').capitalize()}: {title}"
    return Stage(table, "table", TableConfig(words, tuple(cells), paper=PAPER, table=table))


def _stage_of(corpus: str, row: str) -> str:
    return f"{corpus}-{_slug(row)}"


def _slug(row: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", row.lower()).strip("_")

"""The chain of MAURA: from MEAD to MEAD, MFA, DFEW and CMU-MOSEI (Table 2), and its ablations (Tables 3 to 5).

Every stage is a recipe of jobs/recipes/mead.py or jobs/recipes/finetuning.py. The first row of Table 2, a ViT-B without
self-supervision, is read so: on MEAD and MFA it is trained from scratch, on DFEW it starts from one that was trained on
the labels of MEAD (all three intensities, all subjects but fold 1's). UMONS, whose input are action units and not
videos, is not measured, nor are the other methods.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from jobs.parts.chain_config import Cell, ChainConfig, ExportConfig, Roots, Stage, TableConfig
from jobs.parts.chain_stages import corpus_stages, finetune_stage, pretrain_stage
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.recipes import finetuning, mead

PAPER: Literal["maura"] = "maura"
TESTED = {
    "MEAD low": finetuning.mead_low,
    "MEAD high": finetuning.mead_high,
    "MFA": finetuning.mfa,
    "DFEW": finetuning.dfew_f1,
    "CMU-MOSEI": finetuning.cmu_mosei,
}
"""Recipes by column of Table 2."""
MODULES = {"VideoMAE": mead.videomae, "MAU": mead.mau, "RA": mead.ra, "MAURA": mead.maura}
"""Recipes by row of Table 4."""
MASKS = {
    ("VideoMAE", "random 70 %"): mead.videomae,
    ("VideoMAE", "random 90 %"): mead.videomae_random_90,
    ("VideoMAE", "tube 70 %"): mead.videomae_tube_70,
    ("VideoMAE", "tube 90 %"): mead.videomae_tube_90,
    ("MAURA", "random 70 %"): mead.maura,
    ("MAURA", "random 90 %"): mead.maura_random_90,
    ("MAURA", "tube 70 %"): mead.maura_tube_70,
    ("MAURA", "tube 90 %"): mead.maura_tube_90,
}
"""Recipes by cell of Table 5."""
SCRATCH, SUPERVISED = "scratch", "supervised"


def maura() -> ChainConfig:
    """MEAD to MEAD, MFA, DFEW and CMU-MOSEI: MAURA's Table 2, then the ablations of its Tables 3, 4 and 5. Methods of
    other people are not measured, but for a ViT-B without self-supervision.

    Cost: about 730 h of one H200 at 40 % of its bf16 peak, decoding not counted, of which Table 2 takes 350 h.
    `python jobs/chain.py maura --roots mead s3://b/mead mfa s3://b/mfa dfew s3://b/dfew cmu_mosei s3://b/mosei`
    """
    return ChainConfig(recipe="maura", build=_stages)


def _stages(roots: Roots) -> tuple[Stage, ...]:
    ours, video_mae = mead.maura(), mead.videomae()
    all_tested = [recipe() for recipe in TESTED.values()]
    modules = [TESTED[column]() for column in ("MEAD low", "MEAD high", "MFA", "DFEW")]
    others = dict.fromkeys(recipe for recipe in MASKS.values() if recipe not in MODULES.values())
    return (
        *corpus_stages(roots, "mead", "mfa", "dfew", "cmu_mosei", faces=True),
        *_arm(ours, [*all_tested, *map(finetuning.head_alone, all_tested)], roots),
        Stage(f"{ours.recipe}-encoder", "export", ExportConfig(), weights_from=ours.recipe),
        *_arm(video_mae, all_tested, roots),
        *_without_self_supervision(roots),
        _table_2(),
        *(stage for recipe in (mead.mau, mead.ra) for stage in _arm(recipe(), modules, roots)),
        _table_3(),
        _table_4(),
        *(stage for recipe in others for stage in _arm(recipe(), [finetuning.mead_high()], roots)),
        _table_5(),
    )


def _arm(pretrain: MeadPretrainConfig, tested: Iterable[FinetuneConfig], roots: Roots) -> tuple[Stage, ...]:
    """A pre-training, and what is fine-tuned from it."""
    weights = pretrain.recipe
    stages = (finetune_stage(_name(weights, config), config, roots, weights_from=weights) for config in tested)
    return (pretrain_stage(pretrain, roots), *stages)


def _without_self_supervision(roots: Roots) -> tuple[Stage, ...]:
    base, dfew = finetuning.mead_low(), finetuning.dfew_f1()
    teacher = replace(base, corpus=replace(base.corpus, protocol="all"), folds=(1,))
    fresh = [TESTED[column]() for column in ("MEAD low", "MEAD high", "MFA")]
    return (
        *(finetune_stage(_name(SCRATCH, config), config, roots, weights_from=None) for config in fresh),
        finetune_stage(SUPERVISED, teacher, roots, weights_from=None),
        finetune_stage(_name(SUPERVISED, dfew), dfew, roots, weights_from=SUPERVISED),
    )


def _table_2() -> Stage:
    configs = {column: recipe() for column, recipe in TESTED.items()}
    probed = {column: finetuning.head_alone(config) for column, config in configs.items()}
    rows = {"VideoMAE": ("videomae", configs), "MAURA (LP)": ("maura", probed), "MAURA (FT)": ("maura", configs)}
    cells = [
        Cell(row, column, _name(arm, config), "headline")
        for row, (arm, tested) in rows.items()
        for column, config in tested.items()
    ]
    arms = {"MEAD low": SCRATCH, "MEAD high": SCRATCH, "MFA": SCRATCH, "DFEW": SUPERVISED}
    cells += [
        Cell("ViT-B (pt on MEAD)", column, _name(arm, configs[column]), "headline") for column, arm in arms.items()
    ]
    return _table("table_2", "MEAD, MFA, DFEW and CMU-MOSEI", cells)


def _table_3() -> Stage:
    from pipelines.corpora.mead import VIEWS

    rows = {view.replace("_", " "): f"view/{view}/f1_macro" for view in VIEWS} | {"average": "headline"}
    cells = [
        Cell(row, f"{arm} {level}", _name(recipe.__name__, TESTED[f"MEAD {level}"]()), metric)
        for level in ("low", "high")
        for arm, recipe in MODULES.items()
        for row, metric in rows.items()
    ]
    return _table("table_3", "views of MEAD", cells)


def _table_4() -> Stage:
    cells = [
        Cell(arm, column, _name(recipe.__name__, TESTED[column]()), "headline")
        for arm, recipe in MODULES.items()
        for column in ("MEAD low", "DFEW", "MFA")
    ]
    return _table("table_4", "what masks of action units and other views add", cells)


def _table_5() -> Stage:
    tested = finetuning.mead_high()
    cells = [Cell(arm, masks, _name(recipe.__name__, tested), "headline") for (arm, masks), recipe in MASKS.items()]
    return _table("table_5", "masks, on MEAD at high intensity", cells)


def _name(arm: str, config: FinetuneConfig) -> str:
    return f"{arm}-{config.recipe}"


def _table(table: str, title: str, cells: Iterable[Cell]) -> Stage:
    words = f"MAURA, {table.replace('_', ' ').capitalize()}: {title}"
    return Stage(table, "table", TableConfig(words, tuple(cells), paper=PAPER, table=table))

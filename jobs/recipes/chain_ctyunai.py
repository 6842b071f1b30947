"""The chain of CtyunAI's system for ABAW6, from image pre-training to the submission, and the laptop's."""

from __future__ import annotations

from dataclasses import replace

from jobs.parts.chain_config import Cell, ChainConfig, Stage
from jobs.recipes import faces, frames, heads
from jobs.recipes.chain_abaw import (
    Scale,
    first_stages,
    frames_stage,
    head_stage,
    laptop,
    paper,
    table_stage,
    vision_stage,
)

PAPER = "ctyunai_abaw6"
TASKS = ("va", "expr", "au")
ROWS = {
    "Valence CCC (Ours)": ("va", "ccc/valence"),
    "Arousal CCC (Ours)": ("va", "ccc/arousal"),
    "Expr F1-score (Ours)": ("expr", "headline"),
    "AU F1-score (Ours)": ("au", "headline"),
}


def ctyunai_abaw6() -> ChainConfig:
    """CtyunAI, ABAW6: Fold 0 of Table 1, read as the official parts, and the submissions of the three challenges.

    One extractor, tuned on expressions, for all three heads. Cost: about 11 h of one H200, 8 of them pre-training.
    `python jobs/chain.py ctyunai_abaw6 --roots affectnet s3://b/affectnet raf_db s3://b/raf_db fer2013 s3://b/fer2013
    fer_plus s3://b/fer_plus aff_wild2 s3://b/aff_wild2`
    """
    return ChainConfig(recipe="ctyunai_abaw6", build=paper(_main))


def ctyunai_folds() -> ChainConfig:
    """CtyunAI, ABAW6: all of Table 1, Fold k being our fold k + 1 by video of each task.

    The extractor of a fold is tuned on the expressions of its other videos; folds are the same people for all tasks.
    Cost: about 25 h of one H200, 8 of them pre-training.
    `python jobs/chain.py ctyunai_folds --roots affectnet s3://b/affectnet raf_db s3://b/raf_db fer2013 s3://b/fer2013
    fer_plus s3://b/fer_plus aff_wild2 s3://b/aff_wild2`
    """
    return ChainConfig(recipe="ctyunai_folds", build=paper(_folds))


def ctyunai_nano() -> ChainConfig:
    """All of ctyunai_abaw6 on a laptop: a small ViT on synthetic faces, small convolutions in time and a small
    Transformer on the twin of Aff-Wild2, in under 15 minutes on 2 cores.

    So little is learned that no row may win. `python jobs/chain.py ctyunai_nano`
    """
    return ChainConfig(recipe="ctyunai_nano", build=laptop(_main))


def _main(scale: Scale) -> tuple[Stage, ...]:
    return (
        *first_stages(scale, faces.ctyunai_mae()),
        *_fold(scale, None),
        table_stage(scale, PAPER, "table_1", "CtyunAI Table 1, Fold 0 read as the official parts", _cells(None)),
    )


def _folds(scale: Scale) -> tuple[Stage, ...]:
    stages = [stage for fold in range(1, 6) for stage in _fold(scale, fold)]
    cells = [cell for fold in range(1, 6) for cell in _cells(fold)]
    return (
        *first_stages(scale, faces.ctyunai_mae()),
        *stages,
        table_stage(scale, PAPER, "table_1", "CtyunAI Table 1, five folds by video", cells),
    )


def _fold(scale: Scale, fold: int | None) -> tuple[Stage, ...]:
    """Extractor, features and heads of a fold; None: of the official parts."""
    protocol, folds = ("{}", ()) if fold is None else ("{}_folds", (fold,))
    tuned = replace(frames.for_task(frames.ctyunai_frames_expr(), protocol.format("expr")), folds=folds)
    bases = (replace(heads.for_task(heads.RECIPES[f"ctyunai_{t}"](), protocol.format(t)), folds=folds) for t in TASKS)
    return (
        frames_stage(scale, _name("frames-expr", fold), tuned),
        vision_stage(scale, _name("features", fold), _name("frames-expr", fold)),
        *(
            head_stage(scale, _name(f"head-{task}", fold), base, [_name("features", fold)])
            for task, base in zip(TASKS, bases, strict=True)
        ),
    )


def _cells(fold: int | None) -> list[Cell]:
    column = f"Fold {0 if fold is None else fold - 1}"
    return [Cell(row, column, _name(f"head-{task}", fold), metric) for row, (task, metric) in ROWS.items()]


def _name(what: str, fold: int | None) -> str:
    return what if fold is None else f"{what}-fold{fold}"

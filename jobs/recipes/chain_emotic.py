"""The chain of Emotic-MAE (ABAW6), from image pre-training to the submission, its ablations, and the laptop's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from jobs.parts.chain_config import Cell, ChainConfig, Stage
from jobs.recipes import faces, finetuning, frames, heads
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
from models.head_config import Fusion
from pipelines.corpora.aff_wild2_files import EXPRESSIONS

PAPER = "emotic_mae"
INPUTS = {
    "full": "Not crop (normal)",
    "eye": "Eye",
    "nose": "Nose",
    "mouth": "Mouth",
    "eye_mouth": "Eye + Mouth",
    "eye_mouth_nose": "Eye + Mouth + Nose",
}
FUSIONS: dict[Fusion, str] = {
    "mean": "Mean",
    "concat": "Concat",
    "updown_mean": "UpDown + Mean",
    "updown_concat": "UpDown + Concat",
}
PRINTED = {"Happiness": "Happy", "Sadness": "Sad"}
VIEWS = ("full", "eye_mouth")


def emotic_abaw6() -> ChainConfig:
    """Emotic-MAE, ABAW6: the two views of Table 1, concatenation in Table 2, all of Table 3 but its first row, and the
    submission of the expression challenge.

    The encoder is NetEase's. Cost: about 76 h of one H200, 70 of them pre-training.
    `python jobs/chain.py emotic_abaw6 --roots affectnet s3://b/affectnet casia_webface s3://b/webface
    celeba s3://b/celeba imdb_wiki s3://b/imdb aff_wild2 s3://b/aff_wild2`
    """
    return ChainConfig(recipe="emotic_abaw6", build=paper(_main))


def emotic_inputs() -> ChainConfig:
    """Emotic-MAE, ABAW6, Table 1: fine-tuning on the whole face and on five sets of its parts.

    Cost: about 88 h of one H200, 70 of them pre-training, which is that of emotic_abaw6.
    `python jobs/chain.py emotic_inputs --roots affectnet s3://b/affectnet casia_webface s3://b/webface
    celeba s3://b/celeba imdb_wiki s3://b/imdb aff_wild2 s3://b/aff_wild2`
    """
    return ChainConfig(recipe="emotic_inputs", build=paper(_inputs))


def emotic_fusions() -> ChainConfig:
    """Emotic-MAE, ABAW6, Table 2: four ways to make the key of two views; and the first row of Table 3, a linear probe
    of the encoder as it is, for what else would learn there is not said.

    Cost: about 77 h of one H200, 70 of them pre-training, which is that of emotic_abaw6.
    `python jobs/chain.py emotic_fusions --roots affectnet s3://b/affectnet casia_webface s3://b/webface
    celeba s3://b/celeba imdb_wiki s3://b/imdb aff_wild2 s3://b/aff_wild2`
    """
    return ChainConfig(recipe="emotic_fusions", build=paper(_fusions))


def emotic_nano() -> ChainConfig:
    """All of emotic_abaw6 on a laptop: a small ViT on synthetic faces and a small fusion of two views of the faces of
    Aff-Wild2's twin, in under 15 minutes on 2 cores.

    So little is learned that no row may win. `python jobs/chain.py emotic_nano`
    """
    return ChainConfig(recipe="emotic_nano", build=laptop(_main))


def _main(scale: Scale) -> tuple[Stage, ...]:
    single = "frames-full"
    return (
        *first_stages(scale, faces.netease_mae()),
        *_views(scale, VIEWS),
        *(vision_stage(scale, f"features-{view}", f"frames-{view}") for view in VIEWS),
        _head(scale, "concat", smoothed=False),
        _head(scale, "concat", smoothed=True),
        _table_1(scale, VIEWS),
        _table_2(scale, ("concat",)),
        _table_3(
            scale,
            {
                "w/o. Fusion, Post-processing": single,
                "w/o. Post-processing": "head-concat",
                "Ours": "head-concat-smoothed",
            },
        ),
    )


def _inputs(scale: Scale) -> tuple[Stage, ...]:
    return *first_stages(scale, faces.netease_mae()), *_views(scale, tuple(INPUTS)), _table_1(scale, tuple(INPUTS))


def _fusions(scale: Scale) -> tuple[Stage, ...]:
    names = get_args(Fusion)
    probe = finetuning.head_alone(frames.emotic_frames_full())
    return (
        *first_stages(scale, faces.netease_mae()),
        *_views(scale, VIEWS),
        *(vision_stage(scale, f"features-{view}", f"frames-{view}") for view in VIEWS),
        *(_head(scale, name, smoothed=False) for name in names),
        frames_stage(scale, "probe", probe),
        _table_2(scale, names),
        _table_3(scale, {"w/o. MAE finetune, Fusion, Post-processing": "probe"}),
    )


def _views(scale: Scale, views: Sequence[str]) -> tuple[Stage, ...]:
    return tuple(frames_stage(scale, f"frames-{view}", frames.RECIPES[f"emotic_frames_{view}"]()) for view in views)


def _head(scale: Scale, fusion: Fusion, *, smoothed: bool) -> Stage:
    base = heads.emotic_expr()
    filters = base.postprocessing if smoothed else replace(base.postprocessing, smoothing=())
    config = scale.head(replace(base, postprocessing=filters))
    model = replace(config.model, head=replace(config.model.head, fusion=fusion))
    stage = head_stage(scale, f"head-{fusion}" + "-smoothed" * smoothed, base, [f"features-{view}" for view in VIEWS])
    return replace(stage, config=replace(config, model=model))


def _table_1(scale: Scale, views: Sequence[str]) -> Stage:
    cells = [cell for view in views for cell in _row(INPUTS[view], f"frames-{view}")]
    return table_stage(scale, PAPER, "table_1", "Emotic-MAE Table 1, inputs", cells)


def _table_2(scale: Scale, fusions: Sequence[Fusion]) -> Stage:
    cells = [cell for fusion in fusions for cell in _row(FUSIONS[fusion], f"head-{fusion}")]
    return table_stage(scale, PAPER, "table_2", "Emotic-MAE Table 2, fusions", cells)


def _table_3(scale: Scale, rows: dict[str, str]) -> Stage:
    cells = [Cell(row, "F1", stage, "headline") for row, stage in rows.items()]
    return table_stage(scale, PAPER, "table_3", "Emotic-MAE Table 3, the method as a whole", cells)


def _row(row: str, stage: str) -> list[Cell]:
    classes = [Cell(row, PRINTED.get(name, name), stage, f"f1/{name}") for name in EXPRESSIONS]
    return [Cell(row, "Accuracy", stage, "accuracy"), *classes, Cell(row, "Macro F1", stage, "headline")]

"""The chain of NetEase's system for ABAW5, from image pre-training to the submission, and the laptop's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

from jobs.parts.chain_config import Cell, ChainConfig, Stage
from jobs.recipes import faces, features, frames, heads
from jobs.recipes.chain_abaw import (
    PRETRAINED,
    VIDEOS,
    Scale,
    class_cells,
    first_stages,
    frames_stage,
    head_stage,
    laptop,
    paper,
    sound_stages,
    table_stage,
    vision_stage,
)
from models.smoothing import NETEASE

PAPER = "netease_abaw5"
TASKS = {"au": "AU", "expr": "EXPR", "va": "VA"}
FILTERS = {
    "w/o. smooth": "none",
    "gaussian_filter": "gaussian",
    "median_filter": "median",
    "average_filter": "average",
}
HEARD = {"hubert": "Hubert", "wav2vec2": "Wav2vec2", "vggish": "Vggish"}
SETS = {
    " + ".join(["MAE", *(HEARD[name] for name in heard)]): heard
    for heard in (
        (),
        ("hubert",),
        ("wav2vec2",),
        ("vggish",),
        ("hubert", "vggish"),
        ("hubert", "wav2vec2"),
        ("hubert", "wav2vec2", "vggish"),
    )
}
"""Rows of Table 8, and what is heard in them."""
TITLES = {"au": "Table 1, action units", "expr": "Table 2, expressions", "va": "Table 3, valence and arousal"}


def netease_abaw5() -> ChainConfig:
    """NetEase, ABAW5: the rows "w/o TMF" and "Ours" of Table 7, the official rows of Tables 1 to 3, Table 9, and the
    submissions of the three challenges.

    One extractor for each task; HuBERT and VGGish, with your weights, beside it for expressions and values.
    Cost: about 85 h of one H200, 70 of them pre-training.
    `python jobs/chain.py netease_abaw5 --roots affectnet s3://b/affectnet casia_webface s3://b/webface
    celeba s3://b/celeba imdb_wiki s3://b/imdb aff_wild2 s3://b/aff_wild2 hubert ~/hubert vggish ~/vggish.pth`
    """
    return ChainConfig(recipe="netease_abaw5", build=paper(_main))


def netease_untuned() -> ChainConfig:
    """NetEase, ABAW5: the first row of Table 7, heads on features of the pre-trained encoder as it is.

    Cost: about 75 h of one H200, 70 of them pre-training, which is that of netease_abaw5.
    `python jobs/chain.py netease_untuned --roots affectnet s3://b/affectnet casia_webface s3://b/webface
    celeba s3://b/celeba imdb_wiki s3://b/imdb aff_wild2 s3://b/aff_wild2 hubert ~/hubert vggish ~/vggish.pth`
    """
    return ChainConfig(recipe="netease_untuned", build=paper(_untuned))


def netease_folds() -> ChainConfig:
    """NetEase, ABAW5, the five folds of Tables 1 to 3: extractor, features and head of every fold and task.

    Fold k is ours, by video; theirs are not published. Cost: about 150 h of one H200, 70 of them pre-training, which is
    that of netease_abaw5.
    `python jobs/chain.py netease_folds --roots affectnet s3://b/affectnet casia_webface s3://b/webface
    celeba s3://b/celeba imdb_wiki s3://b/imdb aff_wild2 s3://b/aff_wild2 hubert ~/hubert vggish ~/vggish.pth`
    """
    return ChainConfig(recipe="netease_folds", build=paper(_folds))


def netease_features() -> ChainConfig:
    """NetEase, ABAW5, Table 8 but for the two rows with DLN: which sound goes with MAE features.

    Cost: about 90 h of one H200, 70 of them pre-training, which is that of netease_abaw5.
    `python jobs/chain.py netease_features --roots affectnet s3://b/affectnet casia_webface s3://b/webface
    celeba s3://b/celeba imdb_wiki s3://b/imdb aff_wild2 s3://b/aff_wild2 hubert ~/hubert
    wav2vec2 ~/wav2vec2 vggish ~/vggish.pth`
    """
    return ChainConfig(recipe="netease_features", build=paper(_sets))


def netease_dln() -> ChainConfig:
    """NetEase, ABAW5, Table 8, the rows with DLN, whose features you bring as tables, one for each video.

    Cost: about 85 h of one H200, 70 of them pre-training, which is that of netease_abaw5.
    `python jobs/chain.py netease_dln --roots affectnet s3://b/affectnet casia_webface s3://b/webface
    celeba s3://b/celeba imdb_wiki s3://b/imdb aff_wild2 s3://b/aff_wild2 dln ~/dln`
    """
    return ChainConfig(recipe="netease_dln", build=paper(_with_dln))


def netease_nano() -> ChainConfig:
    """All of netease_abaw5 on a laptop: a small ViT on synthetic faces and a small fusion of vision and sound on the
    twin of Aff-Wild2, in under 15 minutes on 2 cores. Log-mel bands stand for HuBERT and VGGish.

    So little is learned that no row may win. `python jobs/chain.py netease_nano`
    """
    return ChainConfig(recipe="netease_nano", build=laptop(_main))


def _main(scale: Scale) -> tuple[Stage, ...]:
    tuned = {task: f"frames-{task}" for task in TASKS}
    seen = {task: f"features-{task}" for task in TASKS}
    return (
        *first_stages(scale, faces.netease_mae()),
        *_extractors(scale),
        *sound_stages(scale),
        *(_head(scale, task, seen[task], "none") for task in TASKS),
        *(_head(scale, task, seen[task], one) for one in ("gaussian", "median", "average") for task in TASKS),
        *(
            table_stage(scale, PAPER, f"table_{number}", f"NetEase {TITLES[task]}", class_cells("Official", name, task))
            for number, task in enumerate(("au", "expr", "va"), start=1)
            for name in [_name(task, "none")]
        ),
        table_stage(scale, PAPER, "table_7", "NetEase Table 7, fine-tuning and fusion", _ablation(tuned)),
        table_stage(scale, PAPER, "table_9", "NetEase Table 9, smoothing", _smoothing()),
    )


def _extractors(scale: Scale) -> tuple[Stage, ...]:
    """One for each task, and what it makes of every frame."""
    return (
        *(frames_stage(scale, f"frames-{task}", frames.RECIPES[f"netease_frames_{task}"]()) for task in TASKS),
        *(vision_stage(scale, f"features-{task}", f"frames-{task}") for task in TASKS),
    )


def _folds(scale: Scale) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    cells: dict[str, list[Cell]] = {task: [] for task in TASKS}
    for task, fold in product(TASKS, range(1, 6)):
        name = f"{task}-fold{fold}"
        tuned = frames.for_task(frames.RECIPES[f"netease_frames_{task}"](), f"{task}_folds")
        base = heads.for_task(heads.RECIPES[f"netease_{task}"](), f"{task}_folds")
        base = replace(base, folds=(fold,), postprocessing=replace(base.postprocessing, smoothing=()))
        heard = () if task == "au" else tuple(scale.sound())
        stages += [
            frames_stage(scale, f"frames-{name}", replace(tuned, folds=(fold,))),
            vision_stage(scale, f"features-{name}", f"frames-{name}"),
            head_stage(scale, f"head-{name}", base, (f"features-{name}", *heard)),
        ]
        cells[task] += class_cells(f"fold-{fold}", f"head-{name}", task)
    return (
        *first_stages(scale, faces.netease_mae()),
        *sound_stages(scale),
        *stages,
        *(
            table_stage(scale, PAPER, f"table_{number}", f"NetEase {TITLES[task]}", cells[task])
            for number, task in enumerate(("au", "expr", "va"), start=1)
        ),
    )


def _sets(scale: Scale) -> tuple[Stage, ...]:
    return (
        *first_stages(scale, faces.netease_mae()),
        *_extractors(scale),
        *sound_stages(scale, tuple(HEARD)),
        *(_with(scale, task, (f"features-{task}", *more), row) for row, more in SETS.items() for task in TASKS),
        table_stage(scale, PAPER, "table_8", "NetEase Table 8, features", _set_cells(SETS)),
    )


def _with_dln(scale: Scale) -> tuple[Stage, ...]:
    dln = replace(features.foreign(), corpus=scale.corpus(), folder=scale.roots.of("dln"))
    rows = {"DLN": ("dln",), "MAE + DLN": ("features-{}", "dln")}
    return (
        *first_stages(scale, faces.netease_mae()),
        *_extractors(scale),
        Stage("dln", "extract", dln, after=(VIDEOS,)),
        *(
            _with(scale, task, [name.format(task) for name in names], row)
            for row, names in rows.items()
            for task in TASKS
        ),
        table_stage(scale, PAPER, "table_8", "NetEase Table 8, DLN", _set_cells(rows)),
    )


def _with(scale: Scale, task: str, sources: Sequence[str], row: str) -> Stage:
    """A head of a row of Table 8, not smoothed."""
    base = heads.RECIPES[f"netease_{task}"]()
    base = replace(base, postprocessing=replace(base.postprocessing, smoothing=()))
    return head_stage(scale, _set_name(task, row), base, sources)


def _set_cells(rows: Iterable[str]) -> list[Cell]:
    return [Cell(row, column, _set_name(task, row), "headline") for row in rows for task, column in TASKS.items()]


def _set_name(task: str, row: str) -> str:
    return f"head-{task}-{row.lower().replace(' + ', '-')}"


def _untuned(scale: Scale) -> tuple[Stage, ...]:
    cells = [Cell("w/o. MAE finetune", column, _name(task, "none"), "headline") for task, column in TASKS.items()]
    return (
        *first_stages(scale, faces.netease_mae()),
        vision_stage(scale, "features", PRETRAINED),
        *sound_stages(scale),
        *(_head(scale, task, "features", "none") for task in TASKS),
        table_stage(scale, PAPER, "table_7", "NetEase Table 7, without fine-tuning", cells),
    )


def _head(scale: Scale, task: str, vision: str, smoothing: str) -> Stage:
    base = heads.RECIPES[f"netease_{task}"]()
    filters = replace(base.postprocessing, smoothing=NETEASE[smoothing][task])
    sound = () if task == "au" else tuple(scale.sound())
    return head_stage(scale, _name(task, smoothing), replace(base, postprocessing=filters), (vision, *sound))


def _name(task: str, smoothing: str) -> str:
    return f"head-{task}" if smoothing == "none" else f"head-{task}-{smoothing}"


def _ablation(tuned: dict[str, str]) -> list[Cell]:
    rows = {"w/o TMF": tuned, "Ours": {task: _name(task, "none") for task in TASKS}}
    return [
        Cell(row, column, stages[task], "headline") for row, stages in rows.items() for task, column in TASKS.items()
    ]


def _smoothing() -> list[Cell]:
    columns = TASKS | {"expr": "EXP"}
    return [
        Cell(row, column, _name(task, one), "headline")
        for row, one in FILTERS.items()
        for task, column in columns.items()
    ]

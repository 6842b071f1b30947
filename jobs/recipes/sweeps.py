"""Recipes of sweeps: what the papers vary, searched. Each works with any corpus of its pre-training or fine-tuning job,
said by `--pretrain.corpus.name` and `--pretrain.corpus.root` (`--finetune.corpus...`), and with any other `--space`.

The labelled corpus that tells pre-training trials apart is DFEW for VoxCeleb2, MEAD itself for MEAD and RAF-DB for face
images, by their `--pretrain.transfer.root`; without a root their synthetic twins. The cost is that of the recipe that
is searched, times the trials, less what is stopped early: of twelve trials about half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cluster.config import TelemetryConfig
from cluster.sweep_config import EarlyStopping, SearchConfig
from jobs.parts.face_config import FacePretrainConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.sweep_config import FinetuneSweepConfig, PretrainingSweepConfig
from jobs.parts.transfer_config import TransferConfig
from jobs.recipes import faces, finetuning, mead, voxceleb


def nano() -> PretrainingSweepConfig:
    """What a laptop searches in minutes: mask ratio and lambda of the nano recipe, six trials of 144 steps on synthetic
    faces, told apart by the faces in CREMA-D's layout. So little training tells them apart by chance alone; it shows
    how a sweep goes. `python jobs/sweep_pretraining.py`"""
    base = voxceleb.nano()
    pretrain = replace(
        base,
        passes_per_epoch=8,
        transfer=TransferConfig(corpus="crema_d", clips=60),
        telemetry=replace(base.telemetry, probe_every_steps=36),
    )
    return PretrainingSweepConfig(
        recipe="nano",
        space=("mask.ratio=0.6,0.75,0.9", "lambda=0.25,0.75"),
        stopping=EarlyStopping(grace=0.25, reduction=2),
        pretrain=pretrain,
    )


def mask_ratio() -> PretrainingSweepConfig:
    """Share of tokens that is masked, MAE-DFER's recipe (the paper takes .9)."""
    return _video("mask_ratio", "mask.ratio=0.5,0.6,0.75,0.8,0.85,0.9,0.95")


def loss_weight() -> PretrainingSweepConfig:
    """lambda, appearance against motion, MAE-DFER Figure 3."""
    return _video("loss_weight", "lambda=0,0.25,0.5,0.75,1")


def mask_ratio_and_loss_weight() -> PretrainingSweepConfig:
    """Both at once, by Optuna, twenty trials."""
    space = "mask.ratio=0.5..0.95", "lambda=0.1..0.9"
    return _video("mask_ratio_and_loss_weight", *space, search=SearchConfig(method="optuna", trials=20))


def region_size() -> PretrainingSweepConfig:
    """Regions of LGI-Former, MAE-DFER Table 4."""
    return _video("region_size", "region=1x5x10,2x2x10,2x5x10,2x10x10,4x5x10")


def learning_rate() -> PretrainingSweepConfig:
    """Base learning rate of MAE-DFER's recipe, by Optuna."""
    search = SearchConfig(method="optuna", trials=12)
    return _video("learning_rate", "optimizer.base_lr=3e-5..3e-3:log", search=search)


def unit_share() -> PretrainingSweepConfig:
    """How much of what stays visible shows the active action unit: its patches grow with the dilation, the random rest
    shrinks with the ratio. MAURA's recipe (MAURA Table 5: .7 and .9)."""
    return _views("unit_share", "mask.ratio=0.6,0.7,0.8,0.9", "mask.dilation=none,plus,square")


def target_views() -> PretrainingSweepConfig:
    """The same view, another or any as the target, under masks that keep a unit; MAURA Table 3 has the first two."""
    return _views("target_views", "target_views=same,other,any")


def face_mask_ratio() -> PretrainingSweepConfig:
    """Share of patches of face images that is masked, CtyunAI's recipe with MAE's own target (the papers take .75)."""
    pretrain = replace(faces.ctyunai_mae_normalized(), transfer=TransferConfig(corpus="raf_db", clips=600))
    return _sweep("face_mask_ratio", ("mask.ratio=0.5,0.6,0.75,0.85,0.9",), pretrain)


def finetuning_nano() -> FinetuneSweepConfig:
    """What a laptop searches in minutes: three learning rates of the nano recipe, on one fold of the faces in
    CREMA-D's layout. `python jobs/sweep_finetuning.py`"""
    finetune = replace(finetuning.nano(), folds=(1,))
    return FinetuneSweepConfig(recipe="nano", space=("optimizer.base_lr=0.01,0.03,0.1",), finetune=finetune)


def finetuning_recipe() -> FinetuneSweepConfig:
    """Learning rate, layer decay, drop path and mixup of MAE-DFER's fine-tuning on DFEW, over all folds, by Optuna.
    Any other of its corpora: `--finetune.corpus.name NAME`."""
    return FinetuneSweepConfig(
        recipe="recipe",
        space=(
            "optimizer.base_lr=1e-4..3e-3:log",
            "model.layer_decay=0.65,0.75,0.85",
            "model.drop_path=0,0.1,0.2",
            "model.mixup=0,0.8",
        ),
        search=SearchConfig(method="optuna", trials=24),
        finetune=replace(finetuning.dfew(), evaluation="clean"),
    )


def finetuning_head() -> FinetuneSweepConfig:
    """Tokens that are classified, MAE-DFER Table 5, on DFEW."""
    finetune = replace(finetuning.dfew(), evaluation="clean")
    return FinetuneSweepConfig(recipe="head", space=("head=representative,local",), finetune=finetune)


def _video(name: str, *space: str, **fields: Any) -> PretrainingSweepConfig:
    pretrain = replace(voxceleb.mae_dfer_base(), transfer=TransferConfig(corpus="dfew", clips=600))
    return _sweep(name, space, pretrain, **fields)


def _views(name: str, *space: str) -> PretrainingSweepConfig:
    return _sweep(name, space, replace(mead.maura(), transfer=TransferConfig(corpus="mead", clips=600)))


def _sweep(
    name: str, space: tuple[str, ...], pretrain: PretrainConfig | MeadPretrainConfig | FacePretrainConfig, **fields: Any
) -> PretrainingSweepConfig:
    pretrain = replace(pretrain, telemetry=TelemetryConfig(probe_every_steps=2000))
    return PretrainingSweepConfig(recipe=name, space=space, pretrain=pretrain, **fields)


PRETRAINING: dict[str, Callable[[], Any]] = {
    recipe.__name__: recipe
    for recipe in (
        nano,
        mask_ratio,
        loss_weight,
        mask_ratio_and_loss_weight,
        region_size,
        learning_rate,
        unit_share,
        target_views,
        face_mask_ratio,
    )
}
FINETUNING: dict[str, Callable[[], Any]] = {
    "nano": finetuning_nano,
    "recipe": finetuning_recipe,
    "head": finetuning_head,
}

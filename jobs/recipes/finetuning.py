"""Recipes of fine-tuning: the result tables of MAE-DFER (arXiv 2307.02227) and MAURA, your own table, and a laptop's.

A recipe is said with the weights to start from (`--init-from RUN`) and where the corpus lies (`--corpus.root`); without
the first it is the row of training from scratch, without the second it runs on the corpus's synthetic twin. Numbers are
percent, as the papers print them; what is reported here agrees with a row when they lie in the printed 95 % interval
over test subjects, or within 1.5 points of UAR where the papers' single runs are all there is.

MAE-DFER's code (its scripts, and the answers where none are published): AdamW .9/.999, weight decay .05, base rate 1e-3
per 256 clips, 5 warm-up epochs of 100, layer decay .75, drop path .1, label smoothing .1, mixup .8, cutmix 1,
RandAugment, random erasing .25, 16 frames of 160x160, two clips at test time, weights of the last epoch; test videos
double as validation videos (`evaluation=paper`). What it does differently: validation clips are drawn at random, and
its second test crop equals the first. MAURA says little of its fine-tuning; what it does not say is MAE-DFER's.

The cost is an estimate for one H200, all folds, decoding not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.recipes import frames
from models.config import FineTuningConfig
from models.tokens import ClipGeometry
from pipelines.alignment import AlignConfig
from pipelines.augmentation import AugmentationConfig
from pipelines.clips import ClipConfig
from pipelines.transforms import CropConfig


def dfew() -> FinetuneConfig:
    """MAE-DFER Table 6 (per class in Table 12): DFEW, 5 folds, UAR 63.41, WAR 74.43.

    Fold 1 (`--folds 1`) is Table 2: 62.59/74.88; from scratch 15.08/23.84. Weights of `lgi_former_small` and `_tiny`
    with `--model.encoder` are Table 10: 61.09/74.03 and 59.90/73.30. Cost: about 6 h.
    `python jobs/finetune.py dfew --corpus.root s3://bucket/dfew --init-from s3://bucket/semblance/runs/mae_dfer_base-...`
    """
    return _mae_dfer("dfew", "dfew")


def dfew_local_tokens() -> FinetuneConfig:
    """MAE-DFER Table 5, original tokens: DFEW fold 1, UAR 62.16, WAR 74.51 (representative tokens: 62.59/74.88).
    Cost: about 1.2 h. `python jobs/finetune.py dfew_local_tokens --corpus.root ... --init-from ...`"""
    base = dfew()
    return replace(base, recipe="dfew_local_tokens", folds=(1,), model=replace(base.model, global_pool="local"))


def dfew_vit() -> FinetuneConfig:
    """MAE-DFER Table 6, VideoMAE pre-trained on VoxCeleb2 (recipe vit_base_appearance): UAR 63.60, WAR 74.60; Table
    11's rows on fold 1. Cost: about 10 h. `python jobs/finetune.py dfew_vit --corpus.root ... --init-from ...`"""
    base = dfew()
    return replace(base, recipe="dfew_vit", model=replace(base.model, encoder="video_vit_base"))


def ferv39k() -> FinetuneConfig:
    """MAE-DFER Table 7 (per class in Table 13): FERV39k, stride 1, UAR 43.12, WAR 52.07; from scratch 18.09/28.33.
    Cost: about 4 h. `python jobs/finetune.py ferv39k --corpus.root ... --init-from ...`"""
    return _mae_dfer("ferv39k", "ferv39k", clip=ClipConfig(stride=1))


def mafw() -> FinetuneConfig:
    """MAE-DFER Table 8: MAFW, 11 classes, 5 folds, UAR 41.62, WAR 54.31. Cost: about 5 h.
    `python jobs/finetune.py mafw --corpus.root ... --init-from ...`"""
    return _mae_dfer("mafw", "mafw")


def mafw_compound() -> FinetuneConfig:
    """MAFW's 43 compound classes, which MAE-DFER leaves out; no number to compare with. Cost: about 5 h.
    `python jobs/finetune.py mafw_compound --corpus.root ... --init-from ...`"""
    return _mae_dfer("mafw_compound", "mafw", protocol="compound")


def crema_d() -> FinetuneConfig:
    """MAE-DFER Table 9: CREMA-D, 5 folds of actors, UAR 77.33, WAR 77.38. Cost: about 4 h.
    `python jobs/finetune.py crema_d --corpus.root ... --init-from ...`"""
    return _mae_dfer("crema_d", "crema_d")


def ravdess() -> FinetuneConfig:
    """MAE-DFER Table 9: RAVDESS speech, 6 folds of actors, UAR 75.91, WAR 75.56. Cost: about 1 h.
    `python jobs/finetune.py ravdess --corpus.root ... --init-from ...`"""
    return _mae_dfer("ravdess", "ravdess")


def enterface05() -> FinetuneConfig:
    """MAE-DFER Table 9: eNTERFACE'05, 5 folds of subjects, UAR 61.67, WAR 61.64. Cost: about 1 h.
    `python jobs/finetune.py enterface05 --corpus.root ... --init-from ...`"""
    return _mae_dfer("enterface05", "enterface05")


def mead_low() -> FinetuneConfig:
    """MAURA Table 2, fine-tuning: MEAD at low intensity, mean over the views of F1 51.9 (51.6 by the cells of its
    Table 3; 43.3 from VideoMAE, 41.2 without pre-training). Level 1, eight classes, all views. Cost: about 30 h.
    `python jobs/finetune.py mead_low --corpus.root ... --init-from ...`"""
    return _maura("mead_low", "mead", protocol="low")


def mead_high() -> FinetuneConfig:
    """MAURA Table 2, fine-tuning: MEAD at high intensity, mean over the views of F1 54.6 (46.1 from VideoMAE, 42.2
    without pre-training). Level 3, seven classes: neutral has no high intensity. With neutral takes of level 1:
    `--corpus.protocol high_with_neutral`. Cost: about 30 h.
    `python jobs/finetune.py mead_high --corpus.root ... --init-from ...`"""
    return _maura("mead_high", "mead", protocol="high")


def mead_low_probe() -> FinetuneConfig:
    """MAURA Table 2, linear probing (only the last layer learns): MEAD low 50.6; with `--corpus.protocol high` 51.2.
    Cost: about 10 h. `python jobs/finetune.py mead_low_probe --corpus.root ... --init-from ...`"""
    return head_alone(mead_low())


def mfa() -> FinetuneConfig:
    """MAURA Table 2, fine-tuning: MFA, V-F1 55.6 (43.4 without pre-training, 52.7 from VideoMAE). Ten clips vote for
    the class of a video. Cost: minutes. `python jobs/finetune.py mfa --corpus.root ... --init-from ...`"""
    return _maura("mfa", "mfa", test_clips=10)


def dfew_f1() -> FinetuneConfig:
    """MAURA Table 2, fine-tuning: DFEW as MAURA reads it, F1 47.5 (45.2 by linear probing, 43.6 from VideoMAE).
    Cost: about 20 h. `python jobs/finetune.py dfew_f1 --corpus.root ... --init-from ...`"""
    return _maura("dfew_f1", "dfew", protocol="maura")


def cmu_mosei() -> FinetuneConfig:
    """MAURA Table 2, fine-tuning: CMU-MOSEI, accuracy 80.7 (80.5 by linear probing, 80.4 from VideoMAE), read as the
    mean over six yes-or-no questions; beside it stands what always saying no reaches. The paper's loss is
    `--model.loss cross_entropy --model.label-smoothing .1`. Cost: about 20 h.
    `python jobs/finetune.py cmu_mosei --corpus.root ... --init-from ...`"""
    loss = {"task": "multi_label", "loss": "binary_cross_entropy", "label_smoothing": 0.0}
    base = _maura("cmu_mosei", "cmu_mosei")
    return replace(base, model=replace(base.model, **loss))


def own() -> FinetuneConfig:
    """Your own videos with labels.csv beside them, from an LGI-Former base: validation by held-out subjects, classes
    weighed alike. `python jobs/finetune.py own --corpus.root ~/my_videos --init-from RUN`"""
    base = _mae_dfer("own", "table")
    return replace(base, evaluation="clean", class_weighting="balanced")


def nano() -> FinetuneConfig:
    """What a laptop trains within minutes: a small LGI-Former on the synthetic twin of CREMA-D, from the weights that
    `python jobs/pretrain_voxceleb.py` leaves (`--init-from RUN`) or from scratch."""
    region, size = (2, 7, 7), 112
    return FinetuneConfig(
        recipe="nano",
        corpus=LabelledCorpusConfig(),
        clip=ClipConfig(frames=16, stride=1),
        crop=CropConfig(window=None, size=size),
        augmentation=AugmentationConfig(rand_augment=None, area=(0.6, 1.0)),
        model=FineTuningConfig(
            encoder="lgi_former_nano",
            geometry=ClipGeometry(height=size, width=size),
            region=region,
            mixup=0.0,
            cutmix=0.0,
            erasing=0.0,
            drop_path=0.0,
        ),
        optimizer=OptimizerConfig(
            base_lr=0.03, min_lr=3e-5, global_batch=8, epochs=1, warmup_epochs=0.1, betas=(0.9, 0.999)
        ),
        passes_per_epoch=20,
        engine=EngineConfig(zero_stage=0),
        checkpoint=CheckpointConfig(every_steps=50),
        telemetry=TelemetryConfig(log_every_steps=10, probe_every_steps=40),
        validation_clips=24,
    )


def head_alone(base: FinetuneConfig) -> FinetuneConfig:
    """Linear probing instead of fine-tuning (MAURA 4.2), of whatever corpus."""
    model = replace(base.model, trained="head", drop_path=0.0, layer_decay=1.0)
    return replace(base, recipe=f"{base.recipe}_probe", model=model)


def _mae_dfer(name: str, corpus: Any, protocol: str | None = None, **fields: Any) -> FinetuneConfig:
    return FinetuneConfig(
        recipe=name, corpus=LabelledCorpusConfig(name=corpus, protocol=protocol), evaluation="paper", **fields
    )


def _maura(name: str, corpus: Any, protocol: str | None = None, **fields: Any) -> FinetuneConfig:
    """ViT-B with learned positions, 16 frames of 224x224 at stride 2 of the aligned face (4.3)."""
    return FinetuneConfig(
        recipe=name,
        corpus=LabelledCorpusConfig(name=corpus, protocol=protocol),
        evaluation="paper",
        clip=ClipConfig(stride=2),
        crop=AlignConfig(flip=False),
        model=FineTuningConfig(
            encoder="video_vit_base",
            geometry=ClipGeometry(height=224, width=224),
            position_embedding="learned",
        ),
        **fields,
    )


RECIPES: dict[str, Callable[[], FinetuneConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        nano,
        own,
        dfew,
        dfew_local_tokens,
        dfew_vit,
        ferv39k,
        mafw,
        mafw_compound,
        crema_d,
        ravdess,
        enterface05,
        mead_low,
        mead_high,
        mead_low_probe,
        mfa,
        dfew_f1,
        cmu_mosei,
    )
} | frames.RECIPES

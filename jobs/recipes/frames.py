"""Recipes of fine-tuning frame by frame on Aff-Wild2: NetEase (ABAW5, 3.1, 4.1), CtyunAI (ABAW6, 3.1, 4.1.1) and
Emotic-MAE (ABAW6, 4.1, 4.2), whose encoders then make the features of jobs/recipes/heads.py.

All of them: ViT-B/16 of an image masked autoencoder on aligned faces of 224x224, official training part, tested on the
official validation part, AdamW, weights of the last epoch. The papers give rate and batch; ten epochs, layer decay .65,
drop path .1 and the cuts of images (areas .6 to 1, a flip) are our reading.
Five folds by video: `--corpus.protocol expr_folds`.

Metrics are macro F1 of eight expressions, mean F1 of twelve units, and CCC, as the papers print them. The cost is an
estimate for one H200.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from models.config import FineTuningConfig
from models.tokens import ClipGeometry
from pipelines.augmentation import AugmentationConfig
from pipelines.clips import ClipConfig
from pipelines.face_parts import EMOTIC_INPUTS
from pipelines.transforms import CropConfig

TASKS: dict[str, dict[str, Any]] = {
    "expr": {"task": "classes", "loss": "cross_entropy"},
    "au": {"task": "multi_label", "loss": "binary_cross_entropy"},
    "va": {"task": "regression", "loss": "concordance"},
    "all": {"task": "affect", "loss": "affect"},
}
"""What the protocols of Aff-Wild2 are learned by."""


def netease_frames_expr() -> FinetuneConfig:
    """NetEase Table 7, w/o TMF: F1 46.79 on the official validation part. Loss weighted by inverse frequency (Eq. 2),
    rate 1e-4, batch 512. Cost: about 2 h.
    `python jobs/finetune.py netease_frames_expr --corpus.root s3://bucket/aff_wild2 --init-from RUN`"""
    return _netease("netease_frames_expr", "expr")


def netease_frames_au() -> FinetuneConfig:
    """NetEase Table 7, w/o TMF: mean F1 55.27 of twelve units. Loss weighted by inverse frequency (Eq. 1). Cost: about
    3 h. `python jobs/finetune.py netease_frames_au --corpus.root ... --init-from ...`"""
    return _netease("netease_frames_au", "au")


def netease_frames_va() -> FinetuneConfig:
    """NetEase Table 7, w/o TMF: CCC .5483, which is also the row of MAE features in Table 8. Loss 1 - CCC of both over
    the global batch (Eq. 3). Cost: about 4 h.
    `python jobs/finetune.py netease_frames_va --corpus.root ... --init-from ...`"""
    return _netease("netease_frames_va", "va")


def ctyunai_frames_expr() -> FinetuneConfig:
    """CtyunAI 3.1: the one extractor of all three tasks, tuned on expressions alone with a plain cross-entropy; rate
    1e-4, batch 256. No number of its own in the paper. Cost: about 2 h.
    `python jobs/finetune.py ctyunai_frames_expr --corpus.root ... --init-from ...`"""
    base = _frames("ctyunai_frames_expr", "expr")
    return replace(base, optimizer=_optimizer(rate=1e-4, batch=256))


def emotic_frames_full() -> FinetuneConfig:
    """Emotic-MAE Table 1, not crop (normal): F1 .359, accuracy .512; 8,000 images of each class, Adam, rate 1e-4, batch
    512. "100 iters" is read as 100 epochs of these 64,000 images, weight decay 0. Cost: about 3 h.
    `python jobs/finetune.py emotic_frames_full --corpus.root ... --init-from ...`"""
    return _emotic("full")


def emotic_frames_eye() -> FinetuneConfig:
    """Emotic-MAE Table 1, Eye: F1 .157. Cost: about 3 h.
    `python jobs/finetune.py emotic_frames_eye --corpus.root ... --init-from ...`"""
    return _emotic("eye")


def emotic_frames_nose() -> FinetuneConfig:
    """Emotic-MAE Table 1, Nose: F1 .137. Cost: about 3 h.
    `python jobs/finetune.py emotic_frames_nose --corpus.root ... --init-from ...`"""
    return _emotic("nose")


def emotic_frames_mouth() -> FinetuneConfig:
    """Emotic-MAE Table 1, Mouth: F1 .239. Cost: about 3 h.
    `python jobs/finetune.py emotic_frames_mouth --corpus.root ... --init-from ...`"""
    return _emotic("mouth")


def emotic_frames_eye_mouth() -> FinetuneConfig:
    """Emotic-MAE Table 1, Eye + Mouth, the second view of its fusion: F1 .304. Cost: about 3 h.
    `python jobs/finetune.py emotic_frames_eye_mouth --corpus.root ... --init-from ...`"""
    return _emotic("eye_mouth")


def emotic_frames_eye_mouth_nose() -> FinetuneConfig:
    """Emotic-MAE Table 1, Eye + Mouth + Nose: F1 .302. Cost: about 3 h.
    `python jobs/finetune.py emotic_frames_eye_mouth_nose --corpus.root ... --init-from ...`"""
    return _emotic("eye_mouth_nose")


def frames_all() -> FinetuneConfig:
    """Expressions, action units, valence and arousal at once, each frame by what it is labelled with; no paper row.
    Cost: about 6 h. `python jobs/finetune.py frames_all --corpus.root ... --init-from ...`"""
    return _netease("frames_all", "all")


def frames_nano() -> FinetuneConfig:
    """What a laptop tunes within a minute: a small ViT on the twin of Aff-Wild2, from the weights that
    `python jobs/pretrain_face_images.py` leaves (`--init-from RUN`) or from scratch.
    `python jobs/finetune.py frames_nano`"""
    base = _netease("frames_nano", "expr")
    return replace(laptop(base), evaluation="clean")


def laptop(base: FinetuneConfig) -> FinetuneConfig:
    """The same with a small ViT, on a corpus of minutes."""
    size, small = 112, 24
    return replace(
        base,
        crop=replace(base.crop, size=size),
        per_class=base.per_class and small,
        model=replace(
            base.model,
            encoder="face_vit_nano",
            geometry=replace(base.model.geometry, height=size, width=size),
            drop_path=0.0,
            layer_decay=0.75,
        ),
        optimizer=OptimizerConfig(
            base_lr=0.02, min_lr=2e-5, global_batch=32, epochs=1, warmup_epochs=0.1, betas=(0.9, 0.999)
        ),
        passes_per_epoch=20 if base.per_class else 3,
        engine=EngineConfig(zero_stage=0),
        checkpoint=CheckpointConfig(every_steps=100),
        telemetry=TelemetryConfig(log_every_steps=20, probe_every_steps=80),
    )


def for_task(base: FinetuneConfig, protocol: str) -> FinetuneConfig:
    """The same fine-tuning of another protocol: expr, au, va or all, or its folds."""
    task = TASKS[protocol.removesuffix("_folds")]
    weighting = "none" if task["loss"] == "concordance" else base.class_weighting
    return replace(
        base,
        corpus=replace(base.corpus, protocol=protocol),
        model=replace(base.model, **task),
        class_weighting=weighting,
    )


def _netease(name: str, protocol: str) -> FinetuneConfig:
    weighting = "none" if protocol == "va" else "balanced"
    return replace(_frames(name, protocol), class_weighting=weighting, optimizer=_optimizer(rate=1e-4, batch=512))


def _emotic(view: str) -> FinetuneConfig:
    optimizer = replace(_optimizer(rate=1e-4, batch=512), epochs=100, weight_decay=0.0)
    base = _frames(f"emotic_frames_{view}", "expr")
    return replace(base, per_class=8000, optimizer=optimizer, parts=EMOTIC_INPUTS[view])


def _optimizer(*, rate: float, batch: int) -> OptimizerConfig:
    """The rate as it is used."""
    return OptimizerConfig(
        base_lr=rate * 256 / batch,
        min_lr=0.0,
        global_batch=batch,
        epochs=10,
        warmup_epochs=1.0,
        betas=(0.9, 0.999),
    )


def _frames(name: str, protocol: str) -> FinetuneConfig:
    size = 224
    return FinetuneConfig(
        recipe=name,
        corpus=LabelledCorpusConfig(name="aff_wild2", protocol=protocol),
        evaluation="paper",
        clip=ClipConfig(frames=1, stride=1),
        crop=CropConfig(window=None, size=size),
        augmentation=AugmentationConfig(rand_augment=None, area=(0.6, 1.0)),
        model=FineTuningConfig(
            encoder="face_vit_base",
            geometry=ClipGeometry(frames=1, height=size, width=size, tubelet=1),
            label_smoothing=0.0,
            mixup=0.0,
            cutmix=0.0,
            erasing=0.0,
            layer_decay=0.65,
            **TASKS[protocol],
        ),
        test_clips=1,
    )


RECIPES: dict[str, Callable[[], FinetuneConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        frames_nano,
        netease_frames_expr,
        netease_frames_au,
        netease_frames_va,
        ctyunai_frames_expr,
        emotic_frames_full,
        emotic_frames_eye,
        emotic_frames_nose,
        emotic_frames_mouth,
        emotic_frames_eye_mouth,
        emotic_frames_eye_mouth_nose,
        frames_all,
    )
}

"""Recipes of the image masked autoencoders behind three ABAW systems: NetEase (ABAW5, 3.1), CtyunAI (ABAW6, 3.1) and
Emotic-MAE (ABAW6, 3.2, which takes NetEase's weights, MAE-Face).

All of them: ViT-B/16 with a class token on 224x224 pixels, 75 % masked at random, a decoder of 8 blocks 512 wide, AdamW
.9/.95, weight decay .05, 40 warm-up epochs, random resized crops of areas .2 to 1, flips: what the papers do not say is
MAE's (arXiv 2111.06377).

Both papers write of a plain pixel-wise L2 loss of the complete image: raw pixels, all tokens. MAE itself, and the code
of MAE-Face, predict normalised pixels of the masked tokens alone; that is `--model.target image_mae --model.loss-tokens
masked`, and the recipes named so.

The papers report no score of the pre-training alone; their first rows after it are in jobs/recipes/frames.py. The
cost is an estimate for one H200 at 40 % of its bf16 peak, decoding not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig
from jobs.parts.face_config import FaceCorporaConfig, FacePretrainConfig
from models.config import MaskedAutoencoderConfig
from models.tokens import ClipGeometry
from pipelines.resized_crop import ResizedCropConfig


def netease_mae() -> FacePretrainConfig:
    """NetEase 3.1, 4.1: 2.17 M images of AffectNet, CASIA-WebFace, CelebA and IMDB-WIKI, 800 epochs, batch 4096, rate
    2.4e-3. Cost: about 70 h.
    `python jobs/pretrain_face_images.py netease_mae --corpus.roots affectnet s3://b/affectnet casia_webface ...`"""
    base = _paper("netease_mae", FaceCorporaConfig(names=("affectnet", "casia_webface", "celeba", "imdb_wiki")))
    return replace(base, optimizer=replace(base.optimizer, base_lr=1.5e-4, global_batch=4096, epochs=800))


def netease_mae_normalized() -> FacePretrainConfig:
    """netease_mae with MAE's own target: normalised pixels of the masked tokens, as in MAE-Face's code. Cost: about
    65 h. `python jobs/pretrain_face_images.py netease_mae_normalized --corpus.roots ...`"""
    return _normalized(netease_mae())


def ctyunai_mae() -> FacePretrainConfig:
    """CtyunAI 3.1, 4.1.1: AffectNet, RAF-DB, FER2013 and FER+, 500 epochs, batch 1024, rate 5e-4. FER+ relabels the
    images of FER2013: each is taken once. Cost: about 8 h.
    `python jobs/pretrain_face_images.py ctyunai_mae --corpus.roots affectnet s3://b/affectnet raf_db ...`"""
    return _paper("ctyunai_mae", FaceCorporaConfig())


def ctyunai_mae_normalized() -> FacePretrainConfig:
    """ctyunai_mae with MAE's own target: normalised pixels of the masked tokens. Cost: about 7 h.
    `python jobs/pretrain_face_images.py ctyunai_mae_normalized --corpus.roots ...`"""
    return _normalized(ctyunai_mae())


def nano() -> FacePretrainConfig:
    """What a laptop trains within two minutes: a small ViT on 112x112 stills of synthetic faces.
    `python jobs/pretrain_face_images.py nano`"""
    base = _paper("nano", FaceCorporaConfig())
    return replace(
        base,
        crop=ResizedCropConfig(size=112, area=(0.5, 1.0)),
        model=MaskedAutoencoderConfig(
            encoder="face_vit_nano",
            geometry=ClipGeometry(frames=1, height=112, width=112, tubelet=1),
            decoder_width=64,
            decoder_depth=2,
            decoder_heads=2,
            target="image_mae",
        ),
        optimizer=OptimizerConfig(base_lr=0.03, min_lr=3e-4, global_batch=16, epochs=1, warmup_epochs=0.1),
        passes_per_epoch=20,
        engine=EngineConfig(zero_stage=0),
        held_out_clips=12,
        checkpoint=CheckpointConfig(every_steps=120),
        telemetry=TelemetryConfig(log_every_steps=20, probe_every_steps=60),
    )


def _paper(name: str, corpus: FaceCorporaConfig) -> FacePretrainConfig:
    base = FacePretrainConfig(recipe=name, corpus=corpus)
    return replace(
        base,
        model=replace(base.model, target="pixels", loss_tokens="all"),
        optimizer=OptimizerConfig(base_lr=1.25e-4, min_lr=0.0, global_batch=1024, epochs=500, warmup_epochs=40),
    )


def _normalized(base: FacePretrainConfig) -> FacePretrainConfig:
    model = replace(base.model, target="image_mae", loss_tokens="masked")
    return replace(base, recipe=f"{base.recipe}_normalized", model=model)


RECIPES: dict[str, Callable[[], FacePretrainConfig]] = {
    recipe.__name__: recipe
    for recipe in (nano, netease_mae, netease_mae_normalized, ctyunai_mae, ctyunai_mae_normalized)
}

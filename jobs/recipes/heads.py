"""Recipes of heads on frame features of Aff-Wild2: Temporal and Multi-modal Fusion (NetEase ABAW5, 3.2), TCN and
Transformer (CtyunAI ABAW6, 3.2, 3.3) and the fusion of two views (Emotic-MAE ABAW6, 3.3).

A recipe is said with the features it reads (`--features STORE ...`, made by jobs/extract_features.py), in the order of
the paper: vision first. Without a root it runs on the twin of Aff-Wild2. All are tested on the official validation
part; five folds by video: `--corpus.protocol expr_folds`, which are NetEase's Tables 1 to 3 and CtyunAI's Table 1.
Smoothing takes the papers' values; chosen on validation videos instead: `--evaluation clean --postprocessing.smoothing
--postprocessing.candidates none gaussian:5 gaussian:25 median:25+gaussian:25`.

Metrics are macro F1 of eight expressions, mean F1 of twelve units, and CCC. The cost is minutes on one GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig
from jobs.parts.head_config import HeadConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.postprocessing_config import PostprocessingConfig
from jobs.recipes.frames import TASKS
from models.head_config import (
    FeatureHeadConfig,
    FrameMlpConfig,
    TcnTransformerConfig,
    TransformerFusionConfig,
    ViewFusionConfig,
)
from models.smoothing import EMOTIC, NETEASE
from pipelines.sequences import WindowConfig


def netease_expr() -> HeadConfig:
    """NetEase Table 2 (official) = Table 7 Ours: F1 48.93, features MAE, HuBERT and VGGish (Table 8); with the Gaussian
    of Table 9 49.16. Clips of 100 frames, 4 layers, dropout .3, rate 1e-4, batch 32, about 20 epochs (4.1).
    `python jobs/train_head.py netease_expr --corpus.root ... --features VISION HUBERT VGGISH`"""
    return _netease("netease_expr", "expr")


def netease_au() -> HeadConfig:
    """NetEase Table 1 (official) = Table 7 Ours: mean F1 55.86, MAE features alone (Table 8); smoothed 56.01."""
    return _netease("netease_au", "au")


def netease_va() -> HeadConfig:
    """NetEase Table 3 (official) = Table 7 Ours: CCC .5525, features MAE, HuBERT and VGGish; smoothed .5640."""
    return _netease("netease_va", "va")


def ctyunai_expr() -> HeadConfig:
    """CtyunAI Table 1, Fold 0 (read as the official parts): F1 .4561. Windows of 300 frames every 200, dropout .3, rate
    3e-5, batch 32, one warm-up epoch (4.1.2); the epochs (10) are the code's."""
    return _ctyunai("ctyunai_expr", "expr", epochs=10)


def ctyunai_au() -> HeadConfig:
    """CtyunAI Table 1, fold 0: mean F1 .5762. 30 epochs, as in the code."""
    return _ctyunai("ctyunai_au", "au", epochs=30)


def ctyunai_va() -> HeadConfig:
    """CtyunAI Table 1, fold 0: CCC of valence .5385, of arousal .6224. 40 epochs, as in the code."""
    return _ctyunai("ctyunai_va", "va", epochs=40)


def emotic_expr() -> HeadConfig:
    """Emotic-MAE Table 3, Ours: F1 .401; full face and eyes with mouth fused by concatenation (Table 2: .380 before a
    vote over 50 frames). Adam, rate 1e-4, batch 512, here 64 times 8 frames in a row, which are read together; 100
    epochs ("100 iters").
    `python jobs/train_head.py emotic_expr --corpus.root ... --features FULL_FACE EYE_MOUTH`"""
    optimizer = OptimizerConfig(
        base_lr=4e-4,
        min_lr=0.0,
        global_batch=64,
        epochs=100,
        warmup_epochs=1.0,
        weight_decay=0.0,
        betas=(0.9, 0.999),
    )
    return _head(
        "emotic_expr",
        "expr",
        FeatureHeadConfig(head=ViewFusionConfig(), **TASKS["expr"]),
        window=WindowConfig(length=8, stride=8),
        optimizer=optimizer,
        postprocessing=PostprocessingConfig(smoothing=EMOTIC),
    )


def nano() -> HeadConfig:
    """What a laptop trains within a minute: a small TCN and Transformer on the twin of Aff-Wild2, on the features that
    `python jobs/extract_features.py vision --init-from RUN` leaves (`--features STORE`)."""
    return replace(laptop(ctyunai_expr()), recipe="nano", evaluation="clean")


def frames_mlp() -> HeadConfig:
    """Every frame by itself: what context in time has to beat, on the same features and within the same budget."""
    base = nano()
    head = FrameMlpConfig(hidden=(64,), dropout=0.1)
    return replace(base, recipe="frames_mlp", model=replace(base.model, head=head))


def laptop(base: HeadConfig) -> HeadConfig:
    """The same with a small head, on a corpus of minutes."""
    window = WindowConfig(length=min(base.window.length, 50), stride=min(base.window.stride, 25))
    return replace(
        base,
        window=window,
        model=replace(base.model, head=_SMALL[type(base.model.head)]),
        optimizer=OptimizerConfig(base_lr=0.03, min_lr=3e-4, global_batch=8, epochs=1, warmup_epochs=0.1),
        passes_per_epoch=20,
        engine=EngineConfig(zero_stage=0),
        checkpoint=CheckpointConfig(every_steps=200),
        telemetry=TelemetryConfig(log_every_steps=40, probe_every_steps=100),
    )


def for_task(base: HeadConfig, protocol: str) -> HeadConfig:
    """The same head of another protocol: expr, au, va or all, or its folds."""
    task = TASKS[protocol.removesuffix("_folds")]
    return replace(
        base,
        corpus=replace(base.corpus, protocol=protocol),
        model=replace(base.model, **task),
        class_weighting="none" if task["loss"] == "concordance" else base.class_weighting,
    )


def _netease(name: str, task: str) -> HeadConfig:
    # The weight decay is that of NetEase's code of the next year; the paper says nothing.
    optimizer = OptimizerConfig(
        base_lr=8e-4,
        min_lr=0.0,
        global_batch=32,
        epochs=20,
        warmup_epochs=1.0,
        weight_decay=1e-5,
        betas=(0.9, 0.999),
    )
    base = _head(
        name,
        task,
        FeatureHeadConfig(head=TransformerFusionConfig(), **TASKS[task]),
        window=WindowConfig(length=100, stride=100),
        optimizer=optimizer,
        postprocessing=PostprocessingConfig(smoothing=NETEASE["gaussian"][task]),
    )
    return replace(base, class_weighting="none" if task == "va" else "balanced")


def _ctyunai(name: str, task: str, *, epochs: int) -> HeadConfig:
    optimizer = OptimizerConfig(
        base_lr=2.4e-4,
        min_lr=0.0,
        global_batch=32,
        epochs=epochs,
        warmup_epochs=1.0,
        weight_decay=1e-5,
        betas=(0.9, 0.999),
    )
    model = FeatureHeadConfig(head=TcnTransformerConfig(), **TASKS[task])
    return _head(name, task, model, optimizer=optimizer)


def _head(name: str, protocol: str, model: FeatureHeadConfig, **fields: object) -> HeadConfig:
    return HeadConfig(
        recipe=name,
        corpus=LabelledCorpusConfig(name="aff_wild2", protocol=protocol),
        evaluation="paper",
        model=model,
        **fields,
    )


_SMALL = {
    TcnTransformerConfig: TcnTransformerConfig(
        channels=(64, 64), dilations=(1, 2), width=64, layers=1, heads=2, feed_forward=64, hidden=(64,), dropout=0.1
    ),
    TransformerFusionConfig: TransformerFusionConfig(projection=(64,), layers=2, heads=2, feed_forward=64, dropout=0.1),
    ViewFusionConfig: ViewFusionConfig(groups=8, heads=4, hidden=(64,)),
}
"""Of features of some hundred numbers."""

RECIPES: dict[str, Callable[[], HeadConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        nano,
        frames_mlp,
        netease_expr,
        netease_au,
        netease_va,
        ctyunai_expr,
        ctyunai_au,
        ctyunai_va,
        emotic_expr,
    )
}

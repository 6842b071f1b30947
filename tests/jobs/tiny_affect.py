"""A head that learns from the features of tests.pipelines.affect_corpus in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig, WorkersConfig
from jobs.parts.head_config import HeadConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.run_config import DecodeConfig
from jobs.recipes.frames import TASKS
from models.head_config import FeatureHeadConfig, TcnTransformerConfig
from pipelines.sequences import WindowConfig


def head_config(root: str, features: tuple[str, ...], protocol: str = "all", **changes: Any) -> HeadConfig:
    """Windows of five frames every three, four of them in a step."""
    head = TcnTransformerConfig(
        channels=(6,), dilations=(1,), kernel=3, width=8, layers=1, heads=2, feed_forward=16, hidden=(6,), dropout=0.1
    )
    config = HeadConfig(
        recipe="tiny",
        corpus=LabelledCorpusConfig(name="aff_wild2", root=root, protocol=protocol),
        evaluation="paper",
        features=features,
        window=WindowConfig(length=5, stride=3),
        model=FeatureHeadConfig(head=head, **TASKS[protocol.removesuffix("_folds")]),
        optimizer=OptimizerConfig(base_lr=0.1, min_lr=1e-3, global_batch=4, epochs=1, warmup_epochs=0),
        engine=EngineConfig(zero_stage=0, precision="fp32"),
        workers=WorkersConfig(num_workers=1, cpus_per_worker=0.25),
        decode=DecodeConfig(num_actors=1),
        checkpoint=CheckpointConfig(every_steps=1),
        telemetry=TelemetryConfig(log_every_steps=1, probe_every_steps=100, tensorboard=False),
    )
    return replace(config, **changes)

"""Recipes of `jobs/ablate_mead.py`: the four arms of MAURA's Table 3. Where the paper fine-tunes a linear
probe is trained, and levels of intensity are pooled that the paper has apart (`--pretrain.choice.levels 3`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cluster.config import TelemetryConfig
from jobs.parts.ablation_config import AblationConfig
from jobs.parts.mead_config import MeadCorpusConfig
from jobs.recipes import mead


def nano() -> AblationConfig:
    """Four arms and five seeds on the synthetic corpus, 45 minutes on 2 cores. As the paper's rows, and unlike the nano
    recipe of pre-training, the decoder is not told which view to draw and the loss is that of masked tokens.
    `python jobs/ablate_mead.py`
    """
    base = mead.nano()
    return AblationConfig(
        recipe="nano",
        pretrain=replace(
            base,
            corpus=MeadCorpusConfig(actors=12, takes_per_actor=8),
            model=replace(base.model, target_view_embedding="off", loss_tokens="masked"),
            passes_per_epoch=8,
            telemetry=TelemetryConfig(log_every_steps=50, probe_every_steps=1000),
        ),
    )


def maura() -> AblationConfig:
    """Four arms and five seeds at the paper's size. Table 3 after fine-tuning, low / high: 43.3 / 46.1 (VideoMAE),
    45.2 / 47.4 (MAU), 51.2 / 53.4 (RA), 51.9 / 54.6 (both); a probe reaches less. Cost: twenty times the recipe maura
    of jobs/pretrain_mead.py, then about 2 h on one GPU for the features, and the decoding of every video once.
    `python jobs/ablate_mead.py maura --pretrain.corpus.name mead --pretrain.corpus.root s3://bucket/mead`
    """
    return AblationConfig(recipe="maura", pretrain=mead.maura())


RECIPES: dict[str, Callable[[], AblationConfig]] = {recipe.__name__: recipe for recipe in (nano, maura)}

"""Small heads on features and their batches for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.feature_head import FeatureHead, build
from models.head_config import (
    FeatureHeadConfig,
    FeatureSet,
    FrameMlpConfig,
    Fusion,
    TcnTransformerConfig,
    TransformerFusionConfig,
    ViewFusionConfig,
)

FEATURES = (FeatureSet("face", 8), FeatureSet("parts", 8))
CLASSES = ("expr/Neutral", "expr/Anger", "au/AU1", "au/AU2", "va/valence", "va/arousal")
ALL_TASKS = {"task": "affect", "loss": "affect", "classes": CLASSES}
FUSIONS: tuple[Fusion, ...] = ("mean", "concat", "updown_mean", "updown_concat")
SMALL = {"layers": 2, "heads": 2, "feed_forward": 16, "dropout": 0.0}


def tcn(**changes: Any) -> TcnTransformerConfig:
    convolutions = {"channels": (6, 6), "dilations": (1, 2), "kernel": 3, "width": 8, "hidden": (6,)}
    return TcnTransformerConfig(**(SMALL | convolutions | changes))


def transformer(**changes: Any) -> TransformerFusionConfig:
    return TransformerFusionConfig(**(SMALL | changes))


def views(fusion: Fusion = "concat", **changes: Any) -> ViewFusionConfig:
    return ViewFusionConfig(**({"fusion": fusion, "groups": 4, "heads": 2, "hidden": (6,)} | changes))


HEADS = {
    "tcn": tcn(),
    "tcn_both_ways": tcn(causal=False, positions="sinusoid"),
    "transformer": transformer(),
    "projected": transformer(projection=(10, 4), hidden=(6,)),
    **{fusion: views(fusion) for fusion in FUSIONS},
    "mlp": FrameMlpConfig(hidden=(6, 5)),
    "linear": FrameMlpConfig(),
}


def head(name: str = "tcn", *, dtype: torch.dtype = torch.float32, **changes: Any) -> FeatureHead:
    """The same weights each time."""
    torch.manual_seed(0)
    return build(FeatureHeadConfig(**({"features": FEATURES, "head": HEADS[name]} | ALL_TASKS | changes))).to(dtype)


def sequences(*lengths: int, frames: int | None = None, seed: int = 0) -> dict[str, Tensor]:
    """Windows of videos of these lengths as the loop hands them over, of equal weight. Every 7th frame lacks its
    expression, every 5th its features."""
    rng, frames = np.random.default_rng(seed), frames or max(lengths)
    rows = [_window(length, frames, rng) for length in lengths]
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]} | {
        "sample_id_B": torch.arange(len(lengths)),
        "weight_B": torch.full((len(lengths),), 1 / len(lengths)),
    }


def _window(length: int, frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    feature = rng.normal(size=(length, sum(each.width for each in FEATURES)))
    expression = np.eye(2)[rng.integers(2, size=length)]
    target = np.concatenate([expression, rng.integers(0, 2, (length, 2)), rng.uniform(-1, 1, (length, 2))], 1)
    target[::7, :2] = np.nan
    beyond = ((0, frames - length), (0, 0))
    return {
        "feature_BTD": np.pad(feature, beyond).astype(np.float32),
        "target_BTK": np.pad(target, beyond, constant_values=np.nan).astype(np.float32),
        "present_BT": np.pad(np.arange(length) % 5 != 4, beyond[0]),
        "valid_BT": np.arange(frames) < length,
    }

"""Weights of a finished run as the start of fine-tuning.

The encoder of a pre-trained or a fine-tuned model of ours goes over; of the first, its final norm and the decoder stay
behind. Frames and size may differ: sinusoids are computed anew, learned positions and representative tokens, which are
vectors on a grid of tokens and on one of regions, are interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.config import FineTuningConfig
from models.positions import resize_vectors
from models.tokens import ClipGeometry, Grid

ENCODER = "encoder."
LEFT_BEHIND = ("decoder.", "encoder_to_decoder.")
FINAL_NORM = ("norm.weight", "norm.bias")
CLASSIFIER = ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")
OF_A_HEAD = ("classes", "task", "global_pool")


def transferred(
    weights: Mapping[str, Tensor], recorded: Mapping[str, Any], own: Mapping[str, Tensor], config: FineTuningConfig
) -> dict[str, Tensor]:
    """The state of a classifier's encoder, made of another run's weights.

    Norm and head of a fine-tuned model go over if classes, task and pooling are the same; else they are the own.

    Args:
        weights: of the whole task, by its parameter names.
        recorded: the config of the model that they are of, as JSON values.
        own: the state that the encoder has now.
        config: of the model that the encoder is part of.

    Raises:
        ValueError: what does not fit, by name.
    """
    _refuse_other_encoder(recorded, config)
    state = {name.removeprefix(ENCODER): value for name, value in weights.items() if name.startswith(ENCODER)}
    state = {name: value for name, value in state.items() if name not in FINAL_NORM}
    for name, (old, new) in _grids(recorded, config).items():
        if name in state:
            state[name] = resize_vectors(state[name], old, new)
    if not keeps_head(recorded, config):
        state |= {name: own[name] for name in CLASSIFIER}
    unknown = [name for name in weights if not name.startswith((ENCODER, *LEFT_BEHIND))]
    unknown += sorted(state.keys() - own.keys())
    missing = sorted(own.keys() - state.keys())
    shapes = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or shapes:
        raise ValueError(
            f"the weights are not those of {config.encoder} as recorded: missing {missing[:3]}, unknown {unknown[:3]}, "
            f"of other shapes {sorted(shapes)[:3]}"
        )
    return state


def keeps_head(recorded: Mapping[str, Any], config: FineTuningConfig) -> bool:
    """Whether a model with this config can go on with the norm and head of the recorded one."""
    theirs = {name: recorded.get(name) for name in OF_A_HEAD}
    return theirs == {"classes": list(config.classes), "task": config.task, "global_pool": config.global_pool}


def _refuse_other_encoder(recorded: Mapping[str, Any], config: FineTuningConfig) -> None:
    ours = {
        "encoder": config.encoder,
        "lgi_variant": config.lgi_variant,
        "position_embedding": config.position_embedding,
        "geometry.tubelet": config.geometry.tubelet,
        "geometry.patch": config.geometry.patch,
    }
    theirs = {
        "encoder": recorded["encoder"],
        "lgi_variant": recorded["lgi_variant"],
        "position_embedding": recorded.get("position_embedding", "sinusoid"),
        "geometry.tubelet": recorded["geometry"]["tubelet"],
        "geometry.patch": recorded["geometry"]["patch"],
    }
    if differing := [f"{name}={theirs[name]} and not {ours[name]}" for name in ours if theirs[name] != ours[name]]:
        raise ValueError(f"the weights are of another encoder, {', '.join(differing)}: build the same or start anew")


def _grids(recorded: Mapping[str, Any], config: FineTuningConfig) -> dict[str, tuple[Grid, Grid]]:
    """The grids that vectors of these names were on and are to be on."""
    old, new = ClipGeometry(**recorded["geometry"]).grid, config.geometry.grid
    regions = _divided(old, recorded["region"]), _divided(new, config.region)
    return {"pos_embed.weight": (old, new), "representative_tokens.weight": regions}


def _divided(grid: Grid, region: Grid) -> Grid:
    t, h, w = (size // part for size, part in zip(grid, region, strict=True))
    return t, h, w

"""Parameter groups for the optimizer: who is decayed, and how fast each layer learns.

Matched by full parameter names. Lists of bare names miss silently: MAE-DFER's pre-training decays its representative
tokens because the list says `lg_region_tokens` and the parameter is `encoder.lg_region_tokens`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Protocol

from timm.models import group_parameters
from torch import nn

from models.encoder import VideoEncoder


class _NamesUndecayed(Protocol):
    """A torch.nn.Module that knows which of its parameters are not decayed."""

    def no_weight_decay(self) -> set[str]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def undecayed(module: _NamesUndecayed) -> set[str]:
    """Full names of parameters without weight decay: biases, norms, single vectors, and those the module names.

    Raises ValueError if the module names a parameter that it does not have.
    """
    parameters = dict(module.named_parameters())
    named = module.no_weight_decay()
    if unknown := named - parameters.keys():
        raise ValueError(f"no_weight_decay() names {sorted(unknown)}, which are not parameters")
    return named | {name for name, parameter in parameters.items() if parameter.ndim < 2}


def weight_decay_groups(module: _NamesUndecayed, weight_decay: float) -> list[dict[str, Any]]:
    """Groups "decay" and "no_decay": {"name", "params", "weight_decay", "lr_scale"}; every trainable parameter once,
    in the module's order. An empty group is left out."""
    free = undecayed(module)
    groups = []
    for name, decay in (("decay", weight_decay), ("no_decay", 0.0)):
        wanted = name == "no_decay"
        params = [p for n, p in module.named_parameters() if p.requires_grad and (n in free) == wanted]
        groups.append({"name": name, "params": params, "weight_decay": decay, "lr_scale": 1.0})
    return [group for group in groups if group["params"]]


def layer_decay_groups(encoder: VideoEncoder, weight_decay: float, *, layer_decay: float) -> list[dict[str, Any]]:
    """Groups whose learning rate shrinks by `layer_decay` per layer from the head down (BEiT, arXiv 2106.08254).

    The layers are the embedding with the representative tokens (0), the blocks (1 to depth) and the head (depth + 1,
    lr_scale 1). Groups are named "layer_03_decay" and so on, from the embedding up.
    """
    free = undecayed(encoder)
    layer_of = group_parameters(encoder, encoder.group_matcher(), reverse=True)
    last = len(encoder.blocks) + 1
    params = defaultdict(list)
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            params[layer_of[name], name in free].append(parameter)
    return [
        {
            "name": f"layer_{layer:02d}_{'no_decay' if is_free else 'decay'}",
            "params": members,
            "weight_decay": 0.0 if is_free else weight_decay,
            "lr_scale": layer_decay ** (last - layer),
        }
        for (layer, is_free), members in sorted(params.items(), key=lambda item: item[0])
    ]

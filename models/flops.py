"""Compute and size of models as the papers count them: one multiply-add is one FLOP, one clip, all tokens.

torch's counter counts a multiply-add as two. Matrix products and attention are counted, element-wise work is not.
Nothing is computed: models and clips live on the meta device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.registry import create_encoder


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def count_multiply_adds(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiply-adds of function(*arguments), forward only."""
    # The plain kernel: fused ones are counted or not depending on device and torch version, products always.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        function(*arguments)
    return counter.get_total_flops() // 2


def encoder_multiply_adds(name: str, **arguments: Any) -> int:
    """Multiply-adds of a registered encoder for one clip of its geometry, all tokens (MAE-DFER Tables 3, 4, 10)."""
    with torch.device("meta"):
        encoder = create_encoder(name, **arguments)
        geometry = encoder.geometry
        clip: Tensor = torch.empty(1, geometry.frames, geometry.height, geometry.width, 3)
        return count_multiply_adds(encoder, clip)

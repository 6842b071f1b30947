"""Encoders by name: importing this module registers all of them with timm."""

from __future__ import annotations

from typing import Any

import timm

from models import face_vit, lgi_former, vit
from models.encoder import VideoEncoder

ENCODERS: tuple[str, ...] = tuple(
    name
    for module in (lgi_former, vit, face_vit)
    for name in timm.list_models(module=module.__name__.rpartition(".")[2])
)


def create_encoder(name: str, **arguments: Any) -> VideoEncoder:
    """timm.create_model for our encoders. Raises ValueError listing them for any other name."""
    if name not in ENCODERS:
        raise ValueError(f"encoder={name!r} is not one of {', '.join(ENCODERS)}")
    return timm.create_model(name, **arguments)

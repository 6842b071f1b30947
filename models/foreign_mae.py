"""Weights of MAE (github.com/facebookresearch/mae) and MAE-Face (github.com/FuxiVirtualHuman/MAE-Face) by our names.

Those of pre-training, of the encoder alone or with its decoder; models.weights.read_foreign reads the files. Two things
of theirs have no name here: biases of keys, which cancel in the softmax, and positions, which are computed. How many
heads a model has is not in its weights: build the encoder that they are of (MAE-Face: face_vit_base).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor

from models.positions import image_sinusoids

POSITIONS = ("pos_embed", "decoder_pos_embed")
NAMES = (
    (r"cls_token$", "encoder.class_token.weight"),
    (r"patch_embed\.proj\.", "encoder.patch_embed."),
    (r"(blocks|norm)\.", r"encoder.\1."),
    (r"mask_token$", "decoder.mask_token"),
    (r"decoder_embed\.", "encoder_to_decoder."),
    (r"decoder_(blocks|norm)\.", r"decoder.\1."),
    (r"decoder_pred\.", "decoder.head."),
)
TOLERANCE = 1e-4


def from_mae(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of a MaskedAutoencoder of single images, of its encoder alone where no decoder came with it.

    Names inside of blocks are the same: whoever loads the state tells of those that are missing, unknown or of other
    shapes.

    Raises:
        ValueError: a name that no pre-trained MAE has, or positions that are not its table, which would be lost.
    """
    has_decoder = any(name.startswith("decoder_") for name in tensors)
    state = {}
    for name, value in tensors.items():
        if name in POSITIONS:
            _check_positions(name, value)
        elif name != "mask_token" or has_decoder:  # some files of the encoder alone hold one
            state[_renamed(name)] = _reshaped(name, value)
    return state


def _renamed(name: str) -> str:
    for theirs, ours in NAMES:
        if re.match(theirs, name):
            return re.sub(f"^{theirs}", ours, name)
    raise ValueError(f"{name} is no name of a pre-trained MAE: give weights of pre-training, not fine-tuned ones")


def _reshaped(name: str, value: Tensor) -> Tensor:
    if name == "patch_embed.proj.weight":
        return value.unsqueeze(2)  # one frame
    if name.endswith("attn.qkv.bias"):
        query, _, value = value.chunk(3)
        return torch.cat([query, value])
    if name in ("cls_token", "mask_token"):
        return value[0] if name == "cls_token" else value[0, 0]
    return value


def _check_positions(name: str, position_1ND: Tensor) -> None:
    _, count, width = position_1ND.shape
    side = isqrt(count - 1)
    if side**2 != count - 1:
        raise ValueError(f"{name} has {count} positions, not those of a square image and of the class token")
    of_class, of_patches = position_1ND[0].float().tensor_split([1])
    if of_class.any() or (of_patches - image_sinusoids(side, side, width)).abs().max() > TOLERANCE:
        raise ValueError(f"{name} is not MAE's table of sines and cosines: give weights of pre-training")

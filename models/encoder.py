"""What all video encoders share: embedding, pooling, classifier, and the names optimizers ask for (timm's interface).

An encoder turns a clip, of which an image is the shortest, into tokens: first `num_prefix_tokens` tokens of the model's
own (LGI-Former's representative tokens, an image's class token, none in a video ViT), then one per cube. With
`num_classes` it is a classifier: the pooled tokens pass a norm and a linear head, and the final norm of pre-training is
gone, as in the fine-tuning of MAE-DFER, VideoMAE and MAE. Without, it is the encoder of pre-training, and calling it
gives the pooled, normed features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.blocks import LayerNorm, run_blocks
from models.config import Positions
from models.cubes import CubeEmbedding, take, to_cubes
from models.initialisation import init_layers
from models.positions import PositionEmbedding
from models.tokens import ClipGeometry

HEAD_SCALE = 0.001
MATCH_PREVIOUS_GROUP = (99999,)  # timm's mark for "the same layer as the block before"


class VideoEncoder(nn.Module):
    """Base of the encoders. A subclass makes `self.blocks`, defines `encode` and ends by calling `init_weights`."""

    num_prefix_tokens = 0
    query_apart = False  # see initialisation.init_layers
    reads_images = False
    """MAE's habits and not VideoMAE's: fixed positions are those of rows and columns, and the decoder reads the prefix
    tokens as well, through a map with a bias."""

    def __init__(self, *, geometry: ClipGeometry, width: int, num_classes: int, position_embedding: Positions) -> None:
        super().__init__()
        self.geometry = geometry
        self.embed_dim = self.num_features = width
        self.num_classes = num_classes
        self.recompute = False
        self.patch_embed = CubeEmbedding(geometry, width)
        self.pos_embed = PositionEmbedding(
            position_embedding, grid=geometry.grid, width=width, is_image=self.reads_images
        )
        self.blocks = nn.ModuleList()
        self.norm = nn.Identity() if num_classes else LayerNorm(width)
        self.fc_norm = LayerNorm(width) if num_classes else nn.Identity()
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()
        self.register_load_state_dict_pre_hook(_accept_pretrained)

    def init_weights(self) -> None:
        """Draw every parameter from torch's global generator; refill the buffers that weight files leave out."""
        scheme = "truncated_normal" if self.num_classes else "xavier"
        init_layers(self, scheme, query_apart=self.query_apart)
        self.pos_embed.init_weights()
        if self.num_classes:
            with torch.no_grad():
                self.head.weight.mul_(HEAD_SCALE)

    def encode(self, cubes_BVK: Tensor, token_id_BV: Tensor) -> Tensor:
        """Tokens [B, num_prefix_tokens + V, D], in the order given, of normalised cubes and their token ids (int64)."""
        raise NotImplementedError

    def forward_features(self, clip_BTHWC: Tensor, visible_BV: Tensor | None = None) -> Tensor:
        """Tokens [B, num_prefix_tokens + V, D] of normalised clips (models.cubes.normalize_pixels).

        Args:
            visible_BV: ids of the only tokens the encoder sees, as many in every row; None: all.

        Raises:
            ValueError: clips of another size than the geometry's, or pixels that were not normalised (integers).
        """
        if not clip_BTHWC.is_floating_point():
            raise ValueError(f"clips are {clip_BTHWC.dtype}; pass them through models.cubes.normalize_pixels first")
        cubes_BNK = to_cubes(clip_BTHWC, self.geometry)
        if visible_BV is None:
            token_id_N = torch.arange(cubes_BNK.shape[1], device=cubes_BNK.device)
            return self.encode(cubes_BNK, token_id_N.expand(len(cubes_BNK), -1))
        return self.encode(take(cubes_BNK, visible_BV.long()), visible_BV.long())

    def pool(self, tokens_BND: Tensor) -> Tensor:
        """One vector per clip [B, D] from the tokens of `forward_features`: their mean."""
        return tokens_BND.mean(1)

    def forward_head(self, tokens_BND: Tensor) -> Tensor:
        """Logits [B, num_classes], or features [B, D] without classes, from the tokens of `forward_features`."""
        return self.head(self.fc_norm(self.pool(tokens_BND)))

    def forward(self, clip_BTHWC: Tensor) -> Tensor:
        """Logits [B, num_classes], or features [B, D] without classes, of normalised clips."""
        return self.forward_head(self.forward_features(clip_BTHWC))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the blocks' inner activations twice instead of keeping them (timm's name)."""
        self.recompute = enable

    def no_weight_decay(self) -> set[str]:
        """Full names of parameters with two or more axes that are not decayed."""
        return {"pos_embed.weight"} if self.pos_embed.is_learned else set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns over full parameter names that timm turns into layers: embedding, blocks, then norm and head."""
        blocks = r"^blocks" if coarse else [(r"^blocks\.(\d+)", None), (r"^norm", MATCH_PREVIOUS_GROUP)]
        return {"stem": r"^patch_embed|^pos_embed|^representative_tokens|^class_token", "blocks": blocks}

    def positions(self, token_id_BV: Tensor) -> Tensor:
        """Positions [B, V, D] in the dtype of the weights: some engines cast those and leave buffers alone."""
        return self.pos_embed(token_id_BV).to(self.patch_embed.bias.dtype)

    def _run_blocks(self, x: Tensor, *arguments: Any) -> Tensor:
        return run_blocks(self.blocks, x, *arguments, recompute=self.recompute)


def _accept_pretrained(encoder: VideoEncoder, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Let the weights of a pre-trained encoder into a classifier built from it.

    Only if they differ in exactly what fine-tuning changes: their final norm, which a classifier does not have, is
    left out, and the classifier keeps its own new `fc_norm` and `head`. All else stays an error of load_state_dict.
    """
    final_norm = {f"{prefix}norm.{name}" for name in ("weight", "bias")}
    classifier = {f"{prefix}{part}.{name}" for part in ("fc_norm", "head") for name in ("weight", "bias")}
    if encoder.num_classes and final_norm <= set(state) and not classifier & set(state):
        for name in final_norm:
            del state[name]
        state.update({name: encoder.get_parameter(name.removeprefix(prefix)).detach() for name in classifier})


def refuse_timm_weights(pretrained: bool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The model's own arguments among those timm.create_model passes; ValueError for weights we do not publish."""
    hub = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    asked = [name for name in hub if arguments.get(name) is not None]
    if pretrained or asked:
        raise ValueError(f"no weights are published: drop pretrained, {', '.join(hub)} and give checkpoint_path=FILE")
    return {name: value for name, value in arguments.items() if name not in hub}

"""Masked autoencoder for faces: VideoMAE (arXiv 2203.12602), MAE-DFER (2307.02227) and, of images, MAE (2111.06377), by
config. An image is a clip of one frame.

A training task as the loop sees it: uint8 clips and visible token ids in, weighted losses out. Shape letters beside
those of models.tokens: M masked tokens; P predicted ones, which are the masked, or all (loss_tokens). Inside, each clip
stands once for every mask drawn for it, and B counts those.

Differences from the papers: a target of one half (appearance, motion) has a head of that half alone, where the
originals predict both and ignore one. Mask, class and representative tokens are not decayed (MAE-DFER's list misses
the last, MAE decays the others). Normalisation of pixels, target and loss are float32 whatever the precision of the
weights. Of MAE see also models.face_vit; MAE-B with a decoder of 512, 8 blocks and 16 heads has 111,642,368 parameters,
13,312 fewer than the original, whose keys have a bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from models.checks import is_broken
from models.config import EncoderConfig, MaskedAutoencoderConfig, MultiViewConfig
from models.cubes import normalize_pixels, take, to_cubes
from models.decoder import Decoder
from models.initialisation import init_layers
from models.parameters import weight_decay_groups
from models.registry import create_encoder
from models.targets import make_target, target_values
from models.tokens import ClipGeometry


def build(config: MaskedAutoencoderConfig) -> MaskedAutoencoder:
    """The model with weights drawn from torch's global generator."""
    return MaskedAutoencoder(config)


def masked_ids(visible_BV: Tensor, num_tokens: int) -> Tensor:
    """Ids [B, M] (int64, ascending) of the tokens that are not visible. Raises ValueError (on CUDA see models.checks)
    unless visible ids are different from each other within a row and leave a token to predict."""
    num_masked = num_tokens - visible_BV.shape[1]
    hidden_BN = torch.ones(len(visible_BV), num_tokens, dtype=torch.int8, device=visible_BV.device)
    hidden_BN.scatter_(1, visible_BV, 0)
    rule = f"each row shows {visible_BV.shape[1]} of {num_tokens} tokens: they must differ and leave one to predict"
    if num_masked < 1 or is_broken(rule, hidden_BN.sum(1) != num_masked):
        raise ValueError(rule)
    return hidden_BN.argsort(dim=1, descending=True, stable=True)[:, :num_masked]


def take_by_mask(x_CNK: Tensor, index_BM: Tensor) -> Tensor:
    """Values [B, M, K] at the positions of each mask, of C clips with B / C masks each, those of a clip in a row."""
    clips = len(x_CNK)
    chosen = take(x_CNK, rearrange(index_BM, "(c r) m -> c (r m)", c=clips))
    return rearrange(chosen, "c (r m) k -> (c r) m k", r=len(index_BM) // clips)


def uint8_cubes(clip_BTHWC: Tensor, geometry: ClipGeometry) -> Tensor:
    """Cubes [B, N, K] of clips. Raises ValueError unless these are uint8 and have the geometry's size."""
    if clip_BTHWC.dtype != torch.uint8:
        raise ValueError(f"clips must be uint8 RGB, these are {clip_BTHWC.dtype}")
    return to_cubes(clip_BTHWC, geometry)


class Cut(NamedTuple):
    """Clips taken apart by their masks; a clip stands once for each of its masks, except in the cubes."""

    cubes: Tensor  # uint8 [clips, N, K]
    target_cubes: Tensor  # uint8 [clips, N, K], to be predicted; here the same
    visible_BV: Tensor  # int64
    masked_BM: Tensor  # int64
    predicted_BP: Tensor  # int64
    view_B: Tensor | None  # int64, the target view that the decoder is told, if any


class MaskedAutoencoder(nn.Module):
    """Encoder on visible cubes, linear map, decoder, mean squared error on masked cubes, or on all."""

    def __init__(self, config: MaskedAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = create_encoder(config.encoder, **encoder_arguments(config))
        width = self.encoder.embed_dim
        self.encoder_to_decoder = nn.Linear(width, config.decoder_width, bias=config.reads_images)
        self.decoder = Decoder(**decoder_arguments(config))
        self.encoder.set_grad_checkpointing(config.activation_checkpointing)
        self.decoder.recompute = config.activation_checkpointing
        init_layers(self.encoder_to_decoder, "xavier", query_apart=False)

    def init_weights(self) -> None:
        """Draw all weights anew from torch's global generator."""
        self.encoder.init_weights()
        self.decoder.init_weights()
        init_layers(self.encoder_to_decoder, "xavier", query_apart=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch (models.tokens.PretrainingBatch as tensors, with weight_B float32 [B]).

        A row's loss is the mean squared error over its predicted values, averaged over its R masks.

        Returns:
            "loss", and with a joint target its two halves "loss/appearance" and "loss/motion" before Eq. 2 weighs
            them; each the sum over rows of weight times loss, a float32 scalar.
        """
        cut = self._cut(batch)
        return self._losses(self._predict(cut), cut, batch["weight_B"])

    @torch.no_grad()
    def zero_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The "loss" of predicting zeros for a batch, a float32 scalar: what a prediction must stay below."""
        cut = self._cut(batch)
        values = target_values(self.config.target, cut.cubes.shape[-1])
        zeros_BPK = torch.zeros(*cut.predicted_BP.shape, values, device=cut.cubes.device)
        return self._losses(zeros_BPK, cut, batch["weight_B"])["loss"]

    @torch.no_grad()
    def reconstruct(self, clip_BTHWC: Tensor, visible_BV: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions for pictures: float32 [B, P, K or K / 2] in the units of the target, and their ids [B, P].

        The ids ascend: all N with loss_tokens=all, else the masked ones, since nothing else was ever trained.
        `models.targets.target_to_pixels` turns them into pixels in [0, 1]; `byte_pixels`, `put` and `from_cubes` of
        `models.cubes` turn those into a clip.
        """
        return self._in_order(self._cut({"clip_BTHWC": clip_BTHWC, "visible_BRV": visible_BV[:, None]}))

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Two groups, "decay" and "no_decay", of all trainable parameters, for the optimizer."""
        return weight_decay_groups(self, weight_decay)

    def start_from(self, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Go on from the weights of another masked autoencoder of the same shape; `config` tells nothing more. Raises
        ValueError naming what does not fit."""
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"the weights are not those of such a masked autoencoder: {error}") from None

    def no_weight_decay(self) -> set[str]:
        """Full names of parameters with two or more axes that are not decayed."""
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        return {f"{part}.{name}" for part, module in parts.items() for name in module.no_weight_decay()}

    def _cut(self, batch: dict[str, Tensor]) -> Cut:
        cubes = uint8_cubes(batch["clip_BTHWC"], self.config.geometry)
        visible_BV = rearrange(batch["visible_BRV"].long(), "b r v -> (b r) v")
        masked_BM = masked_ids(visible_BV, self.config.geometry.num_tokens)
        predicted_BP = self.decoder.predicted_ids(visible_BV, masked_BM)
        return Cut(cubes, cubes, visible_BV, masked_BM, predicted_BP, view_B=None)

    def _predict(self, cut: Cut) -> Tensor:
        """Predictions [B, P, K or K / 2] in the precision of the weights."""
        shown_BVK = take_by_mask(cut.cubes, cut.visible_BV)
        tokens_BND = self.encoder.encode(normalize_pixels(shown_BVK), cut.visible_BV)
        read_BND = tokens_BND if self.config.reads_images else tokens_BND[:, self.encoder.num_prefix_tokens :]
        return self.decoder(self.encoder_to_decoder(read_BND), cut.visible_BV, cut.masked_BM, cut.view_B)

    def _in_order(self, cut: Cut) -> tuple[Tensor, Tensor]:
        """Predictions [B, P, K or K / 2], float32, by ascending id, and the ids [B, P]."""
        order_BP = cut.predicted_BP.argsort(dim=1)
        return take(self._predict(cut).float(), order_BP), cut.predicted_BP.gather(1, order_BP)

    def _losses(self, prediction_BPK: Tensor, cut: Cut, weight_B: Tensor) -> dict[str, Tensor]:
        num_masks = len(cut.visible_BV) // len(weight_B)
        weight_B = weight_B.float().repeat_interleave(num_masks) / num_masks
        with torch.no_grad():  # normalised before the masks choose, so once for all masks of a clip
            target_BPK = take_by_mask(make_target(self.config.target, cut.target_cubes), cut.predicted_BP)
        error_BPK = mse_loss(prediction_BPK.float(), target_BPK, reduction="none")
        if self.config.target != "joint":
            return {"loss": (weight_B * error_BPK.mean((1, 2))).sum()}
        appearance, motion = (weight_B[:, None] * error_BPK.unflatten(-1, (2, -1)).mean((1, 3))).sum(0)
        weight = self.config.appearance_weight
        return {
            "loss": weight * appearance + (1 - weight) * motion,
            "loss/appearance": appearance.detach(),
            "loss/motion": motion.detach(),
        }


def encoder_arguments(config: EncoderConfig) -> dict[str, Any]:
    """What the config says to the encoder's constructor, beside its name."""
    arguments: dict[str, Any] = {"geometry": config.geometry}
    if config.encoder.startswith("lgi_former"):
        arguments |= {"region": config.region, "variant": config.lgi_variant}
    if isinstance(config, MultiViewConfig):
        arguments["position_embedding"] = config.position_embedding
    return arguments


def decoder_arguments(config: MaskedAutoencoderConfig) -> dict[str, Any]:
    """What the config says to the decoder's constructor."""
    arguments: dict[str, Any] = {
        "grid": config.geometry.grid,
        "width": config.decoder_width,
        "depth": config.decoder_depth,
        "heads": config.decoder_heads,
        "values": target_values(config.target, config.geometry.cube_values),
        "is_image": config.reads_images,
        "predicts_visible": config.loss_tokens == "all",
    }
    if isinstance(config, MultiViewConfig):
        arguments |= {
            "position_embedding": config.position_embedding,
            "num_views": config.num_views if config.target_view_embedding == "learned" else 0,
        }
    return arguments

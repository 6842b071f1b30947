"""A head that learns from the features of frames: CtyunAI's and NetEase's over windows of time, Emotic-MAE's over two
views of a frame, or an MLP (models.head_config, with the sources).

A training task as the loop sees it: features and targets of windows in, losses of the global batch out, every labelled
frame counting as much as its window weighs. Shape letters as in models.tokens; N counts frames of all windows.

Differences: CtyunAI's code normalises the hidden layer of its MLP over the batch and has no activation there, NetEase's
of ABAW6 normalises over the batch too. Here each frame has a layer norm of as many parameters and a ReLU: statistics
of a batch would tie a frame to the padding beside it and to what other workers see, and two linear layers with nothing
between them are one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from models.head_config import (
    FeatureHeadConfig,
    MlpConfig,
    SequenceConfig,
    TcnTransformerConfig,
    TransformerFusionConfig,
    ViewFusionConfig,
)
from models.initialisation import init_layers
from models.losses import batch_statistics, has_predictions, loss_groups, scores_of, total_loss
from models.parameters import weight_decay_groups
from models.temporal import TcnTransformer, TransformerFusion
from models.view_fusion import ViewFusion

_LAST = ("mlp.last.weight", "mlp.last.bias")


def build(config: FeatureHeadConfig) -> FeatureHead:
    """The head with weights drawn from torch's global generator."""
    return FeatureHead(config)


class Mlp(nn.Module):
    """Hidden layers, each with layer norm, ReLU and dropout, and a last linear layer; over the last axis."""

    def __init__(self, inputs: int, outputs: int, config: MlpConfig) -> None:
        super().__init__()
        self.hidden = nn.Sequential()
        for width in config.hidden:
            layer = [nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(config.dropout)]
            self.hidden.extend(layer)
            inputs = width
        self.last = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x))


class FeatureHead(nn.Module):
    """Logits of every frame. Padding, and windows without a sample, reach no other frame's logits, losses or
    gradients."""

    def __init__(self, config: FeatureHeadConfig) -> None:
        """Raises ValueError for a config without features or classes."""
        super().__init__()
        for name in ("features", "classes"):
            if not getattr(config, name):
                raise ValueError(f"the config names no {name}: without them a head cannot be built")
        self.config = config
        self.widths = [each.width for each in config.features]
        self.hides_missing = isinstance(config.head, SequenceConfig) and config.head.missing == "hidden"
        with_norm = config.feature_norm == "layer"
        self.norms = nn.ModuleList(nn.LayerNorm(width) if with_norm else nn.Identity() for width in self.widths)
        self.body = _body(config)
        width = sum(self.widths) if self.body is None else self.body.width
        self.mlp = Mlp(width, len(config.classes), config.head)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw all weights anew from torch's global generator."""
        init_layers(self, "xavier", query_apart=False)
        if self.body is not None:
            self.body.init_weights()

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, T, K] of a batch (models.tokens.SequenceBatch as tensors). Those of padding mean nothing.

        Raises ValueError unless frames have as many features as the config says.
        """
        valid_BT = batch["valid_BT"]
        if batch["feature_BTD"].shape[-1] != sum(self.widths):
            told = ", ".join(f"{each.name} {each.width}" for each in self.config.features)
            raise ValueError(f"frames have {batch['feature_BTD'].shape[-1]} numbers, the config says {told}")
        seen_BT = valid_BT & batch["present_BT"] if self.hides_missing else valid_BT
        # Not a product: padding may hold anything, and NaN times 0 is NaN.
        feature_BTD = batch["feature_BTD"].masked_fill(~seen_BT[..., None], 0)
        parts = [norm(x) for norm, x in zip(self.norms, feature_BTD.split(self.widths, -1), strict=True)]
        if isinstance(self.body, ViewFusion):
            strong_ND, weak_ND = (rearrange(x_BTD, "b t d -> (b t) d") for x_BTD in parts)
            return rearrange(self.mlp(self.body(strong_ND, weak_ND)), "(b t) k -> b t k", b=len(valid_BT))
        x_BTD = torch.cat(parts, -1)
        return self.mlp(x_BTD if self.body is None else self.body(x_BTD, seen_BT, valid_BT))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss of a batch (models.tokens.SequenceBatch as tensors, with weight_B float32 [B]) and, as statistics_S,
        the mean of `statistics` over the micro-batches of the global batch.

        Returns:
            "loss" and, of several groups of targets, each as "loss/<name>" (models.losses.total_loss): over the global
            batch the mean over labelled frames, or 1 - CCC of them.
        """
        batch = _of_samples(batch)
        logits_NK = rearrange(self.logits(batch), "b t k -> (b t) k")
        return total_loss(logits_NK, *_targets(batch), batch["statistics_S"], self.config)

    @torch.no_grad()
    def statistics(self, batch: dict[str, Tensor]) -> Tensor:
        """Sums over frames (models.losses.batch_statistics), float64 [S]. Draws what `forward` draws."""
        batch, groups = _of_samples(batch), loss_groups(self.config)
        logits_NK = rearrange(self.logits(batch), "b t k -> (b t) k") if has_predictions(groups) else None
        return batch_statistics(logits_NK, *_targets(batch), groups)

    @torch.no_grad()
    def predict(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Scores, float32 [B, T, K], of every frame (models.losses.scores_of); those of padding mean nothing. Raises
        ValueError in training mode."""
        if self.training:
            raise ValueError("the head is in training mode, where dropout is noise; call eval() first")
        logits_BTK = self.logits(batch)
        scores_NK = scores_of(rearrange(logits_BTK, "b t k -> (b t) k"), loss_groups(self.config))
        return rearrange(scores_NK, "(b t) k -> b t k", b=len(logits_BTK))

    def no_weight_decay(self) -> set[str]:
        """Full names of parameters with two or more axes that are not decayed."""
        body = self.body
        return {f"body.{name}" for name in body.no_weight_decay()} if isinstance(body, TcnTransformer) else set()

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """All parameters, decayed or not (models.parameters.weight_decay_groups), for the optimizer."""
        return weight_decay_groups(self, weight_decay)

    def start_from(self, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Go on from a run of the same head on the same features; of other classes or another task, all but the last
        layer goes over.

        Args:
            config: what that run recorded, as JSON values; "model" is the config of its head.

        Raises:
            ValueError: what does not fit, by name.
        """
        recorded, ours = dict(config["model"]), json.loads(json.dumps(asdict(self.config)))
        for each in (recorded, ours):
            each["head"] = {name: value for name, value in each.get("head", {}).items() if name != "dropout"}
        if differing := [name for name in ("features", "feature_norm", "head") if recorded.get(name) != ours[name]]:
            told = ", ".join(f"{name}={recorded.get(name)} and not {ours[name]}" for name in differing)
            raise ValueError(f"the weights are of another head, {told}: build the same or start anew")
        state = dict(weights)
        if any(recorded[name] != ours[name] for name in ("classes", "task")):
            state |= {name: self.get_parameter(name).detach() for name in _LAST}
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"the weights are not those of the head that was recorded with them: {error}") from error


def _body(config: FeatureHeadConfig) -> TcnTransformer | TransformerFusion | ViewFusion | None:
    head, width = config.head, sum(each.width for each in config.features)
    if isinstance(head, TcnTransformerConfig):
        return TcnTransformer(width, head)
    if isinstance(head, TransformerFusionConfig):
        return TransformerFusion(width, head)
    return ViewFusion(width // 2, head) if isinstance(head, ViewFusionConfig) else None


def _of_samples(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with windows of weight 0 as padding, so that what they hold reaches nothing."""
    return batch | {"valid_BT": batch["valid_BT"] & (batch["weight_B"] > 0)[:, None]}


def _targets(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Targets [N, K], of padding without a label, and weights [N] of all frames."""
    target_BTK = batch["target_BTK"].masked_fill(~batch["valid_BT"][..., None], torch.nan)
    weight_N = repeat(batch["weight_B"], "b -> (b t)", t=target_BTK.shape[1])
    return rearrange(target_BTK, "b t k -> (b t) k"), weight_N

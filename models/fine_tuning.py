"""Fine-tuning: an encoder and a linear head trained on labels, as by MAE-DFER (arXiv 2307.02227), VideoMAE (2203.12602)
and MAURA.

A training task as the loop sees it: uint8 clips and targets in, weighted losses out. Shape letters as in models.tokens,
but K is the numbers of a target; inside, each clip stands once for each of its augmentations, and B counts those.

Differences from VideoMAE's and MAE-DFER's code: those of models.mixing; the representative tokens learn as slowly as
the embedding (there the names do not match); labels may be soft, several, or values. MAURA fine-tunes with
cross-entropy, also on CMU-MOSEI with several labels: read here as shares of 1, so that a clip without any label adds
nothing but its label smoothing. Pixels are normalised, and losses computed, in float32 whatever the precision of the
weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from models.config import FineTuningConfig
from models.features import normalized_clips, pooled_features
from models.losses import are_global, batch_statistics, loss_groups, scores_of, total_loss
from models.masked_autoencoder import encoder_arguments
from models.mixing import Mixing, real_rows_first
from models.parameters import layer_decay_groups
from models.registry import create_encoder
from models.warm_start import CLASSIFIER, transferred


def build(config: FineTuningConfig) -> FineTuning:
    """The model with weights drawn from torch's global generator."""
    return GlobalFineTuning(config) if are_global(loss_groups(config)) else FineTuning(config)


class FineTuning(nn.Module):
    """Encoder with head, trained with augmentation that is drawn per micro-batch in training mode alone."""

    def __init__(self, config: FineTuningConfig) -> None:
        """Raises ValueError for a config without classes."""
        super().__init__()
        if not config.classes:
            raise ValueError("the config names no classes: what the head is to tell is not known")
        self.config = config
        arguments = encoder_arguments(config) | {
            "position_embedding": config.position_embedding,
            "num_classes": len(config.classes),
            "drop_path_rate": config.drop_path,
        }
        if config.encoder.startswith("lgi_former"):
            arguments["global_pool"] = config.global_pool
        self.encoder = create_encoder(config.encoder, **arguments)
        self.encoder.set_grad_checkpointing(config.activation_checkpointing)
        self.mixing = Mixing(config)
        if config.trained == "head":
            for name, parameter in self.encoder.named_parameters():
                parameter.requires_grad_(name in CLASSIFIER)

    def init_weights(self) -> None:
        """Draw all weights anew from torch's global generator."""
        self.encoder.init_weights()

    def start_from(self, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Go on from another run's weights (models.warm_start), by its task's parameter names.

        Args:
            config: what that run recorded, as JSON values; "model" is the config of its model.

        Raises:
            ValueError: what does not fit, by name.
        """
        own = self.encoder.state_dict()
        self.encoder.load_state_dict(transferred(weights, config["model"], own, self.config))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss of a batch (models.tokens.LabelledBatch as tensors, with weight_B float32 [B]).

        Returns:
            "loss": the sum over rows of weight times the mean loss of the row's R augmentations, a float32 scalar; of
            several groups of targets the sum over groups, and each as "loss/<name>" (models.losses).
        """
        return total_loss(*self._outcome(batch), batch.get("statistics_S"), self.config)

    def _outcome(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [N, K], targets [N, K] and weights [N] of all augmentations."""
        repeats = batch["clip_BRTHWC"].shape[1]
        # Augmentations of a clip stand far apart: neighbours are mixed.
        clip_BTHWC = rearrange(batch["clip_BRTHWC"], "b r t h w c -> (r b) t h w c")
        target_BK = repeat(self._shares(batch["target_BK"].float()), "b k -> (r b) k", r=repeats)
        weight_B = repeat(batch["weight_B"].float(), "b -> (r b)", r=repeats) / repeats
        if self.training:
            row_B, weight_B = real_rows_first(weight_B)
            pixels_BTHWC, target_BK = self.mixing(normalized_clips(clip_BTHWC[row_B]), target_BK[row_B])
        else:
            pixels_BTHWC = normalized_clips(clip_BTHWC)
        return self.encoder(pixels_BTHWC), target_BK, weight_B

    @torch.no_grad()
    def predict(self, clip_BTHWC: Tensor) -> Tensor:
        """Scores, float32 [B, K], of uint8 clips: probabilities that add up to 1 (cross_entropy), one of each label
        (binary_cross_entropy), or values. Raises ValueError in training mode."""
        return scores_of(self.encoder.head(pooled_features(self.encoder, clip_BTHWC)), loss_groups(self.config))

    @torch.no_grad()
    def features(self, clip_BTHWC: Tensor) -> Tensor:
        """What the head reads, float32 [B, D], of uint8 clips. Raises ValueError in training mode."""
        return pooled_features(self.encoder, clip_BTHWC)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """All trainable parameters, by layer and decay (models.parameters.layer_decay_groups), for the optimizer."""
        return layer_decay_groups(self.encoder, weight_decay, layer_decay=self.config.layer_decay)

    def _shares(self, target_BK: Tensor) -> Tensor:
        """Several labels of a clip as shares of 1, for cross-entropy; other targets as they are."""
        if (self.config.task, self.config.loss) != ("multi_label", "cross_entropy"):
            return target_BK
        return target_BK / target_BK.sum(1, keepdim=True).clamp(min=1)


class GlobalFineTuning(FineTuning):
    """With a loss of the global batch, whose sums the loop adds up (cluster.protocols.GlobalLoss)."""

    @torch.no_grad()
    def statistics(self, batch: dict[str, Tensor]) -> Tensor:
        """Sums over rows (models.losses.batch_statistics), float64 [S]. Draws what `forward` draws."""
        return batch_statistics(*self._outcome(batch), loss_groups(self.config))

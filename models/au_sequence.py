"""A shallow Transformer over what a face did in a video, without its pixels: action units and landmarks over time.

The floor that an encoder of pixels should beat, after the rows "facial landmarks and action units" that MAURA (section
4.3) takes from earlier work on conversations: 2 layers of pre-norm self-attention over the steps of a sequence.

Shape letters: N videos, S steps, F numbers of a step, D width, K numbers of a target.

Differences: width, rate and passes are ours and fixed, so nothing is chosen by any score; a learned token is visible in
every video and stands alone where no step shows a face. Some training videos are shown as such, so that what is said of
them is learned whatever the corpus.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.config import LOSSES, Task
from models.cubes import sinusoid_table
from models.losses import row_losses

_WIDTH, _HEADS, _LAYERS, _DROPOUT = 64, 4, 2, 0.2
_RATE, _WEIGHT_DECAY, _BATCH = 1e-3, 0.05, 32
_PASSES, _FEWEST_STEPS, _MOST_STEPS = 60, 300, 3000
"""Passes over the training videos, unless these are so few or so many steps."""
_FACELESS = 0.05
"""Share of training videos whose face is hidden altogether."""
_EPS = 1e-5
_ROWS_AT_ONCE = 1024


class Sequences(NamedTuple):
    """Videos as sequences of numbers."""

    x_NSF: np.ndarray
    """float32; anything, but finite, in steps without a face."""
    valid_NS: np.ndarray
    """bool: the step shows the face."""

    def take(self, chosen_N: np.ndarray) -> Sequences:
        return Sequences(self.x_NSF[chosen_N], self.valid_NS[chosen_N])


class SequenceTransformer(nn.Module):
    """Logits of sequences. Weights and dropout are drawn from torch's global generator."""

    def __init__(self, steps: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, _WIDTH)
        self.register_buffer("position_SD", sinusoid_table(steps, _WIDTH))
        self.always_visible_D = nn.Parameter(0.02 * torch.randn(_WIDTH))
        layer = nn.TransformerEncoderLayer(
            _WIDTH, _HEADS, 2 * _WIDTH, dropout=_DROPOUT, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, _LAYERS, nn.LayerNorm(_WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(_WIDTH, outputs)

    def forward(self, x_NSF: Tensor, valid_NS: Tensor) -> Tensor:
        """Logits [N, K]. Steps that are not valid have no influence."""
        first_N1D = self.always_visible_D.expand(len(x_NSF), 1, -1)
        x_NSD = torch.cat([first_N1D, self.embed(x_NSF) + self.position_SD], dim=1)
        visible_NS = torch.cat([valid_NS.new_ones(len(valid_NS), 1), valid_NS], dim=1)
        x_NSD = self.blocks(x_NSD, src_key_padding_mask=~visible_NS)
        weight_NS1 = visible_NS[..., None] / visible_NS.sum(1)[:, None, None]
        return self.head((weight_NS1 * x_NSD).sum(1))


def fit_predict(train: Sequences, target_NK: np.ndarray, test: Sequences, *, task: Task, seed: int) -> np.ndarray:
    """Scores of the test videos, float32 [M, K], by a model trained on the others: shares of the classes, probabilities
    of the labels, or values. The same seed gives the same scores; torch's generator is left as it was. Computed on the
    CPU: steps this small gain nothing from a GPU.

    Raises ValueError where a number is not finite, or no training video shows a face.
    """
    if not (np.isfinite(train.x_NSF).all() and np.isfinite(test.x_NSF).all()):
        raise ValueError("sequences hold numbers that are not finite; fill the steps without a face")
    if not train.valid_NS.any():
        raise ValueError(f"none of the {len(train.x_NSF)} training videos shows a face")
    shown_MF = train.x_NSF[train.valid_NS]
    mean_F, scale_F = shown_MF.mean(0), shown_MF.std(0) + _EPS
    known, unknown = (
        (torch.tensor((x_NSF - mean_F) / scale_F), torch.tensor(valid_NS)) for x_NSF, valid_NS in (train, test)
    )
    middle_K, spread_K = 0.0, 1.0
    if task == "regression":
        middle_K, spread_K = target_NK.mean(0), target_NK.std(0) + _EPS
    y_NK = torch.tensor((target_NK - middle_K) / spread_K, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SequenceTransformer(*train.x_NSF.shape[1:], y_NK.shape[1])
        _train(model, *known, y_NK, task)
    logits_MK = _logits(model.eval(), *unknown)
    if task == "regression":
        return (logits_MK.numpy() * spread_K + middle_K).astype(np.float32)
    return (logits_MK.softmax(1) if task == "classes" else logits_MK.sigmoid()).numpy()


def _train(model: SequenceTransformer, x_NSF: Tensor, valid_NS: Tensor, target_NK: Tensor, task: Task) -> None:
    """AdamW over one cycle: the rate rises for a tenth of all steps and then follows half a cosine."""
    steps_of_pass = math.ceil(len(x_NSF) / _BATCH)
    fewest, most = (math.ceil(steps / steps_of_pass) for steps in (_FEWEST_STEPS, _MOST_STEPS))
    passes = min(max(_PASSES, fewest), most)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=passes * steps_of_pass, pct_start=0.1)
    for _ in range(passes):
        for row_B in torch.randperm(len(x_NSF)).split(_BATCH):
            has_face_B1 = torch.rand(len(row_B), 1) >= _FACELESS
            logits_BK = model(x_NSF[row_B], valid_NS[row_B] & has_face_B1)
            optimizer.zero_grad()
            row_losses(logits_BK, target_NK[row_B], LOSSES[task][0]).mean().backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def _logits(model: SequenceTransformer, x_MSF: Tensor, valid_MS: Tensor) -> Tensor:
    rows = zip(x_MSF.split(_ROWS_AT_ONCE), valid_MS.split(_ROWS_AT_ONCE), strict=True)
    return torch.cat([model(x, valid) for x, valid in rows])

"""Linear and attentive probes on cached features, trained at several learning rates at once.

Linear: batch norm without affine and a linear layer, as in MAE (arXiv 2111.06377, A.1). Attentive: learned queries
attend over the tokens of a clip, and a linear layer reads what they gather, as in V-JEPA 2's probe (arXiv 2506.09985).

The bias begins at the frequencies of the training set, which small rates would not reach.

Differences: every step sees all samples, so the statistics of the norm are those of the training set. The optimizer is
Adam instead of LARS or AdamW. The attentive probe has no blocks of self-attention and no MLP; with a single query per
head the projections of keys and values fold into the query and the linear layer, so they are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from models.config import Task

_EPS = 1e-5


class LinearProbe(nn.Module):
    """One linear layer per learning rate, all zero at first.

    Parameters are stored divided by their rate: Adam does not see the scale of a gradient, so one step of rate 1 on
    them is a step of every rate at once.
    """

    def __init__(self, rates: Sequence[float], width: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("rate_L", torch.tensor(rates))
        self.weight_LCK = nn.Parameter(torch.zeros(len(rates), width, outputs))
        self.bias_LK = nn.Parameter(torch.zeros(len(rates), outputs))

    def forward(self, x_NC: Tensor) -> Tensor:
        """Logits [L, N, K]."""
        return self._scaled(torch.einsum("nc,lck->lnk", x_NC, self.weight_LCK))

    def _scaled(self, x_LNK: Tensor) -> Tensor:
        return self.rate_L[:, None, None] * (x_LNK + self.bias_LK[:, None])


class AttentiveProbe(LinearProbe):
    """`heads` queries per learning rate and a linear layer over what each of them gathers."""

    def __init__(
        self, rates: Sequence[float], width: int, outputs: int, *, heads: int, generator: torch.Generator
    ) -> None:
        super().__init__(rates, heads * width, outputs)
        self.register_buffer("first_HD", torch.randn(heads, width, generator=generator))
        self.query_LHD = nn.Parameter(torch.zeros(len(rates), heads, width))

    def forward(self, x_NVD: Tensor) -> Tensor:
        """Logits [L, N, K]."""
        query_LHD = self.first_HD + self.rate_L[:, None, None] * self.query_LHD
        share_NVLH = torch.einsum("nvd,lhd->nvlh", x_NVD, query_LHD).softmax(1)
        pooled_NLHD = torch.einsum("nvlh,nvd->nlhd", share_NVLH, x_NVD)
        return self._scaled(torch.einsum("nlc,lck->lnk", pooled_NLHD.flatten(2), self.weight_LCK))


def train_and_score(
    probe: LinearProbe, train_x: Tensor, train_target_NK: Tensor, test_x: Tensor, *, task: Task, steps: int
) -> Tensor:
    """Scores [L, M, K] of the test samples by the probe of every rate: shares, probabilities or values.

    Features are [N, C] or [N, V, D], divided by the root of their number after the norm: a rate then means the same at
    every width.
    """
    axes = tuple(range(train_x.ndim - 1))
    mean, scale = train_x.mean(axes), (train_x.std(axes, correction=0) + _EPS) * train_x.shape[-1] ** 0.5
    if task == "regression":
        middle_K, spread_K = train_target_NK.mean(0), train_target_NK.std(0, correction=0) + _EPS
        train_target_NK = (train_target_NK - middle_K) / spread_K
    first_K = _first_bias(train_target_NK, task)
    _minimise(probe, first_K, (train_x - mean) / scale, train_target_NK, task=task, steps=steps)
    with torch.no_grad():
        logits_LMK = probe((test_x - mean) / scale) + first_K
    if task == "regression":
        return logits_LMK * spread_K + middle_K
    return logits_LMK.softmax(-1) if task == "classes" else logits_LMK.sigmoid()


def _first_bias(target_NK: Tensor, task: Task) -> Tensor:
    """Logits of the mean target, as if each class had been seen once more and each label once with and once without."""
    count, found_K = len(target_NK), target_NK.sum(0)
    if task == "classes":
        return ((found_K + 1) / (count + target_NK.shape[1])).log()
    return ((found_K + 1) / (count + 2)).logit() if task == "multi_label" else torch.zeros_like(found_K)


def _minimise(probe: LinearProbe, first_K: Tensor, x: Tensor, target_NK: Tensor, *, task: Task, steps: int) -> None:
    optimizer = torch.optim.Adam(probe.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        _loss(probe(x) + first_K, target_NK, task).backward()
        optimizer.step()
        schedule.step()


def _loss(logits_LNK: Tensor, target_NK: Tensor, task: Task) -> Tensor:
    """Summed over the rates, whose probes have nothing to do with each other."""
    if task == "classes":
        return -(target_NK * logits_LNK.log_softmax(-1)).sum(-1).mean(-1).sum()
    loss = mse_loss if task == "regression" else binary_cross_entropy_with_logits
    return len(logits_LNK) * loss(logits_LNK, target_NK.expand_as(logits_LNK))

"""Losses of targets that consist of groups of numbers: classes, labels, values, or several of them at once.

Every group is scored over the rows that have a target in it; a row lacks one where any number of the group is NaN. What
a batch as a whole decides, the number of such rows and the concordance of values (NetEase ABAW5 Eq. 3, 4; CtyunAI
ABAW6 Eq. 1, 2), is a function of sums over rows. The loop adds these sums up over micro-batches and ranks and hands
them back, so that value and gradient of a loss are those of the global batch, however it was dealt out.

Shape letters: N rows, K numbers of a target, G groups, S sums.

Differences from the papers: NetEase's constant 1/8 (Eq. 2) is left out, which Adam does not notice; 1/12 (Eq. 1) is
the mean over labels. CtyunAI writes 1 - CCC of one dimension; it is the sum over both, as NetEase's. Variances are
those of the population, as everywhere in the challenges.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from models.config import AFFECT_LOSSES, Loss, TargetConfig

_MOMENTS = 5
_SMALLEST = 1e-12


class LossGroup(NamedTuple):
    """Columns of a target that are scored together."""

    name: str
    """Empty where the target is one group."""
    columns: slice
    loss: Loss


def loss_groups(config: TargetConfig) -> tuple[LossGroup, ...]:
    """The groups of a target in the order of its numbers: of task=affect by what stands before the slash of a class,
    else one."""
    if config.task != "affect":
        return (LossGroup("", slice(0, len(config.classes)), config.loss),)
    groups, start = [], 0
    for name, members in groupby(config.classes, key=lambda label: label.partition("/")[0]):
        stop = start + len(list(members))
        groups.append(LossGroup(name, slice(start, stop), AFFECT_LOSSES[name]))
        start = stop
    return tuple(groups)


def are_global(groups: Sequence[LossGroup]) -> bool:
    """Whether a loss needs the sums of the global batch: concordance does, and rows that lack some of the groups."""
    return len(groups) > 1 or any(group.loss == "concordance" for group in groups)


def batch_statistics(
    logits_NK: Tensor | None, target_NK: Tensor, weight_N: Tensor, groups: Sequence[LossGroup]
) -> Tensor:
    """Sums over rows, float64 [S]: of every group the weight of the rows that have it; of concordance also the weighted
    sums of target, prediction, both squares and the product, of each dimension. No gradient.

    Args:
        logits_NK: needed where `has_predictions(groups)`.
    """
    sums = []
    with torch.no_grad():
        for group in groups:
            target_NV, has_N = _present(target_NK, group)
            weight_M = weight_N.double() * has_N
            sums.append(weight_M.sum()[None])
            if group.loss == "concordance":
                if logits_NK is None:
                    raise ValueError("the sums of a concordance need predictions")
                sums.append(_moments(logits_NK[:, group.columns], target_NV, weight_M).flatten())
    return torch.cat(sums)


def has_predictions(groups: Sequence[LossGroup]) -> bool:
    """Whether the sums of a batch depend on what is predicted."""
    return any(group.loss == "concordance" for group in groups)


def total_loss(
    logits_NK: Tensor, target_NK: Tensor, weight_N: Tensor, statistics_S: Tensor | None, config: TargetConfig
) -> dict[str, Tensor]:
    """This micro-batch's share of the losses of the global batch, float32 scalars: "loss", the sum over groups, and of
    several groups each as "loss/<name>", without gradient. A group that no row of the global batch has adds nothing.

    Args:
        weight_N: of rows; those of the whole global batch add up to as many as there are micro-batches.
        statistics_S: `batch_statistics`, its mean over micro-batches and ranks; None: a mean over all rows, for losses
            that are not global.
    """
    groups = loss_groups(config)
    offset, losses = 0, {}
    for group in groups:
        target_NV, has_N = _present(target_NK, group)
        weight_M, logits_NV = weight_N.float() * has_N, logits_NK[:, group.columns]
        count = weight_N.new_ones((), dtype=torch.float64) if statistics_S is None else statistics_S[offset]
        offset += 1
        if group.loss == "concordance":
            if statistics_S is None:
                raise ValueError("the concordance of a batch needs its statistics")
            size = _MOMENTS * target_NV.shape[1]
            moments = statistics_S[offset : offset + size].view(_MOMENTS, -1)
            offset += size
            loss = _concordance_share(logits_NV, target_NV, weight_M, count, moments)
        else:
            weights = config.class_weights and config.class_weights[group.columns]
            rows_N = row_losses(logits_NV, target_NV, group.loss, weights=weights, smoothing=config.label_smoothing)
            loss = (weight_M * rows_N).sum() / count.clamp(min=_SMALLEST).float()
        losses[group.name] = loss.float()
    total = {"loss": torch.stack(list(losses.values())).sum()}
    return total | ({f"loss/{name}": loss.detach() for name, loss in losses.items()} if len(groups) > 1 else {})


def row_losses(
    logits_NK: Tensor,
    target_NK: Tensor,
    loss: Loss,
    *,
    weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Loss of each row, float32 [N]: a sum over classes (cross_entropy) or a mean over numbers (binary_cross_entropy,
    mean_squared_error).

    Args:
        weights: factors of the classes' terms.
        smoothing: share of the target of a cross_entropy that is spread evenly over the classes.
    """
    logits_NK, weight_K = logits_NK.float(), None
    if weights is not None:
        # Filled in where the logits are: copied there from the host, they would make it wait for a GPU.
        weight_K = torch.stack([logits_NK.new_full((), weight) for weight in weights])
    if loss == "cross_entropy":
        return cross_entropy(logits_NK, target_NK, weight_K, reduction="none", label_smoothing=smoothing)
    if loss == "binary_cross_entropy":
        return binary_cross_entropy_with_logits(logits_NK, target_NK, weight_K, reduction="none").mean(1)
    return mse_loss(logits_NK, target_NK, reduction="none").mean(1)


def scores_of(logits_NK: Tensor, groups: Sequence[LossGroup]) -> Tensor:
    """Scores, float32 [N, K], as they are reported: probabilities that add up to 1, one for each label, or values."""
    scores = []
    for group in groups:
        logits_NV = logits_NK[:, group.columns].float()
        if group.loss == "cross_entropy":
            logits_NV = logits_NV.softmax(1)
        elif group.loss == "binary_cross_entropy":
            logits_NV = logits_NV.sigmoid()
        scores.append(logits_NV)
    return torch.cat(scores, 1)


def concordance(moments_5V: Tensor) -> Tensor:
    """Lin's concordance correlation coefficient [V] from the means of target, prediction, squares and product (NetEase
    Eq. 4); 0 where both sides are constant and equal."""
    true_V, told_V, true2_V, told2_V, product_V = moments_5V
    covariance_V = product_V - true_V * told_V
    spread_V = (true2_V - true_V**2) + (told2_V - told_V**2) + (true_V - told_V) ** 2
    return 2 * covariance_V / spread_V.clamp(min=_SMALLEST)


def _concordance_share(
    predicted_NV: Tensor, target_NV: Tensor, weight_N: Tensor, count: Tensor, moments_5V: Tensor
) -> Tensor:
    """Of the sum over dimensions of 1 - CCC: by value the share of these rows in it, by gradient what they contribute
    to its gradient."""
    count = count.clamp(min=_SMALLEST)
    with torch.enable_grad():
        means_5V = (moments_5V / count).detach().requires_grad_()
        value = (1 - concordance(means_5V)).sum()
        (slope_5V,) = torch.autograd.grad(value, means_5V)
    own = (slope_5V * _moments(predicted_NV, target_NV, weight_N.double()) / count).sum()
    return own - own.detach() + value.detach() * weight_N.double().sum() / count


def _moments(predicted_NV: Tensor, target_NV: Tensor, weight_N: Tensor) -> Tensor:
    """Weighted sums over rows, float64 [5, V]."""
    told_NV, true_NV = predicted_NV.double(), target_NV.double()
    columns = (true_NV, told_NV, true_NV**2, told_NV**2, true_NV * told_NV)
    return torch.stack([(weight_N[:, None] * column).sum(0) for column in columns])


def _present(target_NK: Tensor, group: LossGroup) -> tuple[Tensor, Tensor]:
    """The group's targets, zero in rows that have none, and which rows have one."""
    target_NV = target_NK[:, group.columns].float()
    has_N = ~target_NV.isnan().any(1)
    return torch.where(has_N[:, None], target_NV, torch.zeros_like(target_NV)), has_N

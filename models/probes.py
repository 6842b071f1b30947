"""Probes: what a frozen encoder knows, read off cached features by something too small to learn it anew.

The learning rate of a trained probe is chosen anew within the training subjects of every fold, among the same values
for whatever is compared, by the score on subjects held out in turn; test samples have no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np

from models.config import Task
from models.metrics import METRICS, statistics

if TYPE_CHECKING:
    import torch

CHOSEN_BY: dict[Task, str] = {"classes": "f1_macro", "multi_label": "multi_label_f1", "regression": "ccc"}
"""The metric that decides on a learning rate."""
_INNER_FOLDS = 3
_ONLY_OF = {
    "learning_rates": ("linear", "attentive"),
    "steps": ("linear", "attentive"),
    "heads": ("attentive",),
    "neighbours": ("knn",),
    "temperature": ("knn",),
}


@dataclass(frozen=True)
class ProbeConfig:
    """A probe."""

    kind: Literal["linear", "attentive", "knn"] = "linear"
    """linear: batch norm and a linear layer on one vector per clip; attentive: queries that attend over a clip's
    tokens; knn: a vote of the nearest neighbours."""
    learning_rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """Of Adam, trained side by side."""
    steps: int = 100
    """Of all training samples each; the rate follows half a cosine."""
    heads: int = 4
    """Queries of the attentive probe."""
    neighbours: int = 20
    """That vote (DINO, arXiv 2104.14294: 20); all where there are fewer."""
    temperature: float = 0.07
    """A neighbour's weight is exp(cosine / temperature) (DINO)."""

    def __post_init__(self) -> None:
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ValueError(f"learning_rates={self.learning_rates} must be one or several positive numbers")
        for name in ("steps", "heads", "neighbours", "temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        defaults = {field.name: field.default for field in fields(self)}
        for name, kinds in _ONLY_OF.items():
            if self.kind not in kinds and getattr(self, name) != defaults[name]:
                raise ValueError(f"{name} has no effect on a probe of kind={self.kind}; leave it at {defaults[name]}")


def predict_by_folds(
    features: np.ndarray,
    target_NK: np.ndarray,
    subject_N: np.ndarray,
    fold_N: np.ndarray,
    config: ProbeConfig,
    *,
    task: Task,
    seed: int,
    device: str = "cpu",
) -> np.ndarray:
    """The scores of every sample by a probe that was trained on the other folds, float32 [N, K].

    Arguments as of `fit_predict`; raises as it does, and as `check_folds`.
    """
    check_folds(subject_N, fold_N)
    score_NK = np.empty(target_NK.shape, np.float32)
    for fold in np.unique(fold_N):
        test_N = fold_N == fold
        known = features[~test_N], target_NK[~test_N], subject_N[~test_N]
        score_NK[test_N] = fit_predict(*known, features[test_N], config, task=task, seed=seed, device=device)
    return score_NK


def check_folds(subject_N: np.ndarray, fold_N: np.ndarray) -> None:
    """Raises ValueError where a subject is in several folds, or a fold leaves too few subjects to train on."""
    for fold in (folds := np.unique(fold_N)):
        others = np.unique(subject_N[fold_N != fold])
        if shared := sorted(set(others) & set(subject_N[fold_N == fold])):
            raise ValueError(f"subjects {', '.join(map(str, shared))} are in several folds")
        if len(others) < _INNER_FOLDS:
            raise ValueError(f"fold {fold} of {len(folds)} leaves {len(others)} subjects to train on; give more")


def fit_predict(
    features: np.ndarray,
    target_NK: np.ndarray,
    subject_N: np.ndarray,
    test_features: np.ndarray,
    config: ProbeConfig,
    *,
    task: Task,
    seed: int,
    device: str = "cpu",
) -> np.ndarray:
    """Scores of the test samples, float32 [M, K]: shares of the classes, probabilities of the labels, or values.

    Args:
        features: of the training samples, [N, C], or for the attentive probe tokens [N, V, D].
        target_NK: one-hot or soft classes, zeros and ones of labels, or values.
        seed: of the held-out subjects and the attentive probe's queries. The same seed gives the same scores.

    Raises:
        ValueError: features of another shape than the probe reads, or that are not finite, or too few subjects.
    """
    import torch

    axes = 3 if config.kind == "attentive" else 2
    for x in (features, test_features):
        if x.ndim != axes or not np.isfinite(x).all():
            raise ValueError(f"features of shape {x.shape}: kind={config.kind} reads {axes} axes of finite numbers")
    x, target, test_x = (
        torch.as_tensor(np.asarray(array, np.float32), device=device) for array in (features, target_NK, test_features)
    )
    if config.kind == "knn":
        return _vote(x, target, test_x, config).cpu().numpy()
    rate = _best_rate(x, target, subject_N, config, task=task, seed=seed)
    return _trained_scores(x, target, test_x, (rate,), config, task=task, seed=seed)[0].cpu().numpy()


def _best_rate(
    x: torch.Tensor, target_NK: torch.Tensor, subject_N: np.ndarray, config: ProbeConfig, *, task: Task, seed: int
) -> float:
    """Of several equally good ones the first."""
    rates = config.learning_rates
    if len(rates) == 1:
        return rates[0]
    score_LNK = np.empty((len(rates), *target_NK.shape), np.float32)
    for train_N, held_N in _inner_folds(subject_N, seed):
        scores = _trained_scores(x[train_N], target_NK[train_N], x[held_N], rates, config, task=task, seed=seed)
        score_LNK[:, held_N] = scores.cpu().numpy()
    metric, truth_NK = METRICS[task][CHOSEN_BY[task]], target_NK.cpu().numpy()
    alone_N = np.zeros(len(truth_NK), np.int64)
    reached = [metric(statistics(task, truth_NK, score_NK, alone_N, num_groups=1)[0]) for score_NK in score_LNK]
    return rates[int(np.argmax(reached))]


def _inner_folds(subject_N: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import GroupKFold

    if (found := len(np.unique(subject_N))) < _INNER_FOLDS:
        raise ValueError(f"{found} training subjects; a learning rate is chosen among at least {_INNER_FOLDS}")
    return GroupKFold(_INNER_FOLDS, shuffle=True, random_state=seed).split(subject_N, groups=subject_N)


def _trained_scores(
    x: torch.Tensor,
    target_NK: torch.Tensor,
    test_x: torch.Tensor,
    rates: tuple[float, ...],
    config: ProbeConfig,
    *,
    task: Task,
    seed: int,
) -> torch.Tensor:
    """Scores [L, M, K] of a fresh probe of every rate."""
    import torch

    from models.probe_training import AttentiveProbe, LinearProbe, train_and_score

    shape = rates, x.shape[-1], target_NK.shape[1]
    if config.kind == "linear":
        probe = LinearProbe(*shape)
    else:
        probe = AttentiveProbe(*shape, heads=config.heads, generator=torch.Generator().manual_seed(seed))
    return train_and_score(probe.to(x.device), x, target_NK, test_x, task=task, steps=config.steps)


def _vote(x_NC: torch.Tensor, target_NK: torch.Tensor, test_x_MC: torch.Tensor, config: ProbeConfig) -> torch.Tensor:
    """Weighted mean of the neighbours' targets."""
    from torch.nn.functional import normalize

    cosine_MN = normalize(test_x_MC, dim=1) @ normalize(x_NC, dim=1).T
    cosine_Mk, index_Mk = cosine_MN.topk(min(config.neighbours, len(x_NC)), dim=1)
    weight_Mk = (cosine_Mk / config.temperature).softmax(1)
    return (weight_Mk[..., None] * target_NK[index_Mk]).sum(1)

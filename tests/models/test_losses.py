"""Losses of groups of targets: float64 oracles, and the global batch dealt out in any way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from models.config import LOSSES, Loss, Task, check_loss
from models.losses import are_global, batch_statistics, has_predictions, loss_groups, scores_of, total_loss
from models.metrics import concordance as concordance_metric
from models.metrics import statistics

AFFECT = ("expr/Neutral", "expr/Anger", "expr/Fear", "au/AU1", "au/AU2", "va/valence", "va/arousal")


@dataclass(frozen=True)
class Config:
    task: Task = "affect"
    loss: Loss = "affect"
    classes: tuple[str, ...] = AFFECT
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0


VALUES = Config(task="regression", loss="concordance", classes=("valence", "arousal"))


def affect_rows(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and targets, float32 [N, 7]; every third row lacks its expression, every fifth its values."""
    rng = np.random.default_rng(seed)
    target_NK = np.concatenate(
        [np.eye(3)[rng.integers(3, size=rows)], rng.integers(0, 2, (rows, 2)), rng.uniform(-1, 1, (rows, 2))], 1
    )
    target_NK[::3, :3], target_NK[::5, 5:] = np.nan, np.nan
    target_NK[1::4, 3] = np.nan  # one of two units is enough to leave the row out
    return torch.tensor(rng.normal(size=(rows, 7))).float(), torch.tensor(target_NK).float()


def ccc(true_N: np.ndarray, told_N: np.ndarray) -> float:
    covariance = np.mean((true_N - true_N.mean()) * (told_N - told_N.mean()))
    return 2 * covariance / (true_N.var() + told_N.var() + (true_N.mean() - told_N.mean()) ** 2)


def whole(logits_NK: Tensor, target_NK: Tensor, config: Config) -> dict[str, Tensor]:
    """Losses of all rows as one micro-batch."""
    weight_N = torch.full((len(logits_NK),), 1 / len(logits_NK))
    sums_S = batch_statistics(logits_NK, target_NK, weight_N, loss_groups(config))
    return total_loss(logits_NK, target_NK, weight_N, sums_S, config)


def test_groups_of_affect_are_told_by_the_names_of_classes():
    groups = loss_groups(Config())
    assert [(group.name, group.columns, group.loss) for group in groups] == [
        ("expr", slice(0, 3), "cross_entropy"),
        ("au", slice(3, 5), "binary_cross_entropy"),
        ("va", slice(5, 7), "concordance"),
    ]
    assert are_global(groups) and has_predictions(groups)
    assert not has_predictions(groups[:2]) and are_global(groups[:2]), "rows may lack one of two groups"
    [one] = loss_groups(Config("classes", "cross_entropy", ("a", "b")))
    assert one.name == "" and not are_global([one])


def test_every_group_agrees_with_float64_over_the_rows_that_have_it():
    logits, target = affect_rows(23)
    losses = whole(logits, target, Config())
    x, y = logits.double().numpy(), target.double().numpy()
    has = [~np.isnan(y[:, columns]).any(1) for columns in (slice(0, 3), slice(3, 5), slice(5, 7))]
    log_p = x[:, :3] - np.log(np.exp(x[:, :3]).sum(1, keepdims=True))
    expr = -(y[:, :3] * log_p).sum(1)[has[0]].mean()
    p = 1 / (1 + np.exp(-x[:, 3:5]))
    au = -(y[:, 3:5] * np.log(p) + (1 - y[:, 3:5]) * np.log(1 - p)).mean(1)[has[1]].mean()
    va = sum(1 - ccc(y[has[2], k], x[has[2], k]) for k in (5, 6))
    assert [losses[f"loss/{name}"].item() for name in ("expr", "au", "va")] == pytest.approx([expr, au, va], rel=1e-5)
    assert losses["loss"].item() == pytest.approx(expr + au + va, rel=1e-5)


def test_class_weights_and_smoothing_reach_the_groups_that_have_them():
    logits, target = affect_rows(12)
    weights = (1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 1.0)
    losses = whole(logits, target, Config(class_weights=weights, label_smoothing=0.2))
    has = ~target[:, :3].isnan().any(1)
    smooth = 0.8 * target[has, :3] + 0.2 / 3
    expr = -(torch.tensor(weights[:3]) * smooth * logits[has, :3].log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses["loss/expr"], expr)
    plain = whole(logits, target, Config())
    torch.testing.assert_close(losses["loss/va"], plain["loss/va"])
    assert losses["loss/au"] > 3 * plain["loss/au"]


def test_the_concordance_that_is_learned_is_the_one_that_is_reported():
    rng = np.random.default_rng(1)
    true, told = rng.uniform(-1, 1, (50, 2)), rng.uniform(-1, 1, (50, 2))
    counts = statistics("regression", true, told, np.zeros(50, int), num_groups=1)[0]
    loss = whole(torch.tensor(told).float(), torch.tensor(true).float(), VALUES)["loss"]
    assert loss.item() == pytest.approx((1 - concordance_metric(counts)).sum(), rel=1e-5)


@pytest.mark.parametrize("config", [VALUES, Config()], ids=["values", "affect"])
@pytest.mark.parametrize("cuts", [[], [10], [1, 2, 20], [5, 10, 15]], ids=str)
def test_loss_and_gradient_are_those_of_the_global_batch_however_it_is_dealt_out(config, cuts):
    logits, target = affect_rows(24)
    logits, target = (logits, target) if config.task == "affect" else (logits[:, :2], target[:, 5:])
    weight = torch.ones(24)
    weight[[3, 11]] = 0  # rows without a sample
    parts = len(cuts) + 1
    weight *= parts / weight.sum()  # as the loop scales them
    groups = loss_groups(config)

    def dealt(bounds: list[int]) -> tuple[Tensor, Tensor]:
        rows = list(zip([0, *bounds], [*bounds, 24], strict=True))
        told = logits.clone().requires_grad_()
        share = len(rows) / parts
        micro = [(told[a:b], target[a:b], share * weight[a:b]) for a, b in rows]
        sums = torch.stack([batch_statistics(*one, groups) for one in micro]).mean(0)
        loss = torch.stack([total_loss(*one, sums, config)["loss"] for one in micro]).mean()
        loss.backward()
        return loss.detach(), told.grad

    (loss, gradient), (expected, expected_gradient) = dealt(cuts), dealt([])
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-7)
    assert (gradient[[3, 11]] == 0).all()


def test_the_gradient_of_the_concordance_is_its_derivative():
    logits, target = affect_rows(9)
    told, true = logits[:, :2].double(), target[:, 3:5].nan_to_num(0.3)
    x = told.clone().requires_grad_()
    whole(x, true, VALUES)["loss"].backward()
    step = 1e-5
    for row, column in ((0, 0), (4, 1), (8, 0)):
        moved = [told.clone(), told.clone()]
        moved[0][row, column] += step
        moved[1][row, column] -= step
        up, down = (sum(1 - ccc(true[:, k].double().numpy(), one[:, k].numpy()) for k in (0, 1)) for one in moved)
        assert x.grad[row, column].item() == pytest.approx((up - down) / (2 * step), rel=1e-5)


def test_a_group_that_no_row_has_adds_nothing_and_moves_nothing():
    logits, target = affect_rows(6)
    target[:, 5:], target[:, :3] = torch.nan, torch.nan
    logits.requires_grad_()
    losses = whole(logits, target, Config())
    losses["loss"].backward()
    assert losses["loss/va"] == 0 and losses["loss/expr"] == 0 and losses["loss"] > 0
    assert (logits.grad[:, 5:] == 0).all() and (logits.grad[:, :3] == 0).all()


@pytest.mark.parametrize("constant", ["both", "target", "prediction"])
def test_constant_values_give_a_finite_loss(constant):
    varied = torch.linspace(-1, 1, 8)[:, None].expand(-1, 2)
    still = torch.full((8, 2), 0.25)
    target = still if constant in ("both", "target") else varied
    told = (still if constant in ("both", "prediction") else varied).clone().requires_grad_()
    loss = whole(told, target, VALUES)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(2.0, abs=1e-5) and told.grad.isfinite().all()


def test_scores_are_probabilities_or_values():
    logits, _ = affect_rows(5)
    scores = scores_of(logits, loss_groups(Config()))
    torch.testing.assert_close(scores[:, :3].sum(1), torch.ones(5))
    torch.testing.assert_close(scores[:, 3:5], logits[:, 3:5].sigmoid())
    torch.testing.assert_close(scores[:, 5:], logits[:, 5:])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(classes=("expr/a", "expr/b", "au/x", "expr/c")), "grouped by a word"),
        (Config(classes=("mood/a", "mood/b")), "one of expr, au, va"),
        (Config("regression", "concordance", ("v",), class_weights=(1.0,)), "class_weights have no effect"),
        (Config("regression", "concordance", ("v",), label_smoothing=0.1), "label_smoothing has no effect"),
        (Config("classes", "concordance", ("a", "b")), "loss=concordance is none of task=classes"),
    ],
)
def test_what_does_not_go_together_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        check_loss(config)


def test_every_task_has_a_loss():
    for task, losses in LOSSES.items():
        classes = AFFECT if task == "affect" else ("a", "b")
        for loss in losses:
            check_loss(Config(task, loss, classes))

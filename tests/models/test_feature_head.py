from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.feature_head import FeatureHead, build
from models.flops import count_parameters
from models.head_config import (
    FeatureHeadConfig,
    FeatureSet,
    FrameMlpConfig,
    TcnTransformerConfig,
    TransformerFusionConfig,
    ViewFusionConfig,
)
from models.tokens import SEQUENCE_BATCH, check_batch
from tests.models.feature_samples import CLASSES, FEATURES, HEADS, head, sequences, tcn, transformer
from tests.models.test_initialisation import check_complete, fill_with_nan

IN_TIME = ("tcn", "tcn_both_ways", "transformer", "projected")
VALUES = {"task": "regression", "loss": "concordance", "classes": ("valence", "arousal")}


def gradients(model: FeatureHead, *batches: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of a global batch of these micro-batches, as the loop makes them."""
    model.zero_grad()
    statistics_S = torch.stack([model.statistics(batch) for batch in batches]).mean(0)
    losses = [model(batch | {"statistics_S": statistics_S})["loss"] / len(batches) for batch in batches]
    sum(losses).backward()
    return sum(losses).detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_samples_keep_the_contract():
    batch = {name: value.numpy() for name, value in sequences(5, 3).items() if name != "weight_B"}
    check_batch(batch | {"rejected_B": np.array(["", ""])}, SEQUENCE_BATCH)


@pytest.mark.parametrize("name", HEADS)
def test_every_frame_gets_finite_scores_by_group(name):
    model, batch = head(name).eval(), sequences(9, 4)
    scores, logits = model.predict(batch), model.logits(batch)
    assert scores.dtype == torch.float32 and not scores.requires_grad
    assert scores.shape == (2, 9, len(CLASSES)) and scores.isfinite().all()
    expected = [logits[..., :2].softmax(-1), logits[..., 2:4].sigmoid(), logits[..., 4:]]
    torch.testing.assert_close(scores, torch.cat(expected, -1).detach())


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_gets_a_gradient(name, norm):
    model = head(name, feature_norm=norm)
    _, found = gradients(model, sequences(9, 4))
    for parameter, _ in model.named_parameters():
        assert found[parameter].any(), parameter


@pytest.mark.parametrize("name", HEADS)
def test_init_leaves_nothing_unwritten_and_follows_the_seed(name):
    model = head(name, feature_norm="layer")
    model.eval().predict(sequences(9))
    fill_with_nan(model)
    torch.manual_seed(0)
    model.init_weights()
    check_complete(model)
    again = build(model.config)
    torch.manual_seed(0)
    again.init_weights()
    torch.testing.assert_close(model.state_dict(), again.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("missing", ["visible", "hidden"])
@pytest.mark.parametrize("name", HEADS)
def test_the_amount_of_padding_changes_nothing(name, missing, training):
    config = HEADS[name]
    if name in IN_TIME:
        config = replace(config, missing=missing)
    model = head(name, head=config, dtype=torch.float64).train(training)
    short, long = (_double(sequences(9, 4, frames=frames)) for frames in (9, 30))
    torch.testing.assert_close(model.logits(long)[:, :9][long["valid_BT"][:, :9]], _valid(model.logits(short), short))
    torch.testing.assert_close(gradients(model, long), gradients(model, short))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", HEADS)
def test_what_padding_holds_reaches_nothing(name, training):
    config = HEADS[name]
    if config.hidden or name in IN_TIME:
        config = replace(config, dropout=0.3)
    model, batch = head(name, head=config, feature_norm="layer").train(training), sequences(9, 4)
    other = _with_rubbish(batch, ~batch["valid_BT"])
    outcomes = []
    for each in (batch, other):
        torch.manual_seed(3)
        logits = _valid(model.logits(each), each)
        torch.manual_seed(3)
        outcomes.append((logits, gradients(model, each)))
    torch.testing.assert_close(*outcomes, rtol=0, atol=0)


@pytest.mark.parametrize("name", HEADS)
def test_what_rejected_windows_hold_reaches_nothing(name):
    model, batch = head(name, feature_norm="layer"), sequences(9, 9, 9)
    batch["weight_B"] = torch.tensor([0.5, 0.0, 0.5])
    other = _with_rubbish(batch, (batch["weight_B"] == 0)[:, None].expand(-1, 9))
    torch.testing.assert_close(gradients(model, other), gradients(model, batch), rtol=0, atol=0)


@pytest.mark.parametrize("name", HEADS)
def test_a_batch_of_blanks_has_no_loss_and_no_gradient(name):
    batch = sequences(9, 4)
    batch["weight_B"] = torch.zeros(2)
    loss, found = gradients(head(name, feature_norm="layer"), batch)
    assert loss == 0
    assert not any(gradient.any() for gradient in found.values())


@pytest.mark.parametrize("name", IN_TIME)
def test_frames_without_features_are_seen_by_others_only_if_they_are_visible(name):
    batch = sequences(12)
    other = _with_rubbish(batch, ~batch["present_BT"], value=5.0)
    for missing, is_seen in (("visible", True), ("hidden", False)):
        model = head(name, head=replace(HEADS[name], missing=missing)).eval()
        before, after = (model.logits(each)[batch["present_BT"]] for each in (batch, other))
        assert torch.equal(before, after) is not is_seen


@pytest.mark.parametrize("name", IN_TIME)
def test_a_hidden_frame_is_told_from_the_others_around_it(name):
    model = head(name, head=replace(HEADS[name], missing="hidden")).eval()
    first, second = sequences(12), sequences(12, seed=1)
    missing = ~first["present_BT"]
    assert not torch.allclose(model.logits(first)[missing], model.logits(second)[missing])


@pytest.mark.parametrize("name", sorted(HEADS.keys() - set(IN_TIME)))
def test_a_head_of_single_frames_sees_no_other_frame(name):
    model, batch = head(name).eval(), sequences(6)
    before = model.logits(batch)
    batch["feature_BTD"][0, 3] += 1.0
    changed = (model.logits(batch) != before).any(-1)[0]
    assert changed.tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("name", ["tcn", "mlp"])
def test_a_batch_dealt_out_in_parts_has_the_same_loss_and_gradient(name):
    model, batch = head(name, dtype=torch.float64), _double(sequences(9, 4, 7, 2))
    parts = [{key: value[rows] for key, value in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    for part in parts:
        part["weight_B"] = part["weight_B"] * 2  # the loop's scale: workers x micro-batches / samples
    # Weights of losses are float32, whatever the precision of a head.
    torch.testing.assert_close(gradients(model, *parts), gradients(model, batch), rtol=1e-5, atol=1e-7)


def test_the_loss_is_the_mean_over_labelled_frames_each_with_the_weight_of_its_window():
    model, batch = head(task="classes", loss="cross_entropy", classes=("a", "b")), sequences(9, 4)
    batch |= {"target_BTK": batch["target_BTK"][..., :2], "weight_B": torch.tensor([0.2, 0.8])}
    loss, _ = gradients(model, batch)
    scores, labelled = model.eval().predict(batch), ~batch["target_BTK"].isnan().any(-1)
    weight_N = batch["weight_B"][:, None].expand(-1, 9)[labelled]
    expected = -weight_N @ (batch["target_BTK"][labelled] * scores[labelled].log()).sum(-1) / weight_N.sum()
    assert 0 < labelled.sum() < batch["valid_BT"].sum()
    torch.testing.assert_close(loss, expected)


def test_concordance_is_that_of_all_labelled_frames_together():
    model, batch = head(dtype=torch.float64, **VALUES), _double(sequences(9, 4))
    batch["target_BTK"] = batch["target_BTK"][..., 4:]
    loss, _ = gradients(model, batch)
    told, true = (_valid(x, batch).detach().numpy() for x in (model.logits(batch), batch["target_BTK"]))
    ccc = [
        2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
        for a, b in zip(told.T, true.T, strict=True)
    ]
    assert loss.item() == pytest.approx(2 - sum(ccc), rel=1e-5)


def test_the_gradient_of_concordance_agrees_with_finite_differences():
    model, batch = head("projected", dtype=torch.float64, **VALUES), _double(sequences(7, 4))
    batch["target_BTK"] = batch["target_BTK"][..., 4:]
    _, found = gradients(model, batch)
    weight = model.mlp.last.weight

    def loss_at(offset: float) -> float:
        with torch.no_grad():
            weight[1, 2] += offset
            told, true = (_valid(x, batch) for x in (model.logits(batch), batch["target_BTK"]))
            mean, other = told.mean(0), true.mean(0)
            covariance = ((told - mean) * (true - other)).mean(0)
            spread = told.var(0, correction=0) + true.var(0, correction=0) + (mean - other) ** 2
            weight[1, 2] -= offset
        return (1 - 2 * covariance / spread).sum().item()

    slope = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5
    assert found["mlp.last.weight"][1, 2].item() == pytest.approx(slope, rel=1e-4)


def test_sums_need_no_forward_pass_unless_a_group_is_a_correlation():
    batch = sequences(9, 4)
    for settings, expected in (({"task": "multi_label", "loss": "binary_cross_entropy"}, 0), (VALUES, 1)):
        model = head(**({"classes": ("a", "b")} | settings))
        calls = []
        model.mlp.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model.statistics(batch | {"target_BTK": batch["target_BTK"][..., 2:4]})
        assert len(calls) == expected


def test_dropout_follows_the_seed_and_is_off_in_evaluation():
    model, batch = head(head=tcn(dropout=0.3)), sequences(9, 4)

    def logits(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return model.logits(batch)

    assert torch.equal(logits(1), logits(1)) and not torch.equal(logits(1), logits(2))
    with pytest.raises(ValueError, match="the head is in training mode"):
        model.predict(batch)
    model.eval()
    assert torch.equal(logits(1), logits(2))


@pytest.mark.parametrize("name", HEADS)
def test_under_bf16_the_loss_is_float32_and_near(name):
    model, batch = head(name, feature_norm="layer"), sequences(9, 4)
    expected, _ = gradients(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = gradients(model, batch)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("name", HEADS)
def test_the_optimizer_gets_every_parameter_once_and_does_not_decay_norms(name):
    model = head(name, feature_norm="layer")
    groups = {group["name"]: group for group in model.parameter_groups(0.05)}
    names = {parameter: name for name, parameter in model.named_parameters()}
    members = {key: {names[p] for p in group["params"]} for key, group in groups.items()}
    assert sum(len(group["params"]) for group in groups.values()) == len(names)
    assert groups["decay"]["weight_decay"] == 0.05 and groups["no_decay"]["weight_decay"] == 0.0
    magnitudes = {name for name in names.values() if name.endswith("original0")}
    assert bool(magnitudes) == name.startswith("tcn")
    assert magnitudes | {"norms.0.weight", "mlp.last.bias"} <= members["no_decay"]
    assert "mlp.last.weight" in members["decay"]


MAE, VGGISH, PARTS = FeatureSet("mae", 768), FeatureSet("vggish", 128), FeatureSet("eye_mouth", 768)


@pytest.mark.parametrize(
    ("features", "config", "expected"),
    [
        # CtyunAI's 20.5 M; torch's layers have 8 x 512 more, biases of keys.
        ((MAE,), TcnTransformerConfig(), 20_507_275),
        ((MAE,), TransformerFusionConfig(), 22_054_402),
        ((MAE, PARTS), ViewFusionConfig(), 1_600_834),
        ((MAE, VGGISH), FrameMlpConfig(), 1_794),
    ],
)
def test_sizes_at_the_papers_widths(features, config, expected):
    with torch.device("meta"):
        model = build(FeatureHeadConfig(features=features, head=config, **VALUES))
    assert count_parameters(model) == expected


def test_a_head_without_features_or_classes_is_refused_and_so_are_other_features():
    with pytest.raises(ValueError, match="the config names no features"):
        build(FeatureHeadConfig(classes=("a", "b")))
    with pytest.raises(ValueError, match="the config names no classes"):
        build(FeatureHeadConfig(features=FEATURES))
    batch = sequences(5)
    with pytest.raises(ValueError, match="frames have 15 numbers, the config says face 8, parts 8"):
        head().logits(batch | {"feature_BTD": batch["feature_BTD"][..., :15]})


def recorded(model: FeatureHead) -> dict:
    return json.loads(json.dumps({"model": asdict(model.config)}))


def test_a_head_goes_on_from_the_same_head_with_a_new_last_layer_for_other_classes():
    source = head(head=tcn(dropout=0.3))
    torch.manual_seed(1)
    same, other = build(head().config), build(replace(head().config, **VALUES))
    before = other.mlp.last.weight.clone()
    same.start_from(source.state_dict(), recorded(source))
    other.start_from(source.state_dict(), recorded(source))
    torch.testing.assert_close(same.state_dict(), source.state_dict(), rtol=0, atol=0)
    assert torch.equal(other.mlp.last.weight, before)
    assert torch.equal(other.mlp.hidden[0].weight, source.mlp.hidden[0].weight)


def test_weights_of_another_head_are_refused_by_name():
    source = head()
    with pytest.raises(ValueError, match="another head, features=.*'audio'"):
        head(features=(FEATURES[0], FeatureSet("audio", 8))).start_from(source.state_dict(), recorded(source))
    with pytest.raises(ValueError, match="another head, head=.*causal': True"):
        head(head=tcn(causal=False)).start_from(source.state_dict(), recorded(source))
    with pytest.raises(ValueError, match=r"(?s)not those of the head.*mlp\.last\.bias"):
        weights = {name: value for name, value in source.state_dict().items() if name != "mlp.last.bias"}
        head().start_from(weights, recorded(source))


def learned(config, *, steps: int = 150) -> float:
    """Share of frames whose class is told after training: the sign of what the features of eight frames add up to."""
    rng = np.random.default_rng(0)
    x_BTD = rng.normal(size=(16, 40, 2)).astype(np.float32)
    past_BT = np.stack([x_BTD[:, max(0, t - 7) : t + 1, 0].mean(1) for t in range(40)], 1)
    batch = {
        "feature_BTD": torch.from_numpy(x_BTD),
        "present_BT": torch.ones(16, 40, dtype=torch.bool),
        "valid_BT": torch.ones(16, 40, dtype=torch.bool),
        "target_BTK": torch.eye(2)[torch.from_numpy((past_BT > 0).astype(np.int64))],
        "weight_B": torch.full((16,), 1 / 16),
    }
    torch.manual_seed(0)
    model = build(FeatureHeadConfig(features=(FeatureSet("x", 2),), head=config, classes=("down", "up")))
    optimizer = torch.optim.AdamW([{**g, "lr": 5e-3} for g in model.parameter_groups(0.0)])
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch | {"statistics_S": model.statistics(batch)})["loss"].backward()
        optimizer.step()
    scores = model.eval().predict(batch)
    return (scores.argmax(-1) == batch["target_BTK"].argmax(-1)).float().mean().item()


def test_heads_in_time_learn_what_single_frames_do_not_show():
    alone = learned(FrameMlpConfig(hidden=(32,)))
    assert alone < 0.8
    narrow = {"layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0}
    convolving = TcnTransformerConfig(channels=(8, 8), dilations=(1, 2), width=16, hidden=(16,), **narrow)
    assert learned(convolving) > 0.97
    assert learned(transformer(projection=(16,), feed_forward=32)) > alone + 0.1


def _double(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return batch | {"feature_BTD": batch["feature_BTD"].double()}


def _valid(x_BTK: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return x_BTK[batch["valid_BT"]]


def _with_rubbish(batch: dict[str, Tensor], where_BT: Tensor, *, value: float = torch.nan) -> dict[str, Tensor]:
    """The same with other features, and other targets where those are rubbish too, in some frames."""
    other = batch | {"feature_BTD": batch["feature_BTD"].masked_fill(where_BT[..., None], value)}
    if value != value:
        other["target_BTK"] = batch["target_BTK"].masked_fill(where_BT[..., None], torch.inf)
    return other

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from cluster.protocols import GlobalLoss
from models.config import FineTuningConfig
from models.fine_tuning import FineTuning, build
from models.flops import count_parameters
from models.losses import batch_statistics, loss_groups, row_losses, total_loss
from models.tokens import ClipGeometry
from tests.models.samples import CLASSES, clips, fine_tuning_config, labelled_batch
from tests.models.test_initialisation import check_complete, fill_with_nan
from tests.models.test_masked_autoencoder import as_gpu

ENCODERS = ("lgi_former_nano", "video_vit_nano")
MIXES = {"mixup": 0.8, "cutmix": 1.0}
NOISE = {**MIXES, "erasing": 0.5, "drop_path": 0.3, "label_smoothing": 0.1}
LOSSES = {
    "classes": {"loss": "cross_entropy"},
    "multi_label": {"task": "multi_label", "loss": "binary_cross_entropy"},
    "regression": {"task": "regression", "loss": "mean_squared_error"},
    "concordance": {"task": "regression", "loss": "concordance"},
    "affect": {"task": "affect", "loss": "affect", "classes": ("expr/happy", "expr/sad", "va/valence")},
}


def make(encoder: str = "lgi_former_nano", *, head: float | None = 0.1, **changes: Any) -> FineTuning:
    """A model whose head gives different answers to different clips, unlike one that was not trained (None)."""
    torch.manual_seed(0)
    model = build(fine_tuning_config(encoder, **changes))
    if head is not None:
        torch.nn.init.normal_(model.encoder.head.weight, std=head)
    return model


def gradients(model: FineTuning, data: dict[str, Tensor], *, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    torch.manual_seed(seed)
    loss = model(data)["loss"]
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_soft_targets_agrees_with_float64(weights, smoothing):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(5, 3)) * 3, rng.dirichlet(np.ones(3), 5)
    smooth = target * (1 - smoothing) + smoothing / 3
    expected = -(np.array(weights or (1, 1, 1)) * smooth * np.log(softmax(logits))).sum(1)
    tensors = torch.tensor(logits).float(), torch.tensor(target).float()
    losses = row_losses(*tensors, "cross_entropy", weights=weights, smoothing=smoothing)
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 3.0)])
def test_binary_cross_entropy_agrees_with_float64(weights):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(5, 3)) * 3, rng.integers(0, 2, (5, 3))
    probability = 1 / (1 + np.exp(-logits))
    each = -(target * np.log(probability) + (1 - target) * np.log(1 - probability))
    tensors = torch.tensor(logits).float(), torch.tensor(target).float()
    losses = row_losses(*tensors, "binary_cross_entropy", weights=weights)
    np.testing.assert_allclose(losses, (np.array(weights or (1, 1, 1)) * each).mean(1), rtol=1e-5)


def test_mean_squared_error_agrees_with_float64():
    rng = np.random.default_rng(0)
    values, target = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    losses = row_losses(torch.tensor(values).float(), torch.tensor(target).float(), "mean_squared_error")
    np.testing.assert_allclose(losses, ((values - target) ** 2).mean(1), rtol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_loss_is_the_cross_entropy_of_what_predict_gives(encoder):
    model, data = make(encoder), labelled_batch(3)
    data["weight_B"] = torch.tensor([0.2, 0.5, 0.1])
    loss = model(data)["loss"]
    scores = model.eval().predict(data["clip_BRTHWC"][:, 0])
    torch.testing.assert_close(loss, -(data["weight_B"][:, None] * data["target_BK"] * scores.log()).sum())


def test_several_labels_under_cross_entropy_share_a_weight_of_one():
    model, data = make(task="multi_label"), labelled_batch(3)
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    loss = model(data | {"target_BK": (shares > 0).float()})["loss"]
    torch.testing.assert_close(loss, make()(data | {"target_BK": shares})["loss"])


@pytest.mark.parametrize("repeats", [1, 3])
def test_augmentations_of_a_clip_share_its_weight(repeats):
    model, data = make(), labelled_batch(2, repeats=repeats)
    each = [model(data | {"clip_BRTHWC": data["clip_BRTHWC"][:, r : r + 1]})["loss"] for r in range(repeats)]
    torch.testing.assert_close(model(data)["loss"], sum(each) / repeats)


def test_augmentations_of_a_clip_are_mixed_with_those_of_others():
    model, targets = make(**MIXES), []
    model.mixing.register_forward_pre_hook(lambda _, arguments: targets.append(arguments[1]))
    model(labelled_batch(3, repeats=2))
    assert len(targets[0]) == 6
    assert not (targets[0] == targets[0].roll(1, 0)).all(1).any()


@pytest.mark.parametrize(
    ("encoder", "options"),
    [("lgi_former_nano", {"global_pool": "local"}), ("lgi_former_nano", {}), ("video_vit_nano", {})],
)
def test_every_parameter_gets_a_gradient(encoder, options):
    model = make(encoder, **MIXES, **options)
    _, found = gradients(model, labelled_batch(3))
    # Pooled representative tokens do not see the last block's interaction, which changes the local ones alone.
    last = f"encoder.blocks.{len(model.encoder.blocks) - 1}"
    unused = (f"{last}.interaction", f"{last}.local_norm", f"{last}.representative_norm")
    for name, _ in model.named_parameters():
        assert found[name].any() != (name.startswith(unused) and not options), name


@pytest.mark.parametrize("options", [{}, MIXES])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_rejected_and_padding_rows_change_nothing(encoder, options):
    model, data = make(encoder, **options).double(), labelled_batch(3)
    padded = {name: value[[1, 0, 1, 0, 2]] for name, value in data.items()}
    padded["clip_BRTHWC"][[0, 3]] = 0
    padded["target_BK"][[0, 3]] = 0
    padded["weight_B"] = torch.tensor([0, 1 / 3, 1 / 3, 0, 1 / 3])
    torch.testing.assert_close(gradients(model, padded), gradients(model, data), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_rejected_rows_hold_reaches_nothing(encoder):
    model, data = make(encoder, **NOISE), labelled_batch(4, repeats=2)
    data["weight_B"] = torch.tensor([0.5, 0.0, 0.5, 0.0])
    other = {name: value.clone() for name, value in data.items()}
    other["clip_BRTHWC"][[1, 3]] = 255 - other["clip_BRTHWC"][[1, 3]]
    other["target_BK"][[1, 3]] = 1000.0
    torch.testing.assert_close(gradients(model, other), gradients(model, data), rtol=0, atol=0)


def test_a_batch_of_rejected_rows_has_no_loss_and_no_gradient():
    data = labelled_batch(3)
    data = {name: torch.zeros_like(value) for name, value in data.items()}
    loss, found = gradients(make(**NOISE), data)
    assert loss == 0
    assert not any(gradient.any() for gradient in found.values())


def test_the_seed_decides_what_is_drawn_in_training_and_nothing_is_drawn_in_evaluation():
    model, data = make(**NOISE), labelled_batch(4, repeats=2)
    first, again, other = (gradients(model, data, seed=seed) for seed in (5, 5, 6))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert first[0] != other[0]
    model.eval()
    losses = {gradients(model, data, seed=seed)[0].item() for seed in (5, 6)}
    assert losses == {make(label_smoothing=0.1).eval()(data)["loss"].item()}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_predictions_do_not_depend_on_options_of_training(encoder):
    noisy, plain = (make(encoder, **options).eval() for options in (NOISE | {"class_weights": (1.0, 2.0, 3.0)}, {}))
    assert torch.equal(noisy.predict(clips(2)), plain.predict(clips(2)))
    noisy.train()
    with pytest.raises(ValueError, match="the encoder is in training mode"):
        noisy.predict(clips(2))


@pytest.mark.parametrize(("task", "apply"), [("classes", "softmax"), ("multi_label", "sigmoid"), ("regression", "")])
def test_scores_are_probabilities_or_values(task, apply):
    model = make(**LOSSES[task]).eval()
    logits = model.encoder.head(model.features(clips(2)))
    expected = {"softmax": logits.softmax(1), "sigmoid": logits.sigmoid(), "": logits}[apply]
    scores = model.predict(clips(2))
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    torch.testing.assert_close(scores, expected.detach())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_under_bf16_the_loss_is_float32_and_near(encoder):
    model, data = make(encoder, label_smoothing=0.1), labelled_batch(3)
    expected = model(data)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = gradients(model, data)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_step_on_a_gpu_waits_for_no_value_but_what_torchvision_draws_on_the_host(encoder):
    model, data = make(encoder, class_weights=(1.0, 2.0, 3.0)), labelled_batch(3)
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with FakeTensorMode():  # tensors without values: reading one on the host is an error
        gpu_state, gpu_data = ({k: as_gpu(v) for k, v in tensors.items()} for tensors in (state, data))
        assert functional_call(model, gpu_state, (gpu_data,))["loss"].device.type == "cuda"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_layers_learn_slower_the_deeper_they_lie_and_each_parameter_once(encoder):
    model = make(encoder, layer_decay=0.5)
    groups = model.parameter_groups(0.05)
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))
    names = [group["name"] for group in groups]
    assert names == sorted(names)
    depth = len(model.encoder.blocks)
    assert {g["lr_scale"] for g in groups} == {0.5**n for n in range(depth + 2)}


def test_a_head_alone_is_trained_on_features_that_stay():
    model, data = make(trained="head", layer_decay=1.0), labelled_batch(3)
    before = model.eval().features(clips(2))
    (decay, free) = model.train().parameter_groups(0.05)
    assert decay["params"] == [model.encoder.head.weight]
    assert {id(p) for p in free["params"]} == {
        id(p) for p in (model.encoder.head.bias, *model.encoder.fc_norm.parameters())
    }
    _, found = gradients(model, data)
    assert set(found) == {f"encoder.{name}" for name in ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")}
    assert torch.equal(model.eval().features(clips(2)), before)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_activation_checkpointing_changes_no_gradient(encoder):
    data, options = labelled_batch(3), NOISE
    results = [gradients(make(encoder, activation_checkpointing=on, **options), data) for on in (False, True)]
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_init_leaves_nothing_unwritten_also_from_the_meta_device():
    with torch.device("meta"):
        model = build(fine_tuning_config(**NOISE))
    model = model.to_empty(device="cpu")
    fill_with_nan(model)
    model.init_weights()
    check_complete(model)


def test_the_base_model_of_seven_classes_has_the_released_number_of_parameters():
    with torch.device("meta"):
        model = build(FineTuningConfig(classes=tuple("abcdefg")))
    assert count_parameters(model) == 84_878_343


def test_clips_that_are_not_uint8_are_refused():
    data = labelled_batch(1)
    with pytest.raises(ValueError, match=r"clips must be uint8 RGB, these are torch\.float32"):
        make()(data | {"clip_BRTHWC": data["clip_BRTHWC"].float()})


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_tiny_model_learns_eight_clips(encoder):
    geometry = ClipGeometry(frames=4, height=32, width=32)
    model = make(encoder, head=None, geometry=geometry, region=(2, 1, 2))
    data = {
        "clip_BRTHWC": clips(8, geometry=geometry)[:, None],
        "target_BK": torch.eye(len(CLASSES))[torch.arange(8) % len(CLASSES)],
        "weight_B": torch.full((8,), 1 / 8),
    }
    groups = [group | {"lr": 1e-3 * group["lr_scale"]} for group in model.parameter_groups(0.05)]
    optimizer = torch.optim.AdamW(groups)
    for _ in range(60):
        optimizer.zero_grad()
        model(data)["loss"].backward()
        optimizer.step()
    scores = model.eval().predict(data["clip_BRTHWC"][:, 0])
    assert torch.equal(scores.argmax(1), data["target_BK"].argmax(1))


@pytest.mark.parametrize("task", ["concordance", "affect"])
def test_a_global_loss_draws_the_same_for_its_sums_and_for_its_gradient(task):
    model, data = make(**LOSSES[task], mixup=0.8, drop_path=0.3), labelled_batch(4)
    data["target_BK"] = torch.rand(4, 3) * 2 - 1
    data["weight_B"] = torch.full((4,), 0.25)
    torch.manual_seed(5)
    sums = model.statistics(data)
    torch.manual_seed(5)
    told, target, weight = model._outcome(data)
    torch.testing.assert_close(sums, batch_statistics(told, target, weight, loss_groups(model.config)))
    torch.manual_seed(5)
    losses = model(data | {"statistics_S": sums})
    losses["loss"].backward()
    torch.testing.assert_close(losses["loss"], total_loss(told, target, weight, sums, model.config)["loss"])
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_losses_of_single_rows_need_no_sums():
    assert not hasattr(make(), "statistics")
    assert not isinstance(make(), GlobalLoss) and isinstance(make(**LOSSES["concordance"]), GlobalLoss)

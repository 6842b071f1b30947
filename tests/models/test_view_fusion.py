from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.view_fusion import KeyGenerator, ViewFusion
from tests.models.feature_samples import FUSIONS, views

WIDTH = 8


def fusion(name: str = "concat") -> ViewFusion:
    torch.manual_seed(0)
    return ViewFusion(WIDTH, views(name)).double()


def two_views(frames: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(2, frames, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64).unbind()


@pytest.mark.parametrize(("name", "layers"), [("mean", 1), ("concat", 1), ("updown_mean", 2), ("updown_concat", 3)])
def test_the_key_generator_has_as_many_dense_layers_as_the_paper_says(name, layers):
    generator = KeyGenerator(name, WIDTH)
    assert sum(isinstance(part, nn.Linear) for part in generator.modules()) == layers
    widths = [part.out_features for part in generator.modules() if isinstance(part, nn.Linear)]
    assert max(widths) == (2 * WIDTH if name.startswith("updown") else WIDTH)
    assert widths[-1] == WIDTH


@pytest.mark.parametrize("name", FUSIONS)
def test_a_frame_agrees_with_numpy_token_by_token(name):
    model, (strong, weak) = fusion(name), two_views()
    groups, heads, token = model.groups, model.heads, WIDTH // model.groups
    part = token // heads
    weight, bias = model.local.weight.detach().numpy(), model.local.bias.detach().numpy()
    for n in range(len(strong)):
        x, y = strong[n].numpy().reshape(groups, token), weak[n].numpy().reshape(groups, token)
        both = np.pad(np.concatenate([x, y], 1), ((1, 1), (0, 0)))
        value = np.stack([bias + sum(weight[:, :, k] @ both[g + k] for k in range(3)) for g in range(groups)])
        key = model.key(strong[n : n + 1], weak[n : n + 1]).detach().numpy().reshape(groups, token)
        found = np.empty_like(value)
        for h in range(heads):
            columns = slice(h * part, (h + 1) * part)
            scores = x[:, columns] @ key[:, columns].T / np.sqrt(part)
            shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            found[:, columns] = shares @ value[:, columns]
        expected = strong[n].numpy() + found.reshape(-1)
        np.testing.assert_allclose(model(strong, weak)[n].detach(), expected, rtol=1e-10)


def test_mean_keys_do_not_tell_the_views_apart_and_keys_from_both_do():
    strong, weak = two_views()
    assert torch.allclose(fusion("mean").key(strong, weak), fusion("mean").key(weak, strong))
    assert not torch.allclose(fusion("concat").key(strong, weak), fusion("concat").key(weak, strong))


def test_the_skip_carries_the_stronger_view():
    model, (strong, weak) = fusion(), two_views()
    nn.init.zeros_(model.local.weight)
    nn.init.zeros_(model.local.bias)
    assert torch.equal(model(strong, weak), strong)


@pytest.mark.parametrize("name", FUSIONS)
def test_gradients_agree_with_finite_differences(name):
    model = fusion(name)
    inputs = tuple(x.requires_grad_() for x in two_views(2))
    assert torch.autograd.gradcheck(model, inputs)

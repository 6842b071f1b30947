from __future__ import annotations

import torch
from torch import nn

from models.blocks import Block, run_blocks
from models.initialisation import init_layers


def make_blocks() -> nn.ModuleList:
    torch.manual_seed(0)
    blocks = nn.ModuleList(Block(16, 2) for _ in range(3))
    init_layers(blocks, "xavier", query_apart=False)
    return blocks


def test_a_block_adds_attention_and_ffn_each_normed_before():
    block = make_blocks()[0].double()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    middle = x + block.attn(nn.functional.layer_norm(x, (16,), eps=1e-6))
    expected = middle + block.mlp(nn.functional.layer_norm(middle, (16,), eps=1e-6))
    torch.testing.assert_close(block(x), expected)


def test_the_ffn_is_four_times_as_wide_with_exact_gelu():
    mlp = make_blocks()[0].mlp
    x = torch.randn(3, 16)
    hidden = nn.functional.linear(x, mlp.fc1.weight, mlp.fc1.bias)
    assert hidden.shape == (3, 64)
    exact = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(x), nn.functional.linear(exact, mlp.fc2.weight, mlp.fc2.bias))


def kept_bytes(blocks: nn.ModuleList, x: torch.Tensor, *, recompute: bool) -> int:
    total = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        run_blocks(blocks, x, recompute=recompute)
    return total


def test_recomputing_keeps_less_and_gives_the_same_gradients():
    blocks, x = make_blocks(), torch.randn(2, 50, 16)
    gradients = []
    for recompute in (False, True):
        blocks.zero_grad()
        run_blocks(blocks, x, recompute=recompute).square().sum().backward()
        gradients.append([p.grad.clone() for p in blocks.parameters()])
    assert kept_bytes(blocks, x, recompute=True) < kept_bytes(blocks, x, recompute=False) / 3
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_drop_path_skips_branches_in_training_alone():
    torch.manual_seed(0)
    block = Block(16, 2, drop_path=0.5)
    init_layers(block, "xavier", query_apart=False)
    x = torch.randn(64, 3, 16)
    untouched = (block(x) == x).all(dim=(1, 2))
    assert 0.1 < untouched.float().mean() < 0.45  # both branches dropped: a quarter of the rows
    assert not (block.eval()(x) == x).all(dim=(1, 2)).any()

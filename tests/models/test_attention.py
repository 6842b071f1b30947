from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from models.attention import FEW_KEYS, CrossAttention, SelfAttention, scaled_product


def slow_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """One clip, one head, one query after the other."""
    size = query.shape[-1] // heads
    result = torch.zeros_like(query)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for n in range(len(query)):
            scores = torch.stack([query[n, part] @ k[part] for k in key]) / math.sqrt(size)
            share = scores.exp() / scores.exp().sum()
            result[n, part] = sum(s * v[part] for s, v in zip(share, value, strict=True))
    return result


def randomise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return module.double()


def test_self_attention_agrees_with_a_loop_over_heads_and_queries():
    attention = randomise(SelfAttention(12, 3))
    x = torch.randn(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w_query, w_key, w_value = attention.qkv.weight.split(12)
    b_query, b_value = attention.qkv.bias.split(12)
    attended = slow_attention(x @ w_query.T + b_query, x @ w_key.T, x @ w_value.T + b_value, heads=3)
    torch.testing.assert_close(attention(x[None])[0], attention.proj(attended), rtol=1e-10, atol=1e-12)


def test_cross_attention_takes_keys_and_values_from_the_context():
    attention = randomise(CrossAttention(8, 2))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 8, dtype=torch.float64, generator=generator)
    context = torch.randn(3, 8, dtype=torch.float64, generator=generator)
    w_key, w_value = attention.kv.weight.split(8)
    attended = slow_attention(attention.query(x), context @ w_key.T, context @ w_value.T + attention.kv.bias, heads=2)
    torch.testing.assert_close(attention(x[None], context[None])[0], attention.proj(attended), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("num_keys", [FEW_KEYS, FEW_KEYS + 1])
def test_few_and_many_keys_in_bf16_give_what_fp32_gives(num_keys):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 3, 5, 16, generator=generator).bfloat16()
    key, value = torch.randn(2, 2, 3, num_keys, 16, generator=generator).bfloat16()
    result = scaled_product(query, key, value)
    assert result.dtype == torch.bfloat16
    expected = scaled_product(query.float(), key.float(), value.float())
    torch.testing.assert_close(result.float(), expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("kind", [SelfAttention, CrossAttention])
def test_queries_and_values_have_a_bias_and_keys_have_none(kind):
    width = 16
    assert sum(p.numel() for p in kind(width, 2).parameters()) == 4 * width**2 + 3 * width


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width=10 is not a multiple of heads=4"):
        SelfAttention(10, 4)

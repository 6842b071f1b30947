from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.attention import CrossAttention, SelfAttention
from models.cubes import normalize_pixels, sinusoid_table, to_cubes
from models.lgi_former import LGIFormer
from models.registry import create_encoder
from tests.models.samples import GEOMETRY, REGION, SMALL_REGION, clips, visible_ids


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    q, k, v = (x.reshape(len(x), heads, -1) for x in (query, key, value))
    scores = torch.einsum("nhk,mhk->hnm", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("hnm,mhk->nhk", scores.softmax(-1), v).flatten(1)


def self_attend(module: SelfAttention, x: Tensor) -> Tensor:
    w, b, d = module.qkv.weight, module.qkv.bias, x.shape[-1]
    query, key, value = x @ w[:d].T + b[:d], x @ w[d : 2 * d].T, x @ w[2 * d :].T + b[d:]
    return module.proj(attend(query, key, value, module.heads))


def cross_attend(module: CrossAttention, x: Tensor, context: Tensor) -> Tensor:
    w, d = module.kv.weight, x.shape[-1]
    query, key, value = module.query(x), context @ w[:d].T, context @ w[d:].T + module.kv.bias
    return module.proj(attend(query, key, value, module.heads))


def region_by_hand(token: int, region: tuple[int, int, int]) -> tuple[int, int, int]:
    _, rows, columns = GEOMETRY.grid
    t, h, w = token // (rows * columns), token // columns % rows, token % columns
    return t // region[0], h // region[1], w // region[2]


def slow_features(model: LGIFormer, cubes_NK: Tensor, ids: list[int]) -> Tensor:
    """One clip, region by region, as MAE-DFER's equations 3 to 12 read: representative tokens, then local ones."""
    regions = sorted({region_by_hand(n, model.region) for n in range(GEOMETRY.num_tokens)})
    position = sinusoid_table(GEOMETRY.num_tokens, model.embed_dim).double()
    kernel = model.patch_embed.weight.permute(0, 2, 3, 4, 1).flatten(1)
    local = {n: kernel @ cubes_NK[n] + model.patch_embed.bias + position[n] for n in ids}
    representative = list(model.representative_tokens.weight)
    for block in model.blocks:
        for r, region in enumerate(regions):
            members = [n for n in ids if region_by_hand(n, model.region) == region]
            x = torch.stack([representative[r], *(local[n] for n in members)])
            x = x + self_attend(block.intra_attn, block.intra_norm(x))
            representative[r] = x[0]
            local |= dict(zip(members, x[1:], strict=True))
        s = torch.stack(representative)
        if block.has_inter:
            s = s + self_attend(block.inter_attn, block.inter_norm(s))
        x = torch.stack([local[n] for n in ids])
        if block.has_interaction:
            x = x + cross_attend(block.interaction_attn, block.local_norm(x), block.representative_norm(s))
        representative = list(s + block.mlp(block.ffn_norm(s)))
        local = dict(zip(ids, x + block.mlp(block.ffn_norm(x)), strict=True))
    return model.norm(torch.stack([*representative, *(local[n] for n in ids)]))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("region", [REGION, SMALL_REGION, (2, 1, 2), (1, 4, 1)])
@pytest.mark.parametrize("variant", ["full", "intra", "intra_inter", "intra_lgi"])
def test_features_agree_with_a_slow_float64_oracle(region, variant, masked):
    torch.manual_seed(0)
    model = create_encoder("lgi_former_nano", geometry=GEOMETRY, region=region, variant=variant).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.02, std=0.06)
    clip = normalize_pixels(clips(2)).double()
    visible = visible_ids("random", 2, region=region).long() if masked else None
    features = model.forward_features(clip, visible)
    for row in range(2):
        ids = list(range(GEOMETRY.num_tokens)) if visible is None else visible[row].tolist()
        expected = slow_features(model, to_cubes(clip, GEOMETRY)[row], ids)
        torch.testing.assert_close(features[row], expected, rtol=1e-8, atol=1e-9)


def test_visible_tokens_that_are_uneven_over_the_regions_are_refused_with_their_counts():
    model = create_encoder("lgi_former_nano", geometry=GEOMETRY, region=REGION)
    visible = visible_ids("region_tube", 3, region=REGION)
    visible[1] = torch.arange(16)  # all of the first frame: 8 in each region
    assert model.forward_features(normalize_pixels(clips(3)), visible).isfinite().all()
    visible[1] = torch.from_numpy(np.r_[0:8, 16:24])  # rows 0 and 1 of both frames: the first region alone
    with pytest.raises(ValueError, match=r"row 1 shows \[16, 0\] tokens in its regions of \(2, 2, 4\)"):
        model.forward_features(normalize_pixels(clips(3)), visible)


def test_a_region_that_does_not_tile_the_grid_is_refused():
    with pytest.raises(ValueError, match=r"region \(2, 3, 10\) does not tile the token grid \(8, 10, 10\)"):
        create_encoder("lgi_former_nano", region=(2, 3, 10))


def test_representative_or_local_tokens_are_pooled():
    clip = normalize_pixels(clips(2))
    torch.manual_seed(0)
    model = create_encoder("lgi_former_nano", geometry=GEOMETRY, region=REGION)
    tokens = model.forward_features(clip)
    torch.testing.assert_close(model(clip), tokens[:, :2].mean(1))
    model.global_pool = "local"
    torch.testing.assert_close(model(clip), tokens[:, 2:].mean(1))


def test_local_pooling_trains_the_last_interaction_too():
    model = create_encoder("lgi_former_nano", geometry=GEOMETRY, region=REGION, global_pool="local", num_classes=7)
    model(normalize_pixels(clips(2))).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_drop_path_drops_regions_within_and_clips_between_them():
    torch.manual_seed(0)
    model = create_encoder("lgi_former_nano", geometry=GEOMETRY, region=SMALL_REGION, variant="intra")
    block = model.blocks[0].train()
    block.drop_path.drop_prob = 0.5
    x = torch.randn(64, 8, 5, 128)
    kept = (block(x) == x).all(dim=(2, 3))
    assert 0.15 < kept.float().mean() < 0.35  # both branches dropped, region by region
    assert not torch.equal(kept.any(1), kept.all(1))

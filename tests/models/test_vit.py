from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

from models.cubes import normalize_pixels
from models.registry import create_encoder
from models.vit import VideoViT
from tests.models.samples import GEOMETRY, clips, visible_ids


def peer_config(**changes) -> VideoMAEConfig:
    """Hugging Face's VideoMAE in the size of video_vit_nano."""
    return VideoMAEConfig(
        image_size=64,
        num_frames=4,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=512,
        layer_norm_eps=1e-6,
        attn_implementation="eager",
        **changes,
    )


def copy_block(theirs: nn.Module, ours: nn.Module) -> None:
    """Weights of a block of Hugging Face's VideoMAE into ours."""
    attention = theirs.attention.attention
    stacked = [attention.query.weight, attention.key.weight, attention.value.weight]
    ours.attn.qkv.weight.copy_(torch.cat(stacked))
    ours.attn.qkv.bias.copy_(torch.cat([attention.query.bias, attention.value.bias]))
    pairs = {
        theirs.attention.output.dense: ours.attn.proj,
        theirs.layernorm_before: ours.norm1,
        theirs.layernorm_after: ours.norm2,
        theirs.intermediate.dense: ours.mlp.fc1,
        theirs.output.dense: ours.mlp.fc2,
    }
    for source, destination in pairs.items():
        destination.load_state_dict(source.state_dict())


@torch.no_grad()
def copy_encoder(theirs: VideoMAEModel, ours: VideoViT) -> None:
    ours.patch_embed.load_state_dict(theirs.embeddings.patch_embeddings.projection.state_dict())
    for source, destination in zip(theirs.encoder.layer, ours.blocks, strict=True):
        copy_block(source, destination)
    if theirs.layernorm is not None:
        ours.norm.load_state_dict(theirs.layernorm.state_dict())


def randomise(module: nn.Module) -> None:
    """Values that leave no bias and no norm at a neutral value."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, mean=0.02, std=0.05, generator=generator)


@pytest.mark.parametrize("policy", [None, "tube", "random"])
def test_features_agree_with_hugging_face(policy):
    theirs = VideoMAEModel(peer_config(use_mean_pooling=False)).eval()
    randomise(theirs)
    ours = create_encoder("video_vit_nano", geometry=GEOMETRY)
    copy_encoder(theirs, ours)
    clip = normalize_pixels(clips(2))
    visible = masked = None
    if policy is not None:
        visible = visible_ids(policy, 2, region=GEOMETRY.grid).long()
        masked = torch.ones(2, GEOMETRY.num_tokens, dtype=torch.bool).scatter_(1, visible, False)
    expected = theirs(clip.permute(0, 1, 4, 2, 3), bool_masked_pos=masked).last_hidden_state
    torch.testing.assert_close(ours.forward_features(clip, visible), expected, rtol=1e-4, atol=1e-5)


def test_logits_agree_with_hugging_face():
    theirs = VideoMAEForVideoClassification(peer_config(num_labels=7)).eval()
    randomise(theirs)
    theirs.fc_norm.eps = 1e-6
    ours = create_encoder("video_vit_nano", geometry=GEOMETRY, num_classes=7)
    copy_encoder(theirs.videomae, ours)
    ours.fc_norm.load_state_dict(theirs.fc_norm.state_dict())
    ours.head.load_state_dict(theirs.classifier.state_dict())
    clip = normalize_pixels(clips(2))
    torch.testing.assert_close(ours(clip), theirs(clip.permute(0, 1, 4, 2, 3)).logits, rtol=1e-4, atol=1e-5)

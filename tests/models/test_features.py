from __future__ import annotations

import pytest
import torch

from models.cubes import normalize_pixels
from models.features import pooled_features, token_features
from models.fine_tuning import build
from models.masked_autoencoder import build as build_autoencoder
from tests.models.samples import clips, config, fine_tuning_config


@pytest.mark.parametrize("encoder", ["lgi_former_nano", "video_vit_nano"])
def test_features_of_a_pretrained_encoder_are_all_it_gives(encoder):
    model = build_autoencoder(config(encoder)).encoder.eval()
    assert torch.equal(pooled_features(model, clips(2)), model(normalize_pixels(clips(2))))


@pytest.mark.parametrize("encoder", ["lgi_former_nano", "video_vit_nano"])
def test_features_of_a_classifier_are_what_its_head_reads(encoder):
    model = build(fine_tuning_config(encoder)).encoder.eval()
    assert torch.equal(model.head(pooled_features(model, clips(2))), model(normalize_pixels(clips(2))))


@pytest.mark.parametrize("encoder", ["lgi_former_nano", "video_vit_nano"])
def test_token_features_are_the_pooled_ones_and_the_mean_of_every_quarter_at_every_step(encoder):
    model = build_autoencoder(config(encoder)).encoder.eval()
    found = token_features(model, clips(2))
    t, h, w = model.geometry.grid
    assert found.shape == (2, 1 + 4 * t, model.embed_dim) and found.dtype == torch.float16
    torch.testing.assert_close(found[:, 0].float(), pooled_features(model, clips(2)), atol=2e-3, rtol=2e-3)
    tokens = model.forward_features(normalize_pixels(clips(2)))[:, model.num_prefix_tokens :].unflatten(1, (t, h, w))
    last = tokens[:, -1, h // 2 :, w // 2 :].mean((1, 2))
    torch.testing.assert_close(found[:, -1].float(), last, atol=2e-3, rtol=2e-3)


def test_noisy_features_and_clips_that_are_not_uint8_are_refused():
    model = build(fine_tuning_config()).encoder
    with pytest.raises(ValueError, match="the encoder is in training mode"):
        pooled_features(model, clips(1))
    with pytest.raises(ValueError, match=r"clips must be uint8 RGB, these are torch\.float32"):
        pooled_features(model.eval(), clips(1).float())

"""What an encoder makes of clips, for whoever reads frozen features: probes, pictures, neighbours."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d

from models.cubes import normalize_pixels
from models.encoder import VideoEncoder

MOST_STEPS, QUARTERS = 16, (2, 2)
"""Time steps that token features tell apart at most, and parts of the picture by rows and columns."""


def normalized_clips(clip_BTHWC: Tensor) -> Tensor:
    """Clips as encoders eat them (models.cubes.normalize_pixels). Raises ValueError unless they are uint8."""
    if clip_BTHWC.dtype != torch.uint8:
        raise ValueError(f"clips must be uint8 RGB, these are {clip_BTHWC.dtype}")
    return normalize_pixels(clip_BTHWC)


def pooled_features(encoder: VideoEncoder, clip_BTHWC: Tensor) -> Tensor:
    """Pooled, normed features, float32 [B, D], of uint8 clips: all that a pre-trained encoder gives, and what the head
    of a classifier reads. Raises ValueError unless the encoder is in evaluation mode: drop path is noise."""
    return _pooled(encoder, _tokens(encoder, clip_BTHWC))


def token_features(encoder: VideoEncoder, clip_BTHWC: Tensor) -> Tensor:
    """First what `pooled_features` gives, then the mean token of each quarter of the picture at each time step (at most
    16, the last quarter of the last step last), float16 [B, 1 + V, D]. Raises as `pooled_features`."""
    tokens_BND = _tokens(encoder, clip_BTHWC)
    t, h, w = encoder.geometry.grid
    grid_BDTHW = rearrange(tokens_BND[:, encoder.num_prefix_tokens :], "b (t h w) d -> b d t h w", t=t, h=h, w=w)
    mean_BDTHW = adaptive_avg_pool3d(grid_BDTHW.float(), (min(t, MOST_STEPS), *QUARTERS))
    mean_BVD = rearrange(mean_BDTHW, "b d t h w -> b (t h w) d")
    return torch.cat([_pooled(encoder, tokens_BND)[:, None], mean_BVD], dim=1).half()


def _tokens(encoder: VideoEncoder, clip_BTHWC: Tensor) -> Tensor:
    if encoder.training:
        raise ValueError("the encoder is in training mode, where features are noisy; call eval() first")
    return encoder.forward_features(normalized_clips(clip_BTHWC))


def _pooled(encoder: VideoEncoder, tokens_BND: Tensor) -> Tensor:
    return encoder.fc_norm(encoder.pool(tokens_BND)).float()

"""Random erasing, mixup and cutmix of a micro-batch, where its pixels are: torchvision's, on clips.

Papers: Random Erasing (arXiv 1708.04896), mixup (1710.09412), CutMix (1905.04899), as VideoMAE's fine-tuning uses them
(github.com/MCG-NJU/VideoMAE): erasing per clip, one box for all frames and noise for every pixel, then one choice of
mixup or cutmix and one share for the whole micro-batch. What is drawn comes from torch's global generator.

Differences from VideoMAE's code:
- A clip is mixed with the one before it, not with the one at its mirrored place. What weighs nothing is mixed into
  none (real_rows_first).
- Cutmix cuts rows and columns. There, in the mode for whole batches, the box is applied to frames and rows, and the
  share of the label is still that of the box.
- A rectangle that is too large for the frame is drawn again up to 10 times; there 100 times.
Shape letters beside those of models.tokens: F = T x C, the planes of a clip.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torchvision.transforms import v2

from models.config import FineTuningConfig

ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 1 / 0.3)


class Mixing(nn.Module):
    """Erases in normalised clips and mixes them and their targets. Has no parameters."""

    def __init__(self, config: FineTuningConfig) -> None:
        super().__init__()
        kinds = {v2.MixUp: config.mixup, v2.CutMix: config.cutmix}
        with torch.device("cpu"):  # they draw on the host, also for a model that is built elsewhere
            erase = v2.RandomErasing(config.erasing, ERASED_AREA, ERASED_ASPECT, value="random", inplace=True)
            mixes = [kind(alpha=alpha) for kind, alpha in kinds.items() if alpha]
        shares = [1 - config.cutmix_share, config.cutmix_share] if len(mixes) == 2 else None
        self.erase = erase if config.erasing else None
        self.mix = v2.RandomApply([v2.RandomChoice(mixes, shares)], config.mix_probability) if mixes else None

    @torch.compiler.disable  # numbers drawn on the host would be constants of what is compiled
    def forward(self, clip_BTHWC: Tensor, target_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Other clips and targets, of the same shapes, from normalised clips and the targets of their rows."""
        # Frames become planes of one picture: they share what is cut, and each gets noise of its own.
        planes_BFHW = rearrange(clip_BTHWC, "b t h w c -> b (t c) h w").contiguous()
        if self.erase is not None:
            for planes_FHW in planes_BFHW:
                self.erase(planes_FHW)
        if self.mix is not None:
            planes_BFHW, target_BK = self.mix(planes_BFHW, target_BK)
        return rearrange(planes_BFHW, "b (t c) h w -> b t h w c", c=clip_BTHWC.shape[-1]), target_BK


def real_rows_first(weight_B: Tensor) -> tuple[Tensor, Tensor]:
    """Rows to take, int64 [B], and their weights: those that weigh something, in their order, and then the last of them
    again, at no weight, in place of each that weighs nothing. No value is read on the host, which would make a GPU
    wait."""
    is_real_B = weight_B > 0
    place_B = torch.arange(len(weight_B), device=weight_B.device)
    num_real = is_real_B.sum()
    order_B = is_real_B.int().argsort(descending=True, stable=True)
    row_B = order_B[torch.minimum(place_B, (num_real - 1).clamp(min=0))]
    return row_B, weight_B[row_B] * (place_B < num_real)

"""Masked autoencoder across views: how MAURA reconstructs multiple angles (3.2, 3.5, 3.6, 4.3 of "Video Representation
Learning for Conversational Facial Expression Recognition Guided by Multiple View Reconstruction").

The encoder sees the visible cubes of one view, the decoder draws the cubes of a target view at the same instants; both
may be the same view. The target is VideoMAE's: MAURA reconstructs "the normalized target video cube patches", each
normalised by its own statistics. Shape letters beside those of models.tokens: P predicted tokens.

The paper contradicts itself or is silent on three points, which are switches of models.config.MultiViewConfig:
- loss_tokens: Eq. 1 sums over the set of all tokens, its text speaks of masked ones. With another target view the
  visible positions, too, hold pixels that the encoder has not seen.
- target_view_embedding: the paper's decoder is not told which view to draw (off), so its best answer is a mean over
  views. Learned, a vector per view is added to all of the decoder's tokens: to mask tokens, which become that view, and
  to visible ones, which must be read as another view's and with loss_tokens=all become that view as well.
- position_embedding: learned in the paper, fixed sinusoids in the code it builds on.
The decoder's width is not given: here it is VideoMAE-B's 384, and "ViT-B" with 4 blocks is not taken to mean 768.
Parameters: encoder 87,431,424, decoder 8,290,944, total 96,017,280 with the linear map between them; these are
VideoMAE-B's 94,210,944 and 1568 learned positions in either.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.checks import is_broken
from models.config import MultiViewConfig
from models.masked_autoencoder import Cut, MaskedAutoencoder, uint8_cubes


def build(config: MultiViewConfig) -> MultiViewAutoencoder:
    """The model with weights drawn from torch's global generator."""
    return MultiViewAutoencoder(config)


class MultiViewAutoencoder(MaskedAutoencoder):
    """As its base, on a batch that is a models.tokens.MultiViewBatch: the target comes from target_BTHWC.

    ValueError for a target view that has no embedding (on CUDA see models.checks), if the decoder is told views.
    """

    config: MultiViewConfig

    @torch.no_grad()
    def reconstruct(
        self, clip_BTHWC: Tensor, visible_BV: Tensor, target_view_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As the base class. A picture puts the predictions over the input clip if that is the target view, and over
        nothing if it is another: the visible pixels are no part of that view.

        Args:
            target_view_B: the view to draw of each row. A decoder that is not told views has one answer for all.
        """
        cut = super()._cut({"clip_BTHWC": clip_BTHWC, "visible_BRV": visible_BV[:, None]})
        return self._in_order(cut._replace(view_B=self._told(target_view_B, num_masks=1)))

    def _cut(self, batch: dict[str, Tensor]) -> Cut:
        return (
            super()
            ._cut(batch)
            ._replace(
                target_cubes=uint8_cubes(batch["target_BTHWC"], self.config.geometry),
                view_B=self._told(batch["target_view_B"], num_masks=batch["visible_BRV"].shape[1]),
            )
        )

    def _told(self, target_view_B: Tensor | None, *, num_masks: int) -> Tensor | None:
        """What the decoder is told of the target views, once for each mask; None: nothing."""
        if self.config.target_view_embedding == "off":
            return None
        if target_view_B is None:
            raise ValueError("give target_view_B: target_view_embedding=learned draws the view it is told")
        rule = f"target views are 0 to {self.config.num_views - 1}, as many as num_views says"
        if is_broken(rule, (target_view_B < 0) | (target_view_B >= self.config.num_views)):
            raise ValueError(f"target views {target_view_B.tolist()}: {rule}")
        return target_view_B.long().repeat_interleave(num_masks)

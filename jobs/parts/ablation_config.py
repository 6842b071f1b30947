"""The config of `jobs/ablate_mead.py`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import tyro

from jobs.parts.mead_config import MeadPretrainConfig
from pipelines.au_masks import DEFAULT_DILATION

BASELINE, UNTRAINED = "videomae", "random init"
UNITS = "annotated action units"
"""Their mean scores over a whole video instead of features: what a probe could reach, as far as they are true."""
ARMS: dict[str, dict[str, str]] = {
    BASELINE: {"target_views": "same", "keep": "nothing"},
    "MAU": {"target_views": "same", "keep": "unit"},
    "RA": {"target_views": "other", "keep": "nothing"},
    "MAU + RA": {"target_views": "other", "keep": "unit"},
}
"""What is pre-trained: the rows of MAURA's Table 3. Masks that keep an active unit (MAU), another view as the target
(RA), both or neither."""


@dataclass(frozen=True)
class AblationConfig:
    """Every arm is pre-trained with every seed, and a linear probe reads emotions off its frozen features."""

    recipe: tyro.conf.Suppress[str]
    pretrain: MeadPretrainConfig
    """What all arms share; their masks and targets differ, and their seeds."""
    seeds: int = 5
    """Seeds 0, 1, ... of every arm; the untrained encoder is the one the arms of that seed began with."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds} must be at least 1")
        for name in ("stop_at_step", "overfit", "init_from"):
            if getattr(self.pretrain, name) is not None:
                raise ValueError(f"pretrain.{name} would leave nothing to compare; leave it out")
        if self.pretrain.transfer.corpus is not None:
            raise ValueError("pretrain.transfer has no effect: every arm is probed at its end; leave it out")
        if self.pretrain.choice.without_fold is not None:
            raise ValueError("pretrain.choice.without_fold: all folds are probed, so all are trained on; leave it out")
        for name, value, own in (
            ("seed", self.pretrain.seed, 0),
            ("target_views", self.pretrain.target_views, "other"),
            ("mask.keep", self.pretrain.mask.keep, "unit"),
        ):
            if value != own:
                raise ValueError(f"pretrain.{name}={value} has no effect: every arm has its own; leave it out")
        list(self.runs())

    def runs(self) -> Iterator[tuple[str, int, MeadPretrainConfig]]:
        """Arm, seed and config of all that is pre-trained, seed by seed."""
        for seed in range(self.seeds):
            for arm, values in ARMS.items():
                keeps_unit = values["keep"] == "unit"
                dilation = self.pretrain.mask.dilation if keeps_unit else DEFAULT_DILATION
                mask = replace(self.pretrain.mask, keep=values["keep"], dilation=dilation)
                yield arm, seed, replace(self.pretrain, seed=seed, mask=mask, target_views=values["target_views"])

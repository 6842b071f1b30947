"""The config of `jobs/train_head.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cluster.config import OptimizerConfig
from jobs.parts.fold_config import FoldConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.postprocessing_config import PostprocessingConfig
from models.head_config import FeatureHeadConfig
from pipelines.feature_store import Missing
from pipelines.sequences import WindowConfig


@dataclass(frozen=True)
class HeadConfig(FoldConfig):
    """A head trained on the features of frames, over the folds of a protocol."""

    JOB: ClassVar[str] = "train_head"
    PLACEMENT: ClassVar[tuple[str, ...]] = (*FoldConfig.PLACEMENT, "validation_windows", "postprocessing")
    RESULTS: ClassVar[str] = "heads"
    SCORING: ClassVar[tuple[str, ...]] = ("postprocessing",)

    corpus: LabelledCorpusConfig = field(default_factory=lambda: LabelledCorpusConfig(name="aff_wild2"))
    features: tuple[str, ...] = ()
    """Addresses of feature stores, as jobs/extract_features.py prints them; their features stand side by side."""
    window: WindowConfig = field(default_factory=WindowConfig)
    missing: Missing = "nearest"
    """What stands for a frame without features. nearest: those of the nearest frame (NetEase 3.2); hold: of the one
    before; mask: zeros."""
    model: FeatureHeadConfig = field(default_factory=FeatureHeadConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            base_lr=2.4e-4, min_lr=0.0, global_batch=32, epochs=20, warmup_epochs=1.0, weight_decay=1e-5
        )
    )
    validation_windows: int = 64
    """Windows of validation videos that are scored while training; of more, so many spread evenly."""
    postprocessing: PostprocessingConfig = field(default_factory=PostprocessingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("validation_windows")
        self.postprocessing.check(self.evaluation)
        if len(set(self.features)) < len(self.features):
            raise ValueError(f"features={self.features} must be different stores")
        if self.corpus.annotations is not None:
            raise ValueError("corpus.annotations has no effect on features; leave it out")

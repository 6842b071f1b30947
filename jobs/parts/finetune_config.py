"""The config of `jobs/finetune.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cluster.config import OptimizerConfig
from jobs.parts.fold_config import FoldConfig
from models.config import FineTuningConfig
from pipelines.alignment import AlignConfig
from pipelines.augmentation import AugmentationConfig
from pipelines.clips import ClipConfig
from pipelines.face_parts import FacePartsConfig
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.transforms import CropConfig


@dataclass(frozen=True)
class FinetuneConfig(FoldConfig):
    """Fine-tuning of an encoder on labelled face video or images, over the folds of a protocol."""

    JOB: ClassVar[str] = "finetune"
    PLACEMENT: ClassVar[tuple[str, ...]] = (*FoldConfig.PLACEMENT, "test_clips", "validation_clips")
    RESULTS: ClassVar[str] = "finetunings"
    SCORING: ClassVar[tuple[str, ...]] = ("test_clips",)

    clip: ClipConfig = field(default_factory=ClipConfig)
    crop: CropConfig | AlignConfig = field(default_factory=lambda: CropConfig(window=None))
    parts: FacePartsConfig | None = None
    """Eyes, nose or mouth shown instead of the face (Emotic-MAE Table 1); None: the face."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    repeats: int = 1
    """Augmentations of each decoded clip (repeated augmentation)."""
    model: FineTuningConfig = field(default_factory=FineTuningConfig)
    per_class: int | None = None
    """At most so many training samples of each class, drawn by the seed once for all epochs; None: all there are."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            base_lr=1e-3, min_lr=1e-6, global_batch=96, epochs=100, betas=(0.9, 0.999)
        )
    )
    test_clips: int = 2
    """Uniformly spaced clips of each test video whose scores are averaged; equal ones are computed once."""
    validation_clips: int = 64
    """Validation videos that are scored while training, one clip each; of more, so many spread evenly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("repeats", "per_class", "test_clips", "validation_clips")
        if self.corpus.annotations is not None and not self.sample().follows_face:
            raise ValueError("corpus.annotations has no effect where crops do not follow the face; leave it out")

    def sample(self) -> LabelledSampleConfig:
        """What a sample looks like. Raises ValueError for values that do not go together."""
        return LabelledSampleConfig(
            clip=self.clip,
            crop=self.crop,
            parts=self.parts,
            augmentation=self.augmentation,
            geometry=self.model.geometry,
            repeats=self.repeats,
            seed=self.seed,
            decoder=self.decode.decoder,
        )

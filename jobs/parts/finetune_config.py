"""The config of `jobs/finetune.py`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from cluster.config import OptimizerConfig
from jobs.parts.run_config import RunConfig
from models.config import FineTuningConfig
from pipelines.alignment import AlignConfig
from pipelines.augmentation import AugmentationConfig
from pipelines.clips import ClipConfig
from pipelines.corpora.registry import LabelledName
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.transforms import CropConfig

Evaluation = Literal["paper", "clean"]


@dataclass(frozen=True)
class LabelledCorpusConfig:
    """Which labelled videos, and what of them is predicted."""

    name: LabelledName = "crema_d"
    """How its files are named and labelled; table: your own videos, with labels.csv beside them
    (pipelines/corpora/table.py)."""
    root: str | None = None
    """Directory or s3://bucket/prefix of the corpus in its official layout. None: its synthetic twin, a miniature of
    procedural faces in that layout, rendered on first use."""
    protocol: str | None = None
    """One of the corpus's protocols (its module in pipelines/corpora lists them); None: the first."""
    clips_per_class: int = 2
    """Synthetic only: clips of each class in every fold, or in the test part; of MEAD half as many for each actor."""
    exclude: str | None = None
    """Text file of subjects or videos to leave out, one per line."""
    annotations: str | None = None
    """Address of the annotations, made by jobs/annotate_faces.py, for crops that follow the face. None: where that job
    puts them; those of a synthetic twin are made of its ground truth."""

    def __post_init__(self) -> None:
        if self.is_synthetic and (self.exclude or self.annotations):
            raise ValueError(
                "corpus.exclude and corpus.annotations have no effect on a synthetic twin; leave them, or give "
                f"--corpus.root of {self.name}"
            )

        if not self.is_synthetic and self.clips_per_class != type(self).clips_per_class:
            raise ValueError(f"corpus.clips_per_class={self.clips_per_class} has no effect with a root; leave it")

    @property
    def is_synthetic(self) -> bool:
        return self.root is None

    @property
    def title(self) -> str:
        """For results: a synthetic corpus says so."""
        return f"synthetic {self.name}" if self.is_synthetic else self.name


@dataclass(frozen=True)
class FinetuneConfig(RunConfig):
    """Fine-tuning of an encoder on labelled face video, over the folds of a protocol."""

    JOB: ClassVar[str] = "finetune"
    PLACEMENT: ClassVar[tuple[str, ...]] = (*RunConfig.PLACEMENT, "test_clips", "validation_clips", "concurrent")

    corpus: LabelledCorpusConfig = field(default_factory=LabelledCorpusConfig)
    evaluation: Evaluation = "clean"
    """paper: the test videos double as validation videos, as in the papers' code; clean: subjects of the training
    videos are held out for validation. Either way the weights of the last epoch are scored."""
    validation_share: float = 0.1
    """Share of the training videos that is held out, by subject; of the clean evaluation alone, and only where a
    protocol has no validation videos of its own."""
    folds: tuple[int, ...] = ()
    """Folds that are trained, each a run of its own; none given: all of the protocol."""
    seeds: int = 1
    """Runs of each fold, with as many seeds from `seed` on."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    crop: CropConfig | AlignConfig = field(default_factory=lambda: CropConfig(window=None))
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    repeats: int = 1
    """Augmentations of each decoded clip (repeated augmentation)."""
    model: FineTuningConfig = field(default_factory=FineTuningConfig)
    class_weighting: Literal["none", "balanced"] = "none"
    """balanced: every class weighs the same in the loss, however often it is in the training videos."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            base_lr=1e-3, min_lr=1e-6, global_batch=96, epochs=100, betas=(0.9, 0.999)
        )
    )
    test_clips: int = 2
    """Uniformly spaced clips of each test video whose scores are averaged; equal ones are computed once."""
    validation_clips: int = 64
    """Validation videos that are scored while training, one clip each; of more, so many spread evenly."""
    concurrent: int | None = None
    """Runs that train at the same time; None: as many as the cluster holds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("repeats", "seeds", "test_clips", "validation_clips", "concurrent")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share} must lie in (0, 1)")
        if self.evaluation == "paper" and self.validation_share != type(self).validation_share:
            raise ValueError("validation_share has no effect on evaluation=paper; leave it")
        if len(set(self.folds)) < len(self.folds) or any(fold < 1 for fold in self.folds):
            raise ValueError(f"folds={self.folds} must be different numbers from 1 on")
        if self.class_weighting != "none" and self.model.class_weights is not None:
            raise ValueError("class_weighting and model.class_weights exclude each other; give one")
        if self.class_weighting != "none" and self.model.loss == "mean_squared_error":
            raise ValueError("class_weighting has no effect on values; leave it at none")
        if self.corpus.annotations is not None and not self.sample().follows_face:
            raise ValueError("corpus.annotations has no effect where crops do not follow the face; leave it out")

    def sample(self) -> LabelledSampleConfig:
        """What a sample looks like. Raises ValueError for values that do not go together."""
        return LabelledSampleConfig(
            clip=self.clip,
            crop=self.crop,
            augmentation=self.augmentation,
            geometry=self.model.geometry,
            repeats=self.repeats,
            seed=self.seed,
            decoder=self.decode.decoder,
        )

    def single(self, *, fold: int | None, seed: int) -> FinetuneConfig:
        """The config of one run: a fold (None where the protocol has none) and a seed."""
        return replace(self, folds=() if fold is None else (fold,), seeds=1, seed=seed)

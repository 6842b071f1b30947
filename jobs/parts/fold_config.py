"""What jobs that train and test on the folds of a protocol are configured by. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.run_config import RunConfig

if TYPE_CHECKING:
    from pipelines.labels import EvaluationProtocol

Evaluation = Literal["paper", "clean"]


@dataclass(frozen=True)
class FoldConfig(RunConfig):
    """The part of a config that such jobs have in common."""

    PLACEMENT: ClassVar[tuple[str, ...]] = (*RunConfig.PLACEMENT, "concurrent")
    RESULTS: ClassVar[str]
    """Folder of the home in which results of all folds are kept."""
    SCORING: ClassVar[tuple[str, ...]] = ()
    """Fields of PLACEMENT that the scores depend on, though what is learned does not."""

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
    class_weighting: Literal["none", "balanced"] = "none"
    """balanced: every class weighs the same in the loss, however often it is in the training videos."""
    concurrent: int | None = None
    """Runs that train at the same time; None: as many as the cluster holds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("seeds", "concurrent")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share} must lie in (0, 1)")
        if self.evaluation == "paper" and self.validation_share != type(self).validation_share:
            raise ValueError("validation_share has no effect on evaluation=paper; leave it")
        if len(set(self.folds)) < len(self.folds) or any(fold < 1 for fold in self.folds):
            raise ValueError(f"folds={self.folds} must be different numbers from 1 on")
        if self.class_weighting != "none" and self.model.class_weights is not None:
            raise ValueError("class_weighting and model.class_weights exclude each other; give one")
        if self.class_weighting != "none" and self.model.loss in ("mean_squared_error", "concordance"):
            raise ValueError("class_weighting has no effect on values; leave it at none")

    def single(self, *, fold: int | None, seed: int) -> Self:
        """The config of one run: a fold (None where the protocol has none) and a seed."""
        return replace(self, folds=() if fold is None else (fold,), seeds=1, seed=seed)

    def test_part(self, protocol: EvaluationProtocol) -> str:
        """The part that the run of one fold is tested on."""
        return str(self.folds[0]) if protocol.folds else "test"

    def training_parts(self, protocol: EvaluationProtocol) -> tuple[str, ...]:
        """The parts that the run of one fold learns from."""
        if not protocol.folds:
            return ("train",)
        return tuple(part for part in protocol.parts if part != self.test_part(protocol))

    def scored(self) -> Self:
        """`learning()` with what the scores depend on: what a result is named after."""
        return replace(self.learning(), **{name: getattr(self, name) for name in self.SCORING})

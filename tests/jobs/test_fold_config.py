"""What fine-tunings and heads share: folds, seeds and evaluation, and which values of them go together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobs.config import from_json, to_json
from jobs.parts.fold_config import FoldConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.postprocessing_config import PostprocessingConfig
from pipelines.labels import EvaluationProtocol
from tests.jobs.tiny_affect import head_config
from tests.jobs.tiny_finetuning import finetune_config

BOTH = {
    "finetune": finetune_config(LabelledCorpusConfig(name="table", root="unused")),
    "head": head_config("unused", ("store",), protocol="expr"),
}
SCORING = {"finetune": {"test_clips": 9}, "head": {"postprocessing": PostprocessingConfig(smoothing=("median:5",))}}
"""Changes what is scored of what was learned."""
IN_FOLDS = EvaluationProtocol("toy", "classes", ("calm", "glad"), folds=3)
FIXED = EvaluationProtocol("toy", "classes", ("calm", "glad"))


@pytest.fixture(params=list(BOTH))
def job(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(job: str) -> FoldConfig:
    return BOTH[job]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds=0 must be at least 1"),
        ({"concurrent": 0}, "concurrent=0 must be at least 1"),
        ({"evaluation": "clean", "validation_share": 0.0}, r"validation_share=0\.0 must lie in \(0, 1\)"),
        ({"evaluation": "clean", "validation_share": 1.0}, r"validation_share=1\.0 must lie in \(0, 1\)"),
        ({"validation_share": 0.2}, "validation_share has no effect on evaluation=paper; leave it"),
        ({"folds": (1, 1)}, r"folds=\(1, 1\) must be different numbers from 1 on"),
        ({"folds": (0,)}, "must be different numbers from 1 on"),
    ],
)
def test_values_that_do_not_go_together_are_refused(config: FoldConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


@pytest.mark.parametrize("loss", ["mean_squared_error", "concordance"])
def test_classes_are_weighed_alike_where_there_are_classes(config: FoldConfig, loss: str) -> None:
    values = replace(config.model, task="regression", loss=loss, label_smoothing=0.0)
    assert replace(config, model=values).class_weighting == "none"
    with pytest.raises(ValueError, match="class_weighting has no effect on values; leave it at none"):
        replace(config, model=values, class_weighting="balanced")
    weighed = replace(config.model, classes=("calm", "glad"), class_weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="class_weighting and model.class_weights exclude each other"):
        replace(config, model=weighed, class_weighting="balanced")


def test_several_tasks_at_once_may_be_weighed(config: FoldConfig) -> None:
    several = replace(config.model, task="affect", loss="affect", label_smoothing=0.0)
    assert replace(config, model=several, class_weighting="balanced").class_weighting == "balanced"


def test_a_run_learns_from_all_folds_but_one_and_is_tested_on_that(config: FoldConfig) -> None:
    run = config.single(fold=2, seed=7)
    assert (run.folds, run.seeds, run.seed) == ((2,), 1, 7)
    assert (run.test_part(IN_FOLDS), run.training_parts(IN_FOLDS)) == ("2", ("1", "3"))
    whole = replace(config, seeds=3).single(fold=None, seed=1)
    assert (whole.folds, whole.seeds, whole.seed) == ((), 1, 1)
    assert (whole.test_part(FIXED), whole.training_parts(FIXED)) == ("test", ("train",))


def test_what_is_scored_otherwise_was_learned_alike_and_is_another_result(job: str, config: FoldConfig) -> None:
    other = replace(config, **SCORING[job])
    assert other.learning() == config.learning() and other.scored() != config.scored()
    moved = replace(config, concurrent=2, stop_at_step=1)
    assert moved.scored() == config.scored()
    assert replace(config, seeds=2).scored() != config.scored()
    assert from_json(type(config), to_json(other)) == other

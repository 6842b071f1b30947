"""Which values of a fine-tuning go together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobs.config import from_json, to_json
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from models.config import FineTuningConfig
from tests.jobs.tiny_finetuning import finetune_config

CORPUS = LabelledCorpusConfig(name="table", root="unused")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repeats": 0}, "repeats=0 must be at least 1"),
        ({"seeds": 0}, "seeds=0"),
        ({"test_clips": 0}, "test_clips=0"),
        ({"validation_clips": 0}, "validation_clips=0"),
        ({"concurrent": 0}, "concurrent=0"),
        ({"validation_share": 1.0, "evaluation": "clean"}, r"validation_share=1\.0 must lie in \(0, 1\)"),
        ({"validation_share": 0.2}, "validation_share has no effect on evaluation=paper"),
        ({"folds": (0,)}, "must be different numbers from 1 on"),
        ({"folds": (2, 2)}, "must be different numbers from 1 on"),
        (
            {
                "class_weighting": "balanced",
                "model": FineTuningConfig(classes=("a", "b"), class_weights=(1.0, 2.0)),
            },
            "exclude each other",
        ),
        (
            {
                "class_weighting": "balanced",
                "model": FineTuningConfig(task="regression", loss="mean_squared_error", label_smoothing=0.0),
            },
            "class_weighting has no effect on values",
        ),
        ({"corpus": replace(CORPUS, annotations="faces")}, "corpus.annotations has no effect where crops do not"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    config = finetune_config(CORPUS)
    if "model" in changes:
        mixed = {"mixup": 0.0, "cutmix": 0.0} if changes["model"].task == "regression" else {}
        changes = changes | {
            "model": replace(changes["model"], geometry=config.model.geometry, region=(2, 2, 4), **mixed)
        }
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


@pytest.mark.parametrize("changes", [{"exclude": "list.txt"}, {"annotations": "faces"}])
def test_exclusions_and_annotations_have_no_effect_on_a_twin(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="have no effect on a synthetic twin; leave them, or give --corpus.root"):
        LabelledCorpusConfig(**changes)


def test_how_many_clips_are_rendered_means_nothing_to_a_corpus_of_ones_own() -> None:
    with pytest.raises(ValueError, match="clips_per_class=3 has no effect with a root"):
        LabelledCorpusConfig(root="videos", clips_per_class=3)


def test_where_and_how_it_is_scored_does_not_change_what_is_learned() -> None:
    config = finetune_config(CORPUS)
    moved = replace(config, test_clips=10, validation_clips=3, concurrent=4, stop_at_step=1)
    assert moved.learning() == config.learning()
    assert config.single(fold=2, seed=7).learning() != config.single(fold=1, seed=7).learning()
    assert from_json(FinetuneConfig, to_json(config)) == config

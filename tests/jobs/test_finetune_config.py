"""Which values of a fine-tuning go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.config import from_json, to_json
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.synthetic_corpus import synthetic_place
from pipelines.storage import Storage
from tests.jobs.tiny_finetuning import finetune_config

CORPUS = LabelledCorpusConfig(name="table", root="unused")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repeats": 0}, "repeats=0 must be at least 1"),
        ({"per_class": 0}, "per_class=0 must be at least 1"),
        ({"test_clips": 0}, "test_clips=0"),
        ({"validation_clips": 0}, "validation_clips=0"),
        ({"corpus": replace(CORPUS, annotations="faces")}, "corpus.annotations has no effect where crops do not"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(finetune_config(CORPUS), **changes)


@pytest.mark.parametrize("changes", [{"exclude": "list.txt"}, {"annotations": "faces"}])
def test_exclusions_and_annotations_have_no_effect_on_a_twin(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="have no effect on a synthetic twin; leave them, or give --corpus.root"):
        LabelledCorpusConfig(**changes)


def test_how_many_clips_are_rendered_means_nothing_to_a_corpus_of_ones_own() -> None:
    with pytest.raises(ValueError, match="clips_per_class=3 has no effect with a root"):
        LabelledCorpusConfig(root="videos", clips_per_class=3)


@pytest.mark.parametrize("fields", [{"name": "crema_d"}, {"name": "aff_wild2", "root": "videos"}])
def test_how_people_speak_is_told_to_the_synthetic_aff_wild2_alone(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="corpus.audio=neutral has an effect on the synthetic aff_wild2 alone"):
        LabelledCorpusConfig(**fields, audio="neutral")


def test_people_who_speak_otherwise_are_another_twin(tmp_path: Path) -> None:
    emotional, home = LabelledCorpusConfig(name="aff_wild2"), Storage(tmp_path)
    neutral = replace(emotional, audio="neutral")
    assert synthetic_place(neutral, home).uri != synthetic_place(emotional, home).uri
    assert from_json(LabelledCorpusConfig, to_json(neutral)) == neutral


def test_where_and_how_it_is_scored_does_not_change_what_is_learned() -> None:
    config = finetune_config(CORPUS)
    moved = replace(config, test_clips=10, validation_clips=3, concurrent=4, stop_at_step=1)
    assert moved.learning() == config.learning()
    assert config.single(fold=2, seed=7).learning() != config.single(fold=1, seed=7).learning()
    assert from_json(FinetuneConfig, to_json(config)) == config

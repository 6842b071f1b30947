"""What a sweep may search, refused before anything is trained, and the command line of what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cluster.search_space import grid
from cluster.sweep_config import SearchConfig, SweepBudget
from cluster.trials import Measurement, TrialRecord
from jobs.parts.command_line import read_options
from jobs.parts.sweep_config import FinetuneSweepConfig, PretrainingSweepConfig
from jobs.parts.sweep_report import Searched, best_command, report
from jobs.parts.transfer_config import TransferConfig
from jobs.recipes import faces, finetuning, mead, sweeps, voxceleb


@pytest.mark.parametrize("name", sweeps.PRETRAINING)
def test_every_recipe_of_a_pretraining_sweep_searches_points_that_can_be_trained(name: str) -> None:
    config = sweeps.PRETRAINING[name]()
    assert config.recipe == name
    assert config.search.count(config.dimensions) >= 3
    assert sweeps.PRETRAINING[name].__doc__


@pytest.mark.parametrize("name", sweeps.FINETUNING)
def test_every_recipe_of_a_finetuning_sweep_keeps_the_test_videos_out(name: str) -> None:
    config = sweeps.FINETUNING[name]()
    assert (config.recipe, config.finetune.evaluation) == (name, "clean")


def pretraining(*space: str, **fields: Any) -> PretrainingSweepConfig:
    return replace(sweeps.nano(), space=space, **fields)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("corpus.speakers=4,8", "different videos"),
        ("optimizer.epochs=1,2", "equal samples"),
        ("passes_per_epoch=1,2", "equal samples"),
        ("workers.num_workers=1,2", "carried out"),
        ("transfer.clips=10,20", "carried out"),
        ("seed=0,1", "no choice"),
        ("mask.ratio=0.5,1.5", "mask.ratio=1.5 cannot be trained: ratio=1.5"),
        ("region=2x7x7,2x5x5", "region=2x5x5 cannot be trained"),
        ("nothing=1,2", "no field"),
        ("mask.ratio=0.5..0.9", "no end of values"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_reason(space: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pretraining(space)


def test_the_ends_of_a_range_are_tried_before_anything_is_trained() -> None:
    with pytest.raises(ValueError, match="mask.ratio=0 cannot be trained"):
        pretraining("mask.ratio=0..0.9", search=SearchConfig(method="random"))


def test_a_sweep_without_a_labelled_corpus_has_nothing_to_tell_trials_apart_by() -> None:
    pretrain = replace(sweeps.nano().pretrain, transfer=TransferConfig())
    with pytest.raises(ValueError, match="pretrain.transfer.corpus"):
        replace(sweeps.nano(), pretrain=pretrain)


def test_choosing_by_the_test_videos_is_refused() -> None:
    with pytest.raises(ValueError, match="no test left"):
        FinetuneSweepConfig(recipe="x", space=("model.mixup=0,0.8",), finetune=finetuning.dfew())


def test_a_sweep_is_the_same_whatever_its_budget_and_place() -> None:
    config = sweeps.nano()
    moved = replace(
        config,
        budget=SweepBudget(samples=10),
        concurrent=3,
        pretrain=replace(config.pretrain, workers=replace(config.pretrain.workers, num_workers=2)),
    )
    assert moved.identity() == config.identity()
    assert replace(config, space=("mask.ratio=0.5,0.6",)).identity() != config.identity()


def test_a_sweep_that_is_scored_on_something_else_is_another() -> None:
    config, tuned = sweeps.nano(), sweeps.finetuning_nano()
    elsewhere = replace(config, pretrain=replace(config.pretrain, transfer=TransferConfig(corpus="dfew")))
    assert elsewhere.identity() != config.identity()
    fewer = replace(tuned, finetune=replace(tuned.finetune, validation_clips=3))
    assert fewer.identity() != tuned.identity()


def test_the_test_videos_choose_nothing() -> None:
    with pytest.raises(ValueError, match="the test videos choose nothing"):
        replace(sweeps.finetuning_nano(), space=("evaluation=clean,paper",))


@pytest.mark.parametrize(
    ("config", "job", "recipe", "values"),
    [
        *((sweeps.nano(), "pretrain_voxceleb", voxceleb.nano, point) for point in grid(sweeps.nano().dimensions)),
        (sweeps.target_views(), "pretrain_mead", mead.maura, {"target_views": "any"}),
        (sweeps.face_mask_ratio(), "pretrain_face_images", faces.ctyunai_mae_normalized, {"mask.ratio": 0.9}),
    ],
)
def test_the_command_of_a_trial_gives_its_config(
    config: PretrainingSweepConfig, job: str, recipe: Callable[[], Any], values: dict[str, Any]
) -> None:
    words = best_command(config, values, home=None).split()
    assert words[:3] == ["python", f"jobs/{job}.py", recipe.__name__]
    assert read_options(recipe(), words[3:]).config == config.trial(values)


def test_the_command_of_a_trial_says_the_home_that_was_given() -> None:
    values = grid(sweeps.nano().dimensions)[0]
    assert best_command(sweeps.nano(), values, home="my home").endswith("--home 'my home'")


def test_a_report_says_of_every_trial_where_its_run_is() -> None:
    config = sweeps.nano()
    values = grid(config.dimensions)
    trials = [
        TrialRecord(1, values[0], "finished", (Measurement(72, 0.1), Measurement(288, 0.3))),
        TrialRecord(2, values[1], "stopped", (Measurement(72, 0.9),)),
    ]
    searched = Searched("data", 288, 1 / 6, lambda values: f"runs/{values['lambda']}")
    found = report(config, trials, searched, command=None)
    assert found["best"]["number"] == 1
    assert [trial["run_directory"] for trial in found["trials"]] == ["runs/0.25", "runs/0.75"]
    assert (found["corpus"], found["chance"]) == ("synthetic crema_d", 1 / 6)

"""The recipes: every row builds, says what it reproduces, and refuses values that do not go together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.config import from_json, to_json
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.recipes.voxceleb import RECIPES, mae_dfer_base
from pipelines.masks import MaskConfig


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_after_itself_says_what_it_reproduces_and_survives_json(name: str) -> None:
    recipe = RECIPES[name]
    config = recipe()
    assert config.recipe == name == recipe.__name__
    assert any(word in recipe.__doc__ for word in ("Table", "Figure", "No paper row"))
    assert "Cost" in recipe.__doc__ or name == "nano"
    assert from_json(PretrainConfig, to_json(config)) == config


def test_no_two_recipes_learn_the_same() -> None:
    learned = [replace(recipe().learning(), recipe="") for recipe in RECIPES.values()]
    assert all(one != other for i, one in enumerate(learned) for other in learned[:i])


def test_the_papers_numbers_stand_in_the_base_recipe() -> None:
    config = mae_dfer_base()
    assert (config.model.encoder, config.model.region, config.model.target) == ("lgi_former_base", (2, 5, 10), "joint")
    assert (config.mask.policy, config.mask.ratio) == ("region_tube", 0.9)
    assert (config.clip.frames, config.clip.stride, config.crop.size) == (16, 4, 160)
    assert config.crop.window == (0, 32, 160, 160) and config.crop.scales == (1, 0.875, 0.75, 0.66)
    optimizer = config.optimizer
    assert (optimizer.base_lr, optimizer.global_batch, optimizer.weight_decay) == (3e-4, 128, 0.05)
    assert (optimizer.betas, optimizer.warmup_epochs, optimizer.epochs, optimizer.stop_epoch) == (
        (0.9, 0.95),
        5,
        100,
        50,
    )
    assert config.checkpoint.keep_epochs == (10, 30, 50, 70)


def test_where_a_run_is_carried_out_does_not_change_what_it_learns() -> None:
    config = mae_dfer_base()
    moved = replace(config, workers=replace(config.workers, num_workers=8), stop_at_step=5)
    assert moved.learning() == config.learning()
    assert replace(config, seed=1).learning() != config.learning()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": MaskConfig(policy="tube")}, "unequal numbers"),
        ({"mask": MaskConfig(policy="region_tube", region=(1, 5, 10))}, "must be the same"),
        ({"crop": replace(mae_dfer_base().crop, size=224)}, "crop.size=224"),
        ({"clip": replace(mae_dfer_base().clip, frames=8)}, "clip.frames=8"),
        ({"overfit": 0}, "overfit=0"),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_the_field(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(mae_dfer_base(), **change)


def test_a_corpus_on_disk_needs_its_root() -> None:
    with pytest.raises(ValueError, match="corpus.root"):
        CorpusConfig(name="voxceleb2")

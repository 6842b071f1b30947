"""The recipes of fine-tuning: every row builds, fits its protocol and says what it reproduces."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from jobs.config import from_json, to_json
from jobs.parts.finetune_config import FinetuneConfig
from jobs.recipes.finetuning import RECIPES, cmu_mosei, dfew, ferv39k, mead_high, mead_low_probe, mfa
from models.tokens import check_region
from pipelines.alignment import AlignConfig

OF_PAPERS = [name for name in RECIPES if name not in ("nano", "own", "mafw_compound")]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_after_itself_gives_its_command_and_survives_json(name: str) -> None:
    recipe = RECIPES[name]
    config = recipe()
    assert config.recipe == name == recipe.__name__
    assert "python jobs/" in recipe.__doc__
    assert from_json(FinetuneConfig, to_json(config)) == config
    assert config.sample().clip_shape == (16, *2 * (config.model.geometry.height,), 3)
    if config.model.encoder.startswith("lgi_former"):
        check_region(config.model.geometry.grid, config.model.region)


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_row_of_a_paper_names_its_table_its_metric_its_number_and_its_cost(name: str) -> None:
    doc = " ".join(RECIPES[name].__doc__.split())
    assert re.search(r"(MAE-DFER|MAURA)('s)? Table \d+", doc)
    assert re.search(r"(UAR|WAR|F1|MEAD low|accuracy) \d\d\.\d", doc)
    assert "Cost: " in doc and f"python jobs/finetune.py {name} --corpus.root" in doc
    assert RECIPES[name]().evaluation == "paper"


def test_no_two_recipes_learn_the_same() -> None:
    learned = [(replace(recipe().learning(), recipe=""), recipe().test_clips) for recipe in RECIPES.values()]
    assert all(one != other for i, one in enumerate(learned) for other in learned[:i])


def test_the_numbers_of_the_papers_code_stand_in_the_base_recipe() -> None:
    config = dfew()
    model, optimizer = config.model, config.optimizer
    assert (model.encoder, model.region, config.model.geometry.height) == ("lgi_former_base", (2, 5, 10), 160)
    assert (optimizer.base_lr, optimizer.weight_decay, optimizer.betas) == (1e-3, 0.05, (0.9, 0.999))
    assert (optimizer.warmup_epochs, optimizer.epochs, model.layer_decay, model.drop_path) == (5, 100, 0.75, 0.1)
    assert (model.mixup, model.cutmix, model.label_smoothing, model.erasing) == (0.8, 1.0, 0.1, 0.25)
    assert config.augmentation.rand_augment == "rand-m7-n4-mstd0.5-inc1"
    assert (config.clip.frames, config.clip.stride, config.test_clips, config.crop.size) == (16, 4, 2, 160)
    assert ferv39k().clip.stride == 1


def test_maura_looks_at_aligned_faces_and_learns_the_positions() -> None:
    config = mead_high()
    assert isinstance(config.crop, AlignConfig) and config.sample().clip_shape == (16, 224, 224, 3)
    assert (config.model.encoder, config.model.position_embedding) == ("video_vit_base", "learned")
    assert config.clip.stride == 2 and config.corpus.protocol == "high"
    assert mead_low_probe().model.trained == "head"
    assert mfa().test_clips == 10
    assert (cmu_mosei().model.task, cmu_mosei().model.loss) == ("multi_label", "binary_cross_entropy")

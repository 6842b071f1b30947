"""The recipes of fine-tuning: every row builds, fits its protocol and says what it reproduces."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from jobs.config import from_json, to_json
from jobs.parts.finetune_config import FinetuneConfig
from jobs.recipes import frames
from jobs.recipes.finetuning import RECIPES, cmu_mosei, dfew, ferv39k, mead_high, mead_low_probe, mfa
from models.tokens import check_region
from pipelines.alignment import AlignConfig

WITHOUT_NUMBERS = ("mafw_compound", "ctyunai_frames_expr", "frames_all")
OF_PAPERS = [name for name in RECIPES if name not in ("nano", "own", "frames_nano", *WITHOUT_NUMBERS)]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_after_itself_gives_its_command_and_survives_json(name: str) -> None:
    recipe = RECIPES[name]
    config = recipe()
    assert config.recipe == name == recipe.__name__
    assert "python jobs/" in recipe.__doc__
    assert from_json(FinetuneConfig, to_json(config)) == config
    assert config.sample().clip_shape == (1 if name in frames.RECIPES else 16, *2 * (config.model.geometry.height,), 3)
    if config.model.encoder.startswith("lgi_former"):
        check_region(config.model.geometry.grid, config.model.region)


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_row_of_a_paper_names_its_table_its_metric_and_its_number(name: str) -> None:
    doc = " ".join(RECIPES[name].__doc__.split())
    assert re.search(r"(MAE-DFER|MAURA|NetEase|Emotic-MAE)('s)? Table \d+", doc)
    assert re.search(r"(UAR|WAR|F1|MEAD low|accuracy) \d\d\.\d|(F1|CCC) \.\d{3}", doc)


@pytest.mark.parametrize("name", [*OF_PAPERS, *WITHOUT_NUMBERS])
def test_a_recipe_of_a_papers_size_gives_its_cost_its_command_and_is_evaluated_as_in_the_paper(name: str) -> None:
    doc = " ".join(RECIPES[name].__doc__.split())
    assert "Cost: " in doc and f"`python jobs/finetune.py {name} --corpus.root" in doc
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


def test_the_frames_of_aff_wild2_are_tuned_as_the_three_papers_say() -> None:
    recipes = {name: recipe() for name, recipe in frames.RECIPES.items()}
    for name, batch in {"netease_frames_expr": 512, "ctyunai_frames_expr": 256, "emotic_frames_full": 512}.items():
        config = recipes[name]
        assert config.optimizer.global_batch == batch
        assert config.optimizer.base_lr * batch / 256 == pytest.approx(1e-4)
        assert (config.model.encoder, config.sample().clip_shape) == ("face_vit_base", (1, 224, 224, 3))
    weighting = {name: config.class_weighting for name, config in recipes.items()}
    assert weighting["netease_frames_expr"] == weighting["netease_frames_au"] == "balanced"
    assert {weighting[name] for name in weighting if name.startswith(("ctyunai", "emotic"))} == {"none"}
    assert recipes["netease_frames_va"].model.loss == "concordance" and weighting["netease_frames_va"] == "none"
    per_class = {name: config.per_class for name, config in recipes.items() if config.per_class is not None}
    assert set(per_class.values()) == {8000} and all(name.startswith("emotic") for name in per_class)
    assert len(per_class) == 6


def test_a_recipe_of_frames_is_taken_to_another_protocol_with_the_loss_that_it_needs() -> None:
    base = frames.netease_frames_expr()
    for protocol, (task, loss, weighting) in {
        "expr_folds": ("classes", "cross_entropy", "balanced"),
        "au": ("multi_label", "binary_cross_entropy", "balanced"),
        "va_folds": ("regression", "concordance", "none"),
        "all": ("affect", "affect", "balanced"),
    }.items():
        config = frames.for_task(base, protocol)
        assert (config.model.task, config.model.loss, config.class_weighting) == (task, loss, weighting)
        assert config.corpus.protocol == protocol and config.optimizer == base.optimizer

"""The recipes: every row builds, says what it reproduces, and refuses values that do not go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jobs.config import from_json, to_json
from jobs.parts.command_line import parse
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.parts.transfer_config import TransferConfig
from jobs.parts.video_pretraining import annotations_address, held_out
from jobs.recipes.mead import RECIPES as MEAD
from jobs.recipes.voxceleb import RECIPES, mae_dfer_base, mae_dfer_units, wild
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig
from pipelines.masks import MaskConfig

ANNOTATED = CorpusConfig(name="voxceleb2", root="s3://bucket/vox", annotations="s3://bucket/faces")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_after_itself_says_what_it_reproduces_and_survives_json(name: str) -> None:
    recipe = RECIPES[name]
    config = recipe()
    assert config.recipe == name == recipe.__name__
    assert any(word in recipe.__doc__ for word in ("Table", "Figure", "No paper row"))
    assert "Cost" in recipe.__doc__ or name == "nano"
    assert from_json(PretrainConfig, to_json(config)) == config


def test_no_recipe_measures_transfer_until_a_labelled_corpus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(recipe().transfer.corpus for recipes in (RECIPES, MEAD) for recipe in recipes.values())
    monkeypatch.setattr("sys.argv", ["job.py", "nano", "--transfer.corpus", "crema_d"])
    config = parse(RECIPES, default="nano", description="").config
    assert config.transfer == TransferConfig("crema_d") and config.learning() == RECIPES["nano"]().learning()


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
    watched = replace(config, transfer=TransferConfig("dfew", root="s3://bucket/dfew"))
    assert moved.learning() == watched.learning() == config.learning()
    assert replace(config, seed=1).learning() != config.learning()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": MaskConfig(policy="tube")}, "unequal numbers"),
        ({"mask": MaskConfig(policy="region_tube", region=(1, 5, 10))}, "must be the same"),
        ({"crop": replace(mae_dfer_base().crop, size=224)}, "crop.size=224"),
        ({"clip": replace(mae_dfer_base().clip, frames=8)}, "clip.frames=8"),
        ({"overfit": 0}, "overfit=0"),
        ({"mask": AUMaskConfig(ratio=0.009)}, "masks nothing"),
        ({"mask": AUMaskConfig(keep="nothing")}, "keep=nothing"),
        ({"crop": AlignConfig(size=150)}, "160x160 must be a square of at most crop.size=150"),
        ({"corpus": ANNOTATED}, "corpus.annotations has no effect where neither"),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_the_field(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(mae_dfer_base(), **change)


def test_masks_of_action_units_have_the_regions_of_an_lgi_former_and_none_of_a_vit() -> None:
    lgi = mae_dfer_units()
    vit = replace(lgi, model=replace(lgi.model, encoder="video_vit_base"))
    assert (lgi.unit_region, vit.unit_region, mae_dfer_base().unit_region) == ((2, 5, 10), None, None)
    assert replace(lgi, clips_per_video=3).sample().visible_shape == (3, 16 * 15)
    assert vit.sample().visible_shape == (1, 800 - 560)


@pytest.mark.parametrize("recipe", [mae_dfer_units, wild])
def test_a_recipe_that_follows_the_face_names_the_annotations_it_needs(recipe: Callable[[], PretrainConfig]) -> None:
    named, catalog = replace(recipe(), corpus=ANNOTATED), "s3://bucket/catalogs/voxceleb2-0123.parquet"
    assert held_out(named, catalog).annotations == annotations_address(named, catalog) == "s3://bucket/faces"
    beside = "s3://bucket/catalogs/annotations/voxceleb2-0123"
    assert held_out(recipe(), catalog).annotations == beside
    assert held_out(mae_dfer_base(), catalog).annotations is None


def test_in_the_wild_crops_follow_the_face_and_all_else_is_the_base_recipe() -> None:
    assert replace(wild(), recipe="mae_dfer_base", crop=mae_dfer_base().crop) == mae_dfer_base()
    assert wild().sample().needs_face and wild().sample().clip_shape == mae_dfer_base().sample().clip_shape
    both = replace(wild(), mask=AUMaskConfig())
    assert both.sample().visible_shape == mae_dfer_units().sample().visible_shape
    assert from_json(PretrainConfig, to_json(both)) == both


@pytest.mark.parametrize(
    ("recipe", "option", "value"),
    [
        ("mae_dfer_units", "--mask.policy", "tube"),
        ("mae_dfer_base", "--mask.dilation", "square"),
        ("wild", "--crop.window", "None"),
        ("mae_dfer_base", "--crop.margin", "2"),
    ],
)
def test_an_option_of_the_other_kind_of_mask_or_crop_is_refused_by_name(
    recipe: str, option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["job.py", recipe, option, value])
    with pytest.raises(SystemExit):
        parse(RECIPES, default="nano", description="")
    assert option in capsys.readouterr().err


def test_a_corpus_on_disk_needs_its_root_and_the_synthetic_one_has_its_own_annotations() -> None:
    with pytest.raises(ValueError, match="corpus.root"):
        CorpusConfig(name="voxceleb2")
    with pytest.raises(ValueError, match="corpus.annotations have no effect on the synthetic corpus"):
        CorpusConfig(annotations="s3://bucket/faces")

"""A point of a search becomes a config: any field by its name, and the names that papers give to several."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.parts.sweep_space import with_values
from jobs.recipes import finetuning, mead, voxceleb


def test_fields_take_the_values_of_a_point() -> None:
    config = with_values(voxceleb.nano(), {"mask.ratio": 0.9, "optimizer.base_lr": 0.25})
    expected = voxceleb.nano()
    expected = replace(
        expected, mask=replace(expected.mask, ratio=0.9), optimizer=replace(expected.optimizer, base_lr=0.25)
    )
    assert config == expected


@pytest.mark.parametrize(
    ("value", "recipe"), [(0, "lambda_0"), (0.25, "lambda_25"), (0.5, "mae_dfer_base"), (1.0, "lambda_1")]
)
def test_lambda_is_the_weight_of_both_targets_and_at_its_ends_one_target_alone(value: float, recipe: str) -> None:
    found = with_values(voxceleb.mae_dfer_base(), {"lambda": value})
    assert replace(found, recipe=recipe) == voxceleb.RECIPES[recipe]()


def test_a_region_is_that_of_the_encoder_and_of_the_mask() -> None:
    found = with_values(voxceleb.mae_dfer_base(), {"region": (4, 5, 10)})
    assert replace(found, recipe="region_4x5x10") == voxceleb.region_4x5x10()


def test_a_head_classifies_one_kind_of_token() -> None:
    found = with_values(finetuning.dfew(), {"head": "local"})
    assert replace(found, recipe="dfew_local_tokens", folds=(1,)) == finetuning.dfew_local_tokens()


def test_masks_that_keep_a_unit_have_fields_of_their_own() -> None:
    found = with_values(mead.maura(), {"mask.dilation": "square", "target_views": "same"})
    assert (found.mask.dilation, found.target_views) == ("square", "same")


@pytest.mark.parametrize("name", ["mask.ration", "mask", "optimizer.base_lr.x", "nothing"])
def test_a_field_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no field that can be searched"):
        with_values(voxceleb.nano(), {name: 1})


def test_a_misspelt_field_is_answered_with_one_that_is_there() -> None:
    with pytest.raises(ValueError, match=r"mask\.ratio"):
        with_values(voxceleb.nano(), {"mask.ration": 0.5})


def test_a_refused_value_is_told_of_once_and_plainly() -> None:
    with pytest.raises(ValueError, match=r"^ratio=2\.0 must lie strictly between 0 and 1$"):
        with_values(voxceleb.nano(), {"mask.ratio": 2})


def test_values_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="region"):
        with_values(voxceleb.mae_dfer_base(), {"model.region": (4, 5, 10)})

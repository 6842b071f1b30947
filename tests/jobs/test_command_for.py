"""The command line of a config: read by the parser of the jobs, it gives that config."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobs.parts.command_for import command_for
from jobs.parts.command_line import parse
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.parts.transfer_config import TransferConfig
from jobs.recipes import finetuning, mead, voxceleb
from pipelines.masks import MaskConfig

JOBS = {
    "jobs/pretrain_voxceleb.py": voxceleb.RECIPES,
    "jobs/pretrain_mead.py": mead.RECIPES,
    "jobs/finetune.py": finetuning.RECIPES,
}
EVERY_RECIPE = [(job, recipe) for job, recipes in JOBS.items() for recipe in recipes.values()]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The config that a shell's line gives."""

    def read(line: str) -> Any:
        python, job, *arguments = shlex.split(line)
        assert python == "python"
        monkeypatch.setattr("sys.argv", [job, *arguments])
        return parse(JOBS[job], default="nano", description="").config

    return read


def changed(config: Any) -> Any:
    """Floats, tuples, None, booleans, choices and text, unlike those of every recipe."""
    optimizer = replace(config.optimizer, base_lr=1.7e-5, betas=(0.8, 0.99), gradient_clip=0.3, stop_epoch=None)
    engine = replace(config.engine, compile=True, precision="fp32", zero_stage=1, micro_batch=2)
    config = replace(
        config,
        optimizer=optimizer,
        engine=engine,
        init_from='/data/my runs/it\'s "this" $one',
        telemetry=replace(config.telemetry, tensorboard=False, wandb_project="-odd name"),
        checkpoint=replace(config.checkpoint, keep_epochs=() if config.checkpoint.keep_epochs else (1, 2)),
    )
    if isinstance(config, PretrainConfig):
        return replace(config, transfer=TransferConfig("dfew", root="s3://bucket/d few"))
    return config


@pytest.mark.parametrize(("job", "recipe"), EVERY_RECIPE)
def test_every_recipe_is_one_word_and_its_changes_are_read_back(
    job: str, recipe: Callable[[], Any], run: Callable[[str], Any]
) -> None:
    assert command_for(job, recipe, recipe()) == f"python {job} {recipe.__name__}"
    line = command_for(job, recipe, changed(recipe()))
    assert run(line) == changed(recipe())
    assert "--engine.compile" in line and "--optimizer.betas 0.8 0.99" in line


def test_only_what_differs_is_said() -> None:
    base = voxceleb.nano()
    config = replace(
        base, mask=replace(base.mask, ratio=0.9), optimizer=replace(base.optimizer, base_lr=0.001, stop_epoch=1)
    )
    assert command_for("jobs/pretrain_voxceleb.py", voxceleb.nano, config) == (
        "python jobs/pretrain_voxceleb.py nano --optimizer.base-lr 0.001 --optimizer.stop-epoch 1 --mask.ratio 0.9"
    )


def test_the_regions_of_mask_and_model_are_said_together(run: Callable[[str], Any]) -> None:
    base = voxceleb.mae_dfer_base()
    config = replace(
        base, mask=replace(base.mask, region=(1, 5, 10)), model=replace(base.model, region=(1, 5, 10), target="motion")
    )
    line = command_for("jobs/pretrain_voxceleb.py", voxceleb.mae_dfer_base, config)
    assert line.endswith("--mask.region 1 5 10 --model.region 1 5 10 --model.target motion")
    assert run(line) == config


def test_none_is_said_where_the_recipe_has_a_value(run: Callable[[str], Any]) -> None:
    base = voxceleb.mae_dfer_base()
    config = replace(
        base, optimizer=replace(base.optimizer, stop_epoch=None), crop=replace(base.crop, window=None, flip=True)
    )
    line = command_for("jobs/pretrain_voxceleb.py", voxceleb.mae_dfer_base, config)
    assert line.endswith("--optimizer.stop-epoch None --crop.window None --crop.flip")
    assert run(line) == config
    turned = replace(voxceleb.nano(), telemetry=replace(voxceleb.nano().telemetry, tensorboard=False))
    assert command_for("j.py", voxceleb.nano, turned) == "python j.py nano --telemetry.no-tensorboard"


@pytest.mark.parametrize("root", ["my videos", "-videos", "", "--seed", "$HOME;ls", "None "])
def test_any_text_passes_through_a_shell(root: str, run: Callable[[str], Any]) -> None:
    config = replace(voxceleb.nano(), corpus=CorpusConfig(name="folder", root=root))
    assert run(command_for("jobs/pretrain_voxceleb.py", voxceleb.nano, config)) == config


def test_what_cannot_be_said_is_named() -> None:
    none = replace(voxceleb.nano(), init_from="None")
    with pytest.raises(ValueError, match="^init_from='None' cannot be said"):
        command_for("j.py", voxceleb.nano, none)
    nano = finetuning.nano()
    dashed = replace(nano, model=replace(nano.model, classes=("a", "-b")))
    with pytest.raises(ValueError, match=r"^model.classes=\['a', '-b'\] cannot be said"):
        command_for("j.py", finetuning.nano, dashed)


def test_masks_of_another_kind_and_other_recipes_are_refused_by_name() -> None:
    plain = replace(voxceleb.mae_dfer_units(), mask=MaskConfig())
    with pytest.raises(ValueError, match="mask.policy.*recipe mae_dfer_units is of another kind"):
        command_for("j.py", voxceleb.mae_dfer_units, plain)
    with pytest.raises(ValueError, match="^recipe: recipe nano is of another kind"):
        command_for("j.py", voxceleb.nano, replace(voxceleb.nano(), recipe="mae_dfer_base"))

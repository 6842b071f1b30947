"""Chains as data: what does not fit together is refused when they are composed, not hours later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cluster.config import CheckpointConfig
from jobs.parts.chain_config import (
    UNKNOWN_ROOT,
    Cell,
    ChainConfig,
    ExportConfig,
    Roots,
    Stage,
    TableConfig,
    check_stages,
)
from jobs.parts.chain_keys import stage_key
from jobs.parts.postprocessing_config import PostprocessingConfig
from jobs.parts.pretrain_config import CorpusConfig
from jobs.parts.sweep_config import FinetuneSweepConfig
from jobs.recipes import chain_nano, features, finetuning, heads, voxceleb
from jobs.recipes.chains import RECIPES
from tests.jobs.chain_fakes import chain

PRETRAIN, FINETUNE = voxceleb.nano(), finetuning.nano()
SWEEP = FinetuneSweepConfig(recipe="small", space=("optimizer.base_lr=0.01,0.03",), finetune=FINETUNE)
VIT = replace(FINETUNE, model=replace(FINETUNE.model, encoder="video_vit_nano"))
VISION, HEARD, HEAD = features.vision(), features.log_mel(), heads.nano()
TABLE = TableConfig("One", (Cell("a", "UAR", "pretrain", "uar"),))


def own_corpus(roots: Roots) -> tuple[Stage, ...]:
    return (Stage("videos", "catalog", CorpusConfig(name="folder", root=roots.of("own"))),)


def test_roots_are_put_where_a_recipe_asks_for_them() -> None:
    (stage,) = ChainConfig("own", own_corpus, roots={"own": "s3://bucket/faces"}).stages()
    assert stage.config.root == "s3://bucket/faces"


def test_a_missing_root_is_named_and_a_plan_does_without() -> None:
    with pytest.raises(ValueError, match=r"needs the corpora own: add --roots own ADDRESS, or look .* with --plan"):
        ChainConfig("own", own_corpus).stages()
    (stage,) = ChainConfig("own", own_corpus, plan=True).stages()
    assert stage.config.root == UNKNOWN_ROOT


@pytest.mark.parametrize("plan", [False, True])
def test_a_root_that_nothing_reads_is_refused(plan: bool) -> None:
    with pytest.raises(ValueError, match="--roots mead have no effect on the recipe own, which reads own"):
        ChainConfig("own", own_corpus, roots={"own": "here", "mead": "there"}, plan=plan).stages()
    with pytest.raises(ValueError, match="which reads no corpus of yours"):
        ChainConfig("small", lambda roots: chain(), roots={"mead": "there"}).stages()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "Stage One", "job": "pretrain", "config": PRETRAIN}, "stage name 'Stage One' must be of a-z"),
        ({"name": "a", "job": "train", "config": PRETRAIN}, "job='train' of stage a is none of catalog, annotate"),
        ({"name": "a", "job": "pretrain", "config": FINETUNE}, "has a FinetuneConfig as its config; give a Pretrain"),
        ({"name": "a", "job": "table", "config": TABLE, "weights_from": "b"}, "weights_from has no effect"),
        ({"name": "a", "job": "export", "config": ExportConfig()}, "exports nothing; name its weights_from"),
        ({"name": "a", "job": "finetune", "config": FINETUNE, "weights_epoch": 3}, "needs weights_from"),
        ({"name": "a", "job": "export", "config": ExportConfig(), "weights_from": "b", "values_from": "c"}, "values_"),
        (
            {"name": "a", "job": "extract", "config": HEAD},
            "has a HeadConfig as its config; give a VisionConfig or Audio",
        ),
        ({"name": "a", "job": "head", "config": FINETUNE, "features_from": ("b",)}, "as its config; give a HeadConfig"),
        ({"name": "a", "job": "finetune", "config": FINETUNE, "features_from": ("b",)}, "features_from has no effect"),
        ({"name": "a", "job": "head", "config": HEAD}, "stage a has no features to learn from; name its features_from"),
        ({"name": "a", "job": "head", "config": HEAD, "weights_from": "b"}, "weights_from has no effect on stage a"),
        ({"name": "a", "job": "extract", "config": VISION}, "stage a: vision features need a model"),
        ({"name": "a", "job": "extract", "config": features.hubert()}, "stage a: hubert needs your weights"),
        (
            {"name": "a", "job": "extract", "config": HEARD, "weights_from": "b"},
            "whose features no trained model makes",
        ),
    ],
)
def test_a_stage_that_cannot_be_is_refused_with_the_reason(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Stage(**arguments)


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ((Stage("a", "pretrain", PRETRAIN),) * 2, "two stages are named a"),
        ((Stage("a", "pretrain", PRETRAIN, after=("b",)),), "a needs b, which is no earlier stage: it is the first"),
        ((Stage("a", "finetune", FINETUNE, weights_from="a"),), "a needs a, which is no earlier stage"),
        (
            (Stage("v", "catalog", PRETRAIN.corpus), Stage("a", "finetune", FINETUNE, weights_from="v")),
            "weights_from of stage a names v, a stage of catalog; name one of pretrain, sweep_pretraining, finetune",
        ),
        (
            (Stage("f", "finetune", FINETUNE), Stage("a", "export", ExportConfig(), weights_from="f")),
            "a stage of finetune; name one of pretrain, sweep_pretraining$",
        ),
        (
            (Stage("s", "sweep_finetuning", SWEEP), Stage("a", "pretrain", PRETRAIN, values_from="s")),
            "values_from of stage a names s, a stage of sweep_finetuning; name one of sweep_pretraining",
        ),
        (
            (
                Stage("f", "finetune", replace(FINETUNE, folds=(1, 2))),
                Stage("a", "finetune", FINETUNE, weights_from="f"),
            ),
            "f, a fine-tuning of several folds or seeds",
        ),
        (
            (
                Stage("s", "sweep_finetuning", replace(SWEEP, space=("head=representative,local",))),
                Stage("a", "finetune", VIT, values_from="s"),
            ),
            "stage a cannot take the values of s, {'head': 'local'}: global_pool has no effect on video_vit_nano",
        ),
        (
            (Stage("pretrain", "pretrain", PRETRAIN), Stage("t", "table", TABLE)),
            "cell a, UAR of stage t names pretrain, a stage of pretrain; name one of finetune, head",
        ),
        (
            (Stage("f", "finetune", FINETUNE), Stage("h", "head", HEAD, features_from=("f",))),
            "features_from of stage h names f, a stage of finetune; name one of extract",
        ),
        (
            (Stage("s", "extract", HEARD), Stage("h", "head", HEAD, features_from=("s", "v"))),
            "stage h needs v, which is no earlier stage: s",
        ),
        (
            (Stage("s", "extract", HEARD), Stage("v", "extract", VISION, weights_from="s")),
            "weights_from of stage v names s, a stage of extract; name one of pretrain, sweep_pretraining, finetune",
        ),
        (
            (
                Stage("f", "finetune", replace(FINETUNE, folds=(1, 2))),
                Stage("v", "extract", VISION, weights_from="f"),
            ),
            "f, a fine-tuning of several folds or seeds",
        ),
    ],
)
def test_what_a_stage_takes_must_come_from_an_earlier_one_of_the_right_kind(
    stages: tuple[Stage, ...], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        check_stages(stages)


@pytest.mark.parametrize(("epoch", "fits"), [(2, True), (4, True), (3, False), (6, False), (9, False)])
def test_a_milestone_must_be_one_that_pre_training_keeps_and_reaches(epoch: int, fits: bool) -> None:
    optimizer = replace(PRETRAIN.optimizer, epochs=8, stop_epoch=4)
    pretrain = replace(PRETRAIN, optimizer=optimizer, checkpoint=CheckpointConfig(keep_epochs=(2, 6)))
    stages = (
        Stage("a", "pretrain", pretrain),
        Stage("b", "finetune", FINETUNE, weights_from="a", weights_epoch=epoch),
    )
    if fits:
        check_stages(stages)
    else:
        with pytest.raises(ValueError, match=f"epoch {epoch} of a, which ends after epoch 4 and keeps"):
            check_stages(stages)


def test_a_table_has_cells_one_for_each_place_and_a_paper_with_its_table() -> None:
    cell = Cell("a", "UAR", "s", "uar")
    with pytest.raises(ValueError, match="has no cells"):
        TableConfig("None", ())
    with pytest.raises(ValueError, match=r"two numbers for row and column \[\('a', 'UAR'\)\]"):
        TableConfig("Twice", (cell, replace(cell, metric="war")))
    with pytest.raises(ValueError, match="go together"):
        TableConfig("Half", (cell,), paper="maura")


def test_features_are_of_a_pre_trained_or_fine_tuned_model_or_of_none_and_a_head_of_them_has_a_place_in_tables() -> (
    None
):
    check_stages(
        (
            Stage("p", "pretrain", PRETRAIN),
            Stage("f", "finetune", replace(FINETUNE, folds=(1,)), weights_from="p"),
            Stage("heard", "extract", HEARD),
            Stage("raw", "extract", VISION, weights_from="p"),
            Stage("tuned", "extract", VISION, weights_from="f"),
            Stage("h", "head", HEAD, features_from=("tuned", "raw", "heard")),
            Stage("t", "table", TableConfig("One", (Cell("a", "F1", "h", "headline"),))),
        )
    )


def test_a_stage_needs_each_of_its_inputs_once() -> None:
    stages = {stage.name: stage for stage in chain()}
    assert stages["pretrained"].inputs == ("labelled", "pretrain")
    assert stages["table"].inputs == ("pretrained", "scratch")
    head = Stage("h", "head", HEAD, features_from=("v", "s"), after=("c", "s"))
    assert head.inputs == ("c", "s", "v")


def test_keys_differ_by_weights_their_epoch_and_what_was_found_and_not_by_name() -> None:
    def key(stage: Stage, **inputs: str) -> str:
        return stage_key(stage, inputs)

    stage = Stage("a", "finetune", FINETUNE, weights_from="p", after=("v",))
    first = key(stage, p="1", v="1")
    assert key(replace(stage, name="b"), p="1", v="1") == first
    others = {
        key(stage, p="2", v="1"),
        key(stage, p="1", v="2"),
        key(replace(stage, weights_epoch=1), p="1", v="1"),
        key(replace(stage, weights_from=None), p="1", v="1"),
        key(replace(stage, config=replace(FINETUNE, seeds=2)), p="1", v="1"),
    }
    assert len(others | {first}) == 6


def test_the_key_of_a_head_depends_on_its_features_and_on_their_order() -> None:
    stage, inputs = Stage("h", "head", HEAD, features_from=("v", "s")), {"v": "1", "s": "2", "other": "2"}
    first = stage_key(stage, inputs)
    assert stage_key(replace(stage, features_from=("v", "other")), inputs) == first, "not on their names"
    others = {
        stage_key(stage, inputs | {"s": "3"}),
        stage_key(replace(stage, features_from=("s", "v")), inputs),
        stage_key(replace(stage, features_from=("v",)), inputs),
        stage_key(replace(stage, config=replace(HEAD, missing="mask")), inputs),
        stage_key(replace(stage, config=replace(HEAD, postprocessing=PostprocessingConfig(("median:5",)))), inputs),
    }
    assert len(others | {first}) == 6
    assert stage_key(replace(stage, config=replace(HEAD, validation_windows=3)), inputs) == first


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_its_chain_and_fits_together(name: str) -> None:
    chain_config = replace(RECIPES[name](), plan=True)
    assert chain_config.recipe == name and RECIPES[name].__doc__
    assert chain_config.stages()


def test_the_laptops_chain_trains_so_that_an_interruption_changes_nothing() -> None:
    stages = {stage.name: stage for stage in chain_nano.nano().stages()}
    jobs = {stage.job for stage in stages.values()}
    assert jobs == {"catalog", "annotate", "pretrain", "export", "sweep_finetuning", "finetune", "table"}
    trained = [stage.config for stage in stages.values() if stage.job in ("pretrain", "finetune")]
    assert all(config.workers.deterministic for config in [*trained, stages["sweep"].config.base])
    assert not stages["sweep"].config.stopping.enabled

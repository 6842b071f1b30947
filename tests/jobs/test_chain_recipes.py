"""The chains of the papers: they build, come from existing recipes, and end in the tables they claim, whole."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest

from jobs.config import from_json, to_json
from jobs.parts.chain_config import Roots, Stage, TableConfig, check_stages
from jobs.parts.chain_plan import roots_of
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.published import read_published
from jobs.recipes import chain_mae_dfer, faces, finetuning, mead, voxceleb
from jobs.recipes.chains import RECIPES
from models.config import EncoderConfig

OF_PAPERS = [name for name in RECIPES if not name.endswith("nano")]
OF_VIDEO = [name for name in OF_PAPERS if not name.startswith(("netease", "ctyunai", "emotic"))]
ABLATIONS = [name for name in OF_VIDEO if name not in ("mae_dfer", "maura")]
METRICS = {"UAR": "uar", "WAR": "war", "#Params": "parameters", "FLOPs": "gflops"}
"""By the last word of a column."""
FOREIGN = {"DPCNet", "IAL", "STT", "T-ESFL", "VideoMAE (Kinetics-400)", "3D Resnet18", "MLKNN", "UMONS", "MARLIN"}
"""Rows of other people's methods, in tables that also have rows of ours."""


@cache
def stages_of(name: str) -> dict[str, Stage]:
    """With the roots of its docstring."""
    config = replace(RECIPES[name](), roots=given_roots(name) if name in OF_PAPERS else {})
    return {stage.name: stage for stage in config.stages()}


def tables_of(name: str) -> list[TableConfig]:
    return [stage.config for stage in stages_of(name).values() if stage.job == "table"]


def given_roots(name: str) -> dict[str, str]:
    """Where its docstring says that corpora and weights are."""
    words = re.search(r"--roots ([^`]+)`", RECIPES[name].__doc__)[1].split()
    return dict(zip(words[::2], words[1::2], strict=True))


def places_of(stage: Stage) -> set[str]:
    """Where what a stage reads lies, of the user's."""
    if stage.job == "catalog":
        return set(roots_of(stage.config))
    if stage.job != "extract":
        return set()
    encoder = getattr(stage.config, "encoder", None)
    return {place for place in (getattr(stage.config, "folder", None), getattr(encoder, "weights", None)) if place}


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_chain_of_a_paper_says_its_tables_its_cost_and_the_command_with_all_its_roots(name: str) -> None:
    doc = RECIPES[name].__doc__
    assert re.search(r"(Table|Figure)s? \d+", doc) and re.search(r"Cost: about \d+ h", doc)
    assert f"`python jobs/chain.py {name} --roots" in doc
    assert RECIPES[name]().recipe == name
    assert set().union(*map(places_of, stages_of(name).values())) == set(given_roots(name).values())


@pytest.mark.parametrize("name", OF_PAPERS)
def test_without_its_roots_a_chain_of_a_paper_is_refused_by_their_names(name: str) -> None:
    first, *others = given_roots(name)
    with pytest.raises(ValueError) as refused:
        replace(RECIPES[name](), roots={first: given_roots(name)[first]}).stages()
    missing = re.search(r"needs the corpora ([\w, ]+): add --roots", str(refused.value))[1]
    assert sorted(missing.split(", ")) == sorted(others)


@pytest.mark.parametrize("name", OF_PAPERS)
def test_nothing_of_a_paper_is_measured_on_a_synthetic_corpus(name: str) -> None:
    for stage in stages_of(name).values():
        if hasattr(stage.config, "corpus"):
            assert not stage.config.corpus.is_synthetic and roots_of(stage.config.corpus)


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_stage_needs_comes_before_it_and_its_config_survives_json(name: str) -> None:
    stages = stages_of(name)
    check_stages(tuple(stages.values()))
    for stage in stages.values():
        assert from_json(type(stage.config), to_json(stage.config)) == stage.config


@pytest.mark.parametrize("name", OF_PAPERS)
def test_what_reads_a_corpus_waits_for_its_catalog_and_where_crops_follow_the_face_for_annotations(name: str) -> None:
    stages = stages_of(name)
    for stage in stages.values():
        if not hasattr(stage.config, "corpus"):
            continue
        sample = stage.config.sample() if hasattr(stage.config, "sample") else None
        follows_face = sample is not None and getattr(sample, "follows_face", True)
        prepared = [(stages[one].job, roots_of(stages[one].config)) for one in stage.after]
        assert prepared == [("annotate" if follows_face else "catalog", roots_of(stage.config.corpus))]


@pytest.mark.parametrize("name", OF_VIDEO)
def test_every_cell_is_a_published_one_measured_by_its_corpus_and_metric(name: str) -> None:
    stages = stages_of(name)
    for table in tables_of(name):
        published = read_published(table.paper, table.table)
        for cell in table.cells:
            published.cell(cell.row, cell.column)
            config = stages[cell.stage].config
            assert isinstance(config, FinetuneConfig)
            assert config.corpus.name in f"{table.title} {cell.column}".lower().replace("-", "_"), cell
            last = cell.column.split()[-1]
            assert cell.metric == METRICS.get(last, cell.metric) and (
                cell.metric not in METRICS.values() or last in METRICS
            )


@pytest.mark.parametrize("name", OF_VIDEO)
def test_every_published_value_of_a_row_that_a_chain_measures_is_measured(name: str) -> None:
    for table in tables_of(name):
        published, measured = read_published(table.paper, table.table), {(c.row, c.column) for c in table.cells}
        rows = {row for row, _ in measured}
        missing = {place for place, cell in published.cells.items() if place[0] in rows and cell.printed} - measured
        assert missing == set()
        left = [row for row in published.rows if row not in rows]
        if table.table == "table_9":
            assert rows == {"MAE-DFER"}
        else:
            assert set(left) <= FOREIGN, left


def test_all_tables_of_both_papers_are_the_end_of_some_chain() -> None:
    ends = {(table.paper, table.table) for name in OF_VIDEO for table in tables_of(name)}
    assert {table for paper, table in ends if paper == "maura"} == {f"table_{n}" for n in range(2, 6)}
    assert {table for paper, table in ends if paper == "mae_dfer"} == {f"table_{n}" for n in range(2, 15)} | {
        "figure_3"
    }


@pytest.mark.parametrize("name", OF_PAPERS)
def test_what_is_pre_trained_is_a_recipe_but_for_where_and_how_long(name: str) -> None:
    for stage in stages_of(name).values():
        if stage.job == "pretrain":
            recipe = {**mead.RECIPES, **voxceleb.RECIPES, **faces.RECIPES}[stage.config.recipe]()
            optimizer = replace(stage.config.optimizer, stop_epoch=recipe.optimizer.stop_epoch)
            assert replace(stage.config, corpus=recipe.corpus, optimizer=optimizer) == recipe
            assert name == "epochs" or stage.config.optimizer == recipe.optimizer


@pytest.mark.parametrize("name", OF_PAPERS)
def test_an_encoder_is_fine_tuned_as_it_was_pre_trained(name: str) -> None:
    stages = stages_of(name)
    for stage in stages.values():
        if stage.job != "finetune" or stage.weights_from is None:
            continue
        before, after = stages[stage.weights_from].config.model, stage.config.model
        names = ("encoder", "region", "lgi_variant", "geometry")
        assert isinstance(before, EncoderConfig)
        assert [getattr(before, one) for one in names] == [getattr(after, one) for one in names], stage.name
        assert getattr(before, "position_embedding", "sinusoid") == after.position_embedding


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_fine_tunes_on_fold_1_of_dfew_and_on_ferv39k_and_on_nothing_else(name: str) -> None:
    tuned = [stage.config for stage in stages_of(name).values() if stage.job == "finetune"]
    assert {(config.corpus.name, config.folds) for config in tuned} == {("dfew", (1,)), ("ferv39k", ())}
    assert [config.seeds for config in tuned] == [1] * len(tuned)


def test_the_epochs_are_snapshots_of_one_run_and_none_is_from_scratch() -> None:
    stages = stages_of("epochs").values()
    (run,) = [stage for stage in stages if stage.job == "pretrain"]
    assert run.config.optimizer.stop_epoch == 70 and run.config.optimizer.epochs == 100
    starts = [
        (s.weights_from, s.weights_epoch) for s in stages if s.job == "finetune" and s.config.corpus.name == "dfew"
    ]
    assert starts == [(None, None)] + [("mae_dfer_base", epoch) for epoch in (10, 30, 50, 70)]


def test_token_types_are_of_one_pre_training() -> None:
    stages = stages_of("token_type").values()
    assert len([stage for stage in stages if stage.job == "pretrain"]) == 1
    pools = {stage.name: stage.config.model.global_pool for stage in stages if stage.job == "finetune"}
    assert pools["dfew-original_tokens"] == "local" and pools["ferv39k-representative_tokens"] == "representative"
    local = stages_of("token_type")["dfew-original_tokens"].config
    assert local.model == finetuning.dfew_local_tokens().model


def test_recalls_are_those_of_the_classes_that_the_columns_name() -> None:
    stages = {stage.name: stage for stage in chain_mae_dfer.mae_dfer().build(Roots({}))}
    for table, count in {"table_12": 7, "table_13": 7, "table_14": 11}.items():
        recalls = {c.column: c.metric for c in stages[table].config.cells if c.metric.startswith("recall/")}
        assert len(recalls) == count
        for column, metric in recalls.items():
            assert metric.removeprefix("recall/").lower()[:3] == column.lower()[:3]


def test_videomae_on_voxceleb2_is_fine_tuned_as_its_recipe_says() -> None:
    stage = stages_of("mae_dfer")["dfew-videomae_voxceleb2"]
    assert stage.config.model == finetuning.dfew_vit().model and stage.weights_from == "vit_base_appearance"


def test_maura_probes_with_the_encoder_as_it_is_and_supervises_where_the_paper_does() -> None:
    stages = stages_of("maura")
    cells = {(c.row, c.column): stages[c.stage] for c in stages["table_2"].config.cells}
    assert cells["MAURA (LP)", "MEAD low"].config.model == finetuning.mead_low_probe().model
    assert {cells["MAURA (LP)", c].config.model.trained for c in ("MFA", "DFEW", "CMU-MOSEI")} == {"head"}
    assert cells["MAURA (FT)", "MFA"].config.model.trained == "all"
    assert cells["ViT-B (pt on MEAD)", "MFA"].weights_from is None
    teacher = stages[cells["ViT-B (pt on MEAD)", "DFEW"].weights_from]
    assert teacher.weights_from is None and teacher.config.corpus.protocol == "all" and teacher.config.folds == (1,)
    assert cells["VideoMAE", "CMU-MOSEI"].weights_from == "videomae"


def test_tables_3_and_5_of_maura_are_of_the_arms_and_masks_that_their_cells_name() -> None:
    stages = stages_of("maura")
    for cell in stages["table_5"].config.cells:
        arm, (kind, ratio) = stages[stages[cell.stage].weights_from].config, cell.column.split()[:2]
        assert (arm.mask.rest, arm.mask.ratio) == (kind, int(ratio) / 100)
        assert (arm.mask.keep, arm.target_views) == (("unit", "other") if cell.row == "MAURA" else ("nothing", "same"))
    expected = {"VideoMAE": ("nothing", "same"), "MAU": ("unit", "same"), "RA": ("nothing", "other")}
    for cell in stages["table_3"].config.cells:
        arm_name, level = cell.column.split()
        arm = stages[stages[cell.stage].weights_from].config
        assert (arm.mask.keep, arm.target_views) == expected.get(arm_name, ("unit", "other"))
        assert stages[cell.stage].config.corpus.protocol == level
        assert cell.metric == ("headline" if cell.row == "average" else f"view/{cell.row.replace(' ', '_')}/f1_macro")

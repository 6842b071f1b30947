"""The chains of the three ABAW systems: what their cells are measured by, what their heads read, and the laptops'."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from jobs.parts.chain_config import Cell, Stage, TableConfig
from jobs.parts.chain_run import plan_chain
from jobs.parts.command_line import Command
from jobs.parts.face_config import FaceCorporaConfig, FacePretrainConfig
from jobs.parts.feature_config import AudioConfig, ForeignConfig, VisionConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.head_config import HeadConfig
from jobs.parts.published import PublishedTable, read_published
from jobs.recipes import faces
from jobs.recipes.chains import RECIPES
from jobs.recipes.frames import TASKS
from models.smoothing import EMOTIC, NETEASE
from pipelines.audio import LogMelConfig
from pipelines.corpora.aff_wild2 import OFFICIAL
from pipelines.face_parts import EMOTIC_INPUTS
from pipelines.storage import Storage
from tests.jobs.test_chain_recipes import OF_PAPERS, OF_VIDEO, given_roots, stages_of, tables_of

OF_ABAW = [name for name in OF_PAPERS if name not in OF_VIDEO]
NANO = {"netease_nano": "netease_abaw5", "ctyunai_nano": "ctyunai_abaw6", "emotic_nano": "emotic_abaw6"}
"""The laptop's chains and those that they are small copies of."""
TASK_OF_COLUMN = {"AU": "au", "EXPR": "expr", "EXP": "expr", "VA": "va"}
TASK_OF_TABLE = {"table_1": "au", "table_2": "expr", "table_3": "va"}
VIEW_OF_ROW = {
    "Not crop (normal)": "full",
    "Eye": "eye",
    "Nose": "nose",
    "Mouth": "mouth",
    "Eye + Mouth": "eye_mouth",
    "Eye + Mouth + Nose": "eye_mouth_nose",
    "w/o. Fusion, Post-processing": "full",
    "w/o. MAE finetune, Fusion, Post-processing": "full",
}
"""Of Emotic-MAE, rows of a single encoder."""


class Asked(NamedTuple):
    """What a cell of a paper is, by where it stands."""

    task: str
    fold: int | None
    """Of ours, counted from 1; None: the official parts."""
    metric: str
    is_framewise: bool


def asked(paper: str, table: str, cell: Cell, *, in_folds: bool) -> Asked:
    row, column = cell.row, cell.column
    if paper == "ctyunai_abaw6":
        what = row.split()[0].lower()
        task = what if what in ("expr", "au") else "va"
        metric = f"ccc/{what}" if task == "va" else "headline"
        return Asked(task, int(column.removeprefix("Fold ")) + 1 if in_folds else None, metric, False)
    if paper == "emotic_mae":
        long = {"Happy": "Happiness", "Sad": "Sadness", "Accuracy": "accuracy"}.get(column, column)
        metric = "headline" if "F1" in column else long if long == "accuracy" else f"f1/{long}"
        return Asked("expr", None, metric, row in VIEW_OF_ROW)
    if table in TASK_OF_TABLE:
        task, fold = TASK_OF_TABLE[table], int(row.removeprefix("fold-")) if row != "Official" else None
        of_class = f"ccc/{column.lower()}" if task == "va" else f"f1/{column}"
        return Asked(task, fold, "headline" if column == "Avg." else of_class, False)
    return Asked(TASK_OF_COLUMN[column], None, "headline", row == "w/o TMF")


def cells_of(name: str) -> Iterator[tuple[TableConfig, Cell, Stage]]:
    for table in tables_of(name):
        for cell in table.cells:
            yield table, cell, stages_of(name)[cell.stage]


def cell_stage(name: str, table: str, row: str, column: str) -> Stage:
    (found,) = [s for t, c, s in cells_of(name) if (t.table, c.row, c.column) == (table, row, column)]
    return found


def sources_of(name: str, head: Stage) -> list[Stage]:
    return [stages_of(name)[source] for source in head.features_from]


@pytest.mark.parametrize("name", OF_ABAW)
def test_every_cell_is_a_published_one_measured_by_its_task_protocol_and_metric(name: str) -> None:
    for table, cell, stage in cells_of(name):
        read_published(table.paper, table.table).cell(cell.row, cell.column)
        wanted, config = asked(table.paper, table.table, cell, in_folds=name.endswith("_folds")), stage.config
        assert isinstance(config, FinetuneConfig if wanted.is_framewise else HeadConfig), cell
        assert config.corpus.protocol == (wanted.task if wanted.fold is None else f"{wanted.task}_folds"), cell
        assert config.folds == (() if wanted.fold is None else (wanted.fold,)), cell
        assert (config.model.task, config.model.loss) == tuple(TASKS[wanted.task].values()), cell
        assert (cell.metric, config.evaluation, config.seeds) == (wanted.metric, "paper", 1), cell
        of_class = cell.metric.partition("/")[2]
        assert not of_class or of_class in OFFICIAL[wanted.task].classes, cell


def test_the_headline_of_each_task_is_the_challenges_metric() -> None:
    found = {task: (protocol.task, protocol.metric) for task, protocol in OFFICIAL.items()}
    assert found == {
        "expr": ("classes", "f1_macro"),
        "au": ("multi_label", "multi_label_f1"),
        "va": ("regression", "ccc"),
    }


def whole(published: PublishedTable, measured: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The cells with a value of the rows of a table, of CtyunAI's of the folds, that are measured at all."""
    by_column = published.paper == "ctyunai_abaw6"
    lines = {place[by_column] for place in measured}
    theirs = {place for place, cell in published.cells.items() if "Baseline" in place[0] or not cell.printed}
    return {place for place in published.cells if place[by_column] in lines} - theirs


@pytest.mark.parametrize("name", OF_ABAW)
def test_of_a_row_that_a_chain_measures_every_published_value_is_measured(name: str) -> None:
    for table in tables_of(name):
        measured = {(cell.row, cell.column) for cell in table.cells}
        assert measured == whole(read_published(table.paper, table.table), measured)


MEASURABLE = {
    "netease_abaw5": ["table_1", "table_2", "table_3", "table_7", "table_8", "table_9"],
    "ctyunai_abaw6": ["table_1"],
    "emotic_mae": ["table_1", "table_2", "table_3"],
}
"""All others are of test sets whose labels only the organisers have."""


@pytest.mark.parametrize("paper", MEASURABLE)
def test_all_rows_of_the_tables_that_can_be_measured_are_the_end_of_some_chain(paper: str) -> None:
    ends = {
        (table.table, cell.row, cell.column) for n in OF_ABAW for table, cell, _ in cells_of(n) if table.paper == paper
    }
    assert {table for table, _, _ in ends} == set(MEASURABLE[paper])
    for table in MEASURABLE[paper]:
        published = read_published(paper, table)
        assert whole(published, set(published.cells)) == {(row, column) for name, row, column in ends if name == table}


@pytest.mark.parametrize("name", OF_ABAW)
def test_a_chain_begins_with_the_papers_images_and_masked_autoencoder(name: str) -> None:
    recipe = faces.ctyunai_mae() if name.startswith("ctyunai") else faces.netease_mae()
    (pretrained,) = [stage.config for stage in stages_of(name).values() if stage.job == "pretrain"]
    assert isinstance(pretrained, FacePretrainConfig)
    assert pretrained.corpus.names == recipe.corpus.names
    assert replace(pretrained, corpus=recipe.corpus) == recipe
    assert stages_of(name)["faces"].config == pretrained.corpus
    assert pretrained.corpus.roots == {one: given_roots(name)[one] for one in recipe.corpus.names}


@pytest.mark.parametrize("name", OF_ABAW)
def test_a_head_reads_vision_first_and_the_encoder_behind_it_learned_the_same_task_and_fold(name: str) -> None:
    stages = stages_of(name)
    for stage in stages.values():
        if stage.job != "head":
            continue
        first, *others = sources_of(name, stage)
        assert isinstance(first.config, ForeignConfig if stage.name.endswith("-dln") and not others else VisionConfig)
        if first.weights_from in (None, "pretrain"):
            assert name in ("netease_untuned", "netease_dln")
            continue
        tuned = stages[first.weights_from]
        assert tuned.job == "finetune" and tuned.weights_from == "pretrain"
        is_shared = name.startswith("ctyunai")  # one extractor, tuned on expressions, for all tasks
        task = "expr" if is_shared else stage.config.corpus.protocol.removesuffix("_folds")
        in_folds = "_folds" if stage.config.folds else ""
        assert (tuned.config.corpus.protocol, tuned.config.folds) == (f"{task}{in_folds}", stage.config.folds)


@pytest.mark.parametrize("name", ["netease_abaw5", "netease_untuned", "netease_folds"])
def test_netease_hears_hubert_and_vggish_where_expressions_and_values_are_told_and_nothing_for_units(name: str) -> None:
    heads = [stage for stage in stages_of(name).values() if stage.job == "head"]
    assert len(heads) == {"netease_abaw5": 12, "netease_untuned": 3, "netease_folds": 15}[name]
    for head in heads:
        _, *heard = sources_of(name, head)
        is_silent = head.config.corpus.protocol.startswith("au")
        assert [one.name for one in heard] == ([] if is_silent else ["hubert", "vggish"])
        assert all(isinstance(one.config, AudioConfig) for one in heard)
        assert [one.config.encoder.weights for one in heard] == [given_roots(name)[one.name] for one in heard]


def test_the_rows_of_table_8_hear_what_they_name() -> None:
    for name in ("netease_features", "netease_dln"):
        for _, cell, head in cells_of(name):
            named = [part.lower() for part in cell.row.split(" + ")]
            read = ["mae" if one.job == "extract" and one.weights_from else one.name for one in sources_of(name, head)]
            assert read == named and head.config.postprocessing.smoothing == ()


def test_without_fine_tuning_heads_read_the_pre_trained_encoder_as_it_is() -> None:
    stages = stages_of("netease_untuned")
    assert stages["features"].weights_from == "pretrain"
    assert not any(stage.job == "finetune" for stage in stages.values())
    assert {stage.features_from[0] for stage in stages.values() if stage.job == "head"} == {"features"}


def test_the_rows_of_table_9_are_smoothed_with_neteases_values_and_no_other_row_is_smoothed() -> None:
    filters = {"w/o. smooth": "none", "gaussian_filter": "gaussian"}
    filters |= {"median_filter": "median", "average_filter": "average"}
    for name in OF_ABAW:
        for table, cell, stage in cells_of(name):
            if not isinstance(stage.config, HeadConfig):
                continue
            told = stage.config.postprocessing
            expected: tuple[str, ...] | None = ()
            if table.paper == "netease_abaw5" and table.table == "table_9":
                expected = NETEASE[filters[cell.row]][TASK_OF_COLUMN[cell.column]]
            elif table.paper == "emotic_mae" and cell.row == "Ours":
                expected = EMOTIC
            assert told.smoothing == expected, (name, cell)


def test_a_head_that_is_smoothed_learns_what_the_one_that_is_not_learns() -> None:
    stages = stages_of("netease_abaw5")
    for task in ("au", "expr", "va"):
        plain = stages[f"head-{task}"]
        for one in ("gaussian", "median", "average"):
            smoothed = stages[f"head-{task}-{one}"]
            assert smoothed.features_from == plain.features_from
            assert smoothed.config.learning() == plain.config.learning()
            assert smoothed.config.scored() != plain.config.scored()


def test_emotics_rows_show_the_whole_face_or_the_parts_that_they_name() -> None:
    for name in ("emotic_abaw6", "emotic_inputs", "emotic_fusions"):
        for _, cell, stage in cells_of(name):
            if isinstance(stage.config, FinetuneConfig):
                assert stage.config.parts == EMOTIC_INPUTS[VIEW_OF_ROW[cell.row]], cell
                assert stage.config.per_class == 8000
    assert {cell.row for table, cell, _ in cells_of("emotic_inputs")} == set(list(VIEW_OF_ROW)[:6])


def test_emotic_fuses_the_whole_face_with_eyes_and_mouth_in_the_way_that_a_row_names() -> None:
    fusions = {"Mean": "mean", "Concat": "concat", "UpDown + Mean": "updown_mean", "UpDown + Concat": "updown_concat"}
    seen = set()
    for name in ("emotic_abaw6", "emotic_fusions"):
        for table, cell, stage in cells_of(name):
            if not isinstance(stage.config, HeadConfig):
                continue
            row = cell.row if table.table == "table_2" else "Concat"  # the way that the paper settles on
            assert stage.config.model.head.fusion == fusions[row]
            views = [stages_of(name)[one.weights_from].config.parts for one in sources_of(name, stage)]
            assert views == [EMOTIC_INPUTS["full"], EMOTIC_INPUTS["eye_mouth"]]
            seen.add(stage.config.model.head.fusion)
    assert seen == set(fusions.values())


def test_the_first_row_of_emotics_table_3_is_a_probe_of_the_encoder_as_it_is() -> None:
    probe = cell_stage("emotic_fusions", "table_3", "w/o. MAE finetune, Fusion, Post-processing", "F1")
    assert (probe.config.model.trained, probe.weights_from) == ("head", "pretrain")


def kind_of(stage: Stage) -> dict[str, Any]:
    """What of a stage a smaller copy has to keep."""
    config = stage.config
    told: dict[str, Any] = {"job": stage.job, "weights": stage.weights_from, "after": stage.after}
    if isinstance(config, TableConfig):
        return told | {"cells": config.cells, "beside": (config.paper, config.table)}
    corpus = getattr(config, "corpus", config)
    told["corpus"] = corpus.names if isinstance(corpus, FaceCorporaConfig) else corpus.name
    if isinstance(config, FacePretrainConfig):
        return told | {"target": config.model.target, "loss": config.model.loss_tokens, "mask": config.mask}
    if isinstance(config, FinetuneConfig | HeadConfig):
        told |= {"protocol": config.corpus.protocol, "folds": config.folds, "weighting": config.class_weighting}
        told |= {"task": config.model.task, "loss": config.model.loss, "evaluation": config.evaluation}
    if isinstance(config, FinetuneConfig):
        told |= {"parts": config.parts, "draws": config.per_class is not None, "trained": config.model.trained}
    if isinstance(config, HeadConfig):
        fusion = getattr(config.model.head, "fusion", None)
        told |= {"head": type(config.model.head), "fusion": fusion, "smoothing": config.postprocessing}
    return told


@pytest.mark.parametrize("name", NANO)
def test_the_laptops_chain_has_the_stages_of_the_papers_with_log_mel_for_what_is_heard(name: str) -> None:
    small, large = stages_of(name), stages_of(NANO[name])
    heard = {stage.name for stage in large.values() if isinstance(stage.config, AudioConfig)}
    assert [one for one in small if one != "log_mel"] == [one for one in large if one not in heard]
    for stage in small.values():
        if stage.name == "log_mel":
            assert isinstance(stage.config.encoder, LogMelConfig)
            continue
        twin = large[stage.name]
        assert kind_of(stage) == kind_of(twin)
        sources = ["log_mel" if one in heard else one for one in twin.features_from]
        assert list(stage.features_from) == list(dict.fromkeys(sources))


@pytest.mark.parametrize("name", NANO)
def test_the_laptops_chain_reads_no_corpus_of_the_users_and_says_so_in_its_tables(name: str) -> None:
    doc = " ".join(RECIPES[name].__doc__.split())
    assert f"`python jobs/chain.py {name}`" in doc and "in under 15 minutes on 2 cores" in doc
    with pytest.raises(ValueError, match="--roots aff_wild2 have no effect .* reads no corpus of yours"):
        replace(RECIPES[name](), roots={"aff_wild2": "here"}).stages()
    for stage in stages_of(name).values():
        config = stage.config
        if isinstance(config, TableConfig):
            assert config.title.startswith("Synthetic twins: ")
        else:
            assert getattr(config, "corpus", config).is_synthetic


@pytest.mark.parametrize("name", [*OF_ABAW, *NANO])
def test_a_plan_is_printed_without_ray_roots_or_a_trace(
    name: str, tmp_path: Any, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    home = Storage(tmp_path)
    plan_chain(Command(replace(RECIPES[name](), plan=True), home=home.uri))
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["plan"]
    states = {row["stage"]: row["state"] for row in rows}
    assert list(states) == list(stages_of(name))
    assert {one for one, state in states.items() if state == "would run"} == {"faces", "aff_wild2-catalog"}
    assert set(states.values()) == {"would run", "waits"} and list(home.list()) == []

"""Tables of what was measured beside what is published: values, intervals, notes, and what they rest on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.parts.chain_config import Cell, TableConfig
from jobs.parts.score_comparison import details_over_seeds, over_seeds
from jobs.parts.table_report import make_table, measure, to_markdown
from tests.jobs.test_scores import POOLED, PROTOCOL, VIEWS, predictions, scored

TABLE_8 = TableConfig(
    "MAE-DFER, Table 8: MAFW",
    tuple(
        Cell("MAE-DFER", column, "ours", metric)
        for column, metric in {"#Params": "parameters", "FLOPs": "gflops", "UAR": "uar", "WAR": "war"}.items()
    ),
    paper="mae_dfer",
    table="table_8",
)


def result(protocol: Any = POOLED, **fields: Any) -> dict[str, Any]:
    """As `evaluation.evaluate_folds` returns it."""
    seed = fields.pop("seed", 0)
    return {"corpus": "synthetic mafw", "folds": 2, "seed": seed, **scored(predictions(seed=seed), protocol)} | fields


def cells_of(table: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(cell["row"], cell["column"]): cell for cell in table["cells"]}


def test_a_measured_cell_has_its_value_its_interval_and_how_far_it_is_from_the_published_one() -> None:
    found = result()
    table = make_table(TABLE_8, {"ours": found})
    cell = cells_of(table)["MAE-DFER", "UAR"]
    assert cell["measured"] == pytest.approx(100 * found["metrics"]["uar"]) and cell["published"] == 41.62
    assert cell["interval_95"] == pytest.approx([100 * end for end in found["metrics_interval_95"]["uar"]])
    assert cell["difference"] == pytest.approx(cell["measured"] - 41.62)
    assert cells_of(table)["MAE-DFER", "#Params"]["measured"] == pytest.approx(85)
    assert cells_of(table)["MAE-DFER", "FLOPs"]["measured"] == pytest.approx(49.7123)
    assert json.loads(json.dumps(table)) == table


def test_a_published_table_is_shown_whole_and_what_has_no_result_has_no_value() -> None:
    table = make_table(TABLE_8, {})
    assert table["rows"] == ["T-ESFL", "VideoMAE (Kinetics-400)", "VideoMAE (VoxCeleb2)", "MAE-DFER"]
    assert {cell["measured"] for cell in table["cells"]} == {None} and table["without_result"] == ["ours"]
    text = to_markdown(table)
    assert "| MAE-DFER | - (paper 85) | - (paper 50) | - (paper 41.62) | - (paper 54.31) |" in text
    assert "| T-ESFL | - | - | - (paper 33.28) | - (paper 48.18) |" in text
    assert "Without a result: ours." in text


def test_in_markdown_measured_stands_beside_published_with_notes_below() -> None:
    table = make_table(TABLE_8, {"ours": result()})
    uar = cells_of(table)["MAE-DFER", "UAR"]
    low, high = uar["interval_95"]
    lines = to_markdown(table).splitlines()
    assert lines[0] == "# MAE-DFER, Table 8: MAFW" and "|  | #Params (M) | FLOPs (G) | UAR (%) | WAR (%) |" in lines
    (ours,) = [line for line in lines if line.startswith("| MAE-DFER |")]
    assert (
        f"| 85.0 (paper 85) | 49.7 (paper 50) | {uar['measured']:.1f} [{low:.1f}, {high:.1f}] (paper 41.62) |" in ours
    )
    (doubtful,) = [line for line in lines if "Kinetics" in line]
    assert "- (paper 38.43)[^1]" in doubtful
    assert lines[-1].startswith("[^1]: Table 14 prints 38.34")


@pytest.mark.parametrize("setting", ["transductive", "inductive", None])
@pytest.mark.parametrize("evaluation", ["paper", "clean"])
def test_a_table_says_which_corpora_are_synthetic_and_how_they_were_evaluated(evaluation: str, setting: str) -> None:
    text = to_markdown(make_table(TABLE_8, {"ours": result(evaluation=evaluation, setting=setting)}))
    assert "- synthetic mafw: procedural faces in that layout; no number here is about people." in text
    expected = (
        f"synthetic mafw, low: 240 videos, 2 folds, {evaluation} evaluation, {setting or 'not pre-trained'} (ours)."
    )
    assert f"- {expected}" in text
    real = to_markdown(make_table(TABLE_8, {"ours": result(corpus="mafw")}))
    assert "procedural" not in real and "- mafw, low: 240 videos" in real


def test_several_seeds_have_a_mean_and_a_deviation_also_class_by_class_and_per_view() -> None:
    results = [result(PROTOCOL, seed=seed) for seed in range(3)]
    joined = over_seeds(results) | details_over_seeds(results)
    for metric, values in {
        "headline": [one["headline"] for one in results],
        "uar": [one["metrics"]["uar"] for one in results],
        "recall/happy": [one["per_class"]["happy"]["recall"] for one in results],
        "view/front/f1_macro": [one["per_attribute"]["view"]["front"]["f1_macro"] for one in results],
    }.items():
        found = measure(joined, metric)
        assert found["measured"] == pytest.approx(100 * sum(values) / 3) and found["seeds"] == 3
        assert found["interval_95"] is None and found["deviation"] is not None
    assert measure(joined, "parameters")["measured"] == pytest.approx(85)
    config = replace(TABLE_8, cells=(Cell("MAE-DFER", "UAR", "ours", "uar"),))
    text = to_markdown(make_table(config, {"ours": joined}))
    uar = measure(joined, "uar")
    assert (
        f"{uar['measured']:.1f} ± {uar['deviation']:.1f} (paper 41.62)" in text
        and "headline the mean over view, 2 folds, 3 seeds" in text
    )


def test_remarks_on_a_column_and_on_a_table_are_told() -> None:
    cells = (Cell("MAURA", "MEAD low", "ours", "headline"), Cell("MAURA", "DFEW", "other", "headline"))
    table = make_table(TableConfig("Table 4", cells, paper="maura", table="table_4"), {"ours": result(PROTOCOL)})
    text = to_markdown(table)
    assert "| DFEW (%)[^1] |" in text and "[^1]: DFEW as MAURA reads it" in text
    assert "(paper 51.9)[^2] |" in text and "\nF1 is read as macro F1" in text
    assert table["without_result"] == ["other"]


def test_a_cell_without_value_in_the_paper_and_one_that_it_has_not_are_told_apart() -> None:
    cells = (Cell("MAE-DFER", "CREMA-D UAR", "ours", "uar"),)
    text = to_markdown(make_table(TableConfig("Table 9", cells, paper="mae_dfer", table="table_9"), {}))
    assert "| VO-LSTM | - | - (paper 66.80) | - | - (paper 60.50) |  |  |" in text


def test_a_table_of_no_paper_has_the_rows_and_columns_of_its_cells() -> None:
    cells = tuple(
        Cell(view, metric, "ours", f"view/{view}/{metric}") for view in VIEWS for metric in ("f1_macro", "uar")
    )
    found = result(PROTOCOL)
    table = make_table(TableConfig("Views", cells), {"ours": found})
    assert (table["rows"], table["columns"]) == (list(VIEWS), ["f1_macro", "uar"])
    front = cells_of(table)["front", "uar"]
    assert front["measured"] == pytest.approx(100 * found["per_attribute"]["view"]["front"]["uar"])
    assert (front["published"], front["difference"], front["note"], front["unit"]) == (None, None, "", "%")
    assert "paper" not in to_markdown(table)


def test_correlations_are_no_percentages() -> None:
    values = {"headline": 0.5, "metric": "ccc", "metrics": {"pearson": 0.25}, "per_class": {"valence": {"ccc": 0.75}}}
    for metric, value in {"headline": 0.5, "pearson": 0.25, "ccc/valence": 0.75}.items():
        assert (measure(values, metric)["measured"], measure(values, metric)["unit"]) == (value, "")
    found = {
        "corpus": "aff",
        "videos": 1,
        "protocol": "va",
        "evaluation": "clean",
        "setting": None,
        "averaged_over": None,
    }
    table = make_table(TableConfig("VA", (Cell("ours", "CCC", "ours", "headline"),)), {"ours": values | found})
    assert "| ours | 0.500 |" in to_markdown(table)


EMOTIC = TableConfig(
    "Emotic-MAE Table 1",
    (Cell("Eye", "Macro F1", "ours", "f1_macro"), Cell("Eye", "Accuracy", "ours", "war")),
    paper="emotic_mae",
    table="table_1",
)
"""Prints shares of 1."""


def test_beside_a_paper_that_prints_shares_of_1_what_is_measured_is_a_share_too() -> None:
    found = result()
    table = make_table(EMOTIC, {"ours": found})
    cell = cells_of(table)["Eye", "Macro F1"]
    assert (cell["measured"], cell["unit"], cell["published"]) == (found["metrics"]["f1_macro"], "", 0.157)
    assert cell["interval_95"] == pytest.approx(found["metrics_interval_95"]["f1_macro"])
    assert cell["difference"] == pytest.approx(found["metrics"]["f1_macro"] - 0.157)
    low, high = cell["interval_95"]
    text = to_markdown(table)
    assert f"{cell['measured']:.3f} [{low:.3f}, {high:.3f}] (paper 0.157)" in text
    assert "(%)" not in text and "| Nose | - (paper 0.239) |" in text


def test_the_deviation_over_seeds_is_a_share_as_well() -> None:
    results = [result(seed=seed) for seed in range(3)]
    table = make_table(EMOTIC, {"ours": over_seeds(results) | details_over_seeds(results)})
    cell = cells_of(table)["Eye", "Accuracy"]
    values = [one["metrics"]["war"] for one in results]
    assert cell["measured"] == pytest.approx(np.mean(values))
    assert cell["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert f"{cell['measured']:.3f} ± {cell['deviation']:.3f} (paper 0.257)" in to_markdown(table)


def test_a_correlation_stays_what_it_is_beside_one_and_is_no_percentage() -> None:
    found = result() | {"metric": "ccc", "headline": 0.5}
    cells = (Cell("Ours", "VA", "ours", "headline"), Cell("Ours", "AU", "ours", "f1_macro"))
    config = TableConfig("Table 7", cells, paper="netease_abaw5", table="table_7")
    table = cells_of(make_table(config, {"ours": found}))
    assert (table["Ours", "VA"]["measured"], table["Ours", "VA"]["published"]) == (0.5, 0.5525)
    assert table["Ours", "AU"]["measured"] == pytest.approx(100 * found["metrics"]["f1_macro"])
    wrong = replace(config, cells=(Cell("Ours", "AU", "ours", "headline"),))
    with pytest.raises(ValueError, match="row Ours, column AU is published in %, headline is in no unit"):
        make_table(wrong, {"ours": found})
    cost = replace(EMOTIC, cells=(Cell("Eye", "Accuracy", "ours", "parameters"),))
    with pytest.raises(ValueError, match="published in no unit, parameters is in M"):
        make_table(cost, {"ours": found})


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Cell("MAE-DFER", "UAR", "ours", "f2"), "no metrics/f2: 'f2' is none of uar, war"),
        (Cell("MAE-DFER", "UAR", "ours", "recall/calm"), "no per_class/calm/recall: 'calm' is none of angry, happy"),
        (Cell("MAE-DFER", "UAR", "ours", "view/back/uar"), "'back' is none of front, left_30, top"),
        (Cell("MAE-DFER", "UAR", "ours", "parameters"), "column UAR is published in %, parameters is in M"),
        (Cell("MAE-DFER", "F1", "ours", "uar"), "no column 'F1'; there are: #Params"),
        (Cell("Ours", "UAR", "ours", "uar"), "no row 'Ours'; there are: T-ESFL"),
    ],
)
def test_a_cell_that_cannot_be_filled_is_refused_with_what_there_is(cell: Cell, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_table(replace(TABLE_8, cells=(cell,)), {"ours": result(PROTOCOL)})

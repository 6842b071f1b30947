"""The tables of the ABAW systems as data: what they say of each other and of what the texts say of them."""

from __future__ import annotations

import re

import pytest

from jobs.parts.published import read_published
from jobs.recipes import frames, heads

SIZES = {
    ("netease_abaw5", "table_1"): (6, 13),
    ("netease_abaw5", "table_2"): (6, 9),
    ("netease_abaw5", "table_3"): (6, 3),
    ("netease_abaw5", "table_4"): (5, 2),
    ("netease_abaw5", "table_5"): (5, 2),
    ("netease_abaw5", "table_6"): (5, 2),
    ("netease_abaw5", "table_7"): (3, 3),
    ("netease_abaw5", "table_8"): (9, 3),
    ("netease_abaw5", "table_9"): (4, 3),
    ("ctyunai_abaw6", "table_1"): (8, 5),
    ("emotic_mae", "table_1"): (6, 10),
    ("emotic_mae", "table_2"): (4, 10),
    ("emotic_mae", "table_3"): (4, 1),
    ("emotic_mae", "table_4"): (12, 1),
}
"""Rows and columns."""
ROUNDING = {("netease_abaw5", "%"): 0.0101, ("netease_abaw5", ""): 0.000101, ("emotic_mae", ""): 0.00101}
"""Of an average and of what it is of, by the digits that are printed."""
OFF_OF_EMOTIC = {"Eye": ".1518", "Eye + Mouth": ".2986", "Eye + Mouth + Nose": ".3065"}


@pytest.mark.parametrize(("paper", "name"), SIZES)
def test_the_tables_of_the_abaw_systems_are_whole(paper: str, name: str) -> None:
    table = read_published(paper, name)
    rows, columns = SIZES[paper, name]
    assert (len(table.rows), len(table.columns), len(table.cells)) == (rows, columns, rows * columns)
    empty = [place for place, cell in table.cells.items() if not cell.printed]
    assert len(empty) == (16 if paper == "ctyunai_abaw6" else 0)


@pytest.mark.parametrize(
    ("paper", "name", "average", "off"),
    [
        ("netease_abaw5", "table_1", "Avg.", {"Official": "55.48"}),
        ("netease_abaw5", "table_2", "Avg.", {}),
        ("netease_abaw5", "table_3", "Avg.", {}),
        ("emotic_mae", "table_1", "Macro F1", OFF_OF_EMOTIC),
        ("emotic_mae", "table_2", "Macro F1", {}),
    ],
)
def test_the_cells_of_a_row_average_to_what_is_printed_but_where_a_note_has_their_average(
    paper: str, name: str, average: str, off: dict[str, str]
) -> None:
    table, found = read_published(paper, name), []
    for row in table.rows:
        printed = table.cell(row, average)
        cells = [table.cell(row, column).value for column in table.columns if column not in ("Accuracy", average)]
        mean = sum(cells) / len(cells)
        if abs(mean - printed.value) > ROUNDING[paper, printed.unit]:
            digits = len(off[row].split(".")[1])
            assert abs(mean - float(off[row])) < 0.501 * 10.0**-digits and off[row] in printed.note, row
            found.append(row)
    assert found == list(off)


def test_the_official_averages_of_netease_are_those_of_its_ablations() -> None:
    seven, eight, nine = (read_published("netease_abaw5", f"table_{n}") for n in (7, 8, 9))
    best = {"AU": "MAE", "EXPR": "MAE + Hubert + Vggish", "VA": "MAE + Hubert + Vggish"}
    for number, column in enumerate(best, start=1):
        official = read_published("netease_abaw5", f"table_{number}").cell("Official", "Avg.")
        others = (
            seven.cell("Ours", column),
            eight.cell(best[column], column),
            nine.cell("w/o. smooth", column if column != "EXPR" else "EXP"),
        )
        assert {other.printed for other in others} == {official.printed}
        assert eight.cell(best[column], column).value == max(eight.cell(row, column).value for row in eight.rows)
        assert [bool(other.note) for other in others] == [bool(official.note)] * 3


def test_what_two_models_of_netease_share_to_the_last_digit_carries_a_note() -> None:
    seven, eight = (read_published("netease_abaw5", f"table_{n}") for n in (7, 8))
    shared = [
        (seven.cell(one, column), eight.cell(other, column))
        for column in seven.columns
        for one in ("w/o. MAE finetune", "w/o TMF")
        for other in eight.rows
        if seven.cell(one, column).printed == eight.cell(other, column).printed
    ]
    assert [one.printed for one, _ in shared] == ["0.5169", "0.5483"]
    assert all("Table 8" in one.note and "Table 7" in other.note for one, other in shared)


def test_temporal_fusion_gains_what_netease_says() -> None:
    table = read_published("netease_abaw5", "table_7")
    gains = [table.cell("Ours", column).value - table.cell("w/o TMF", column).value for column in table.columns]
    assert gains == pytest.approx([0.59, 2.14, 0.0042])


@pytest.mark.parametrize(
    ("name", "column", "low", "high"),
    [
        ("table_1", "AU4", 53.40, 71.84),
        ("table_1", "AU15", 27.78, 44.44),
        ("table_1", "AU23", 17.34, 28.51),  # of AU24 by the text
        ("table_1", "AU24", 10.30, 33.77),
        ("table_2", "Anger", 16.22, 57.74),
        ("table_2", "Disgust", 13.12, 56.09),
        ("table_2", "Fear", 15.09, 70.22),
        ("table_2", "Sadness", 42.75, 88.98),
    ],
)
def test_the_ranges_that_netease_speaks_of_are_those_of_its_tables_and_its_remarks(
    name: str, column: str, low: float, high: float
) -> None:
    table = read_published("netease_abaw5", name)
    values = [table.cell(row, column).value for row in table.rows]
    assert (min(values), max(values)) == (low, high)
    told = [note for where, note in table.remarks if where == column]
    assert bool(told) == (column in ("AU24", "Sadness")) and all(f"{low:.2f} to {high:.2f}" in note for note in told)


@pytest.mark.parametrize(("column", "better", "word"), [("EXPR", 5, "five"), ("VA", 2, "two")])
def test_audio_helps_netease_as_often_as_a_remark_counts(column: str, better: int, word: str) -> None:
    table = read_published("netease_abaw5", "table_8")
    alone = table.cell("MAE", column).value
    with_audio = [table.cell(row, column).value for row in table.rows if row not in ("MAE", "DLN", "MAE + DLN")]
    assert len(with_audio) == 6 and sum(value > alone for value in with_audio) == better
    assert f"{word} lie above MAE" in dict(table.remarks)[column]


@pytest.mark.parametrize(("name", "score"), [("table_4", "F1-score"), ("table_5", "F1-score"), ("table_6", "CCC")])
def test_a_rank_of_abaw5_follows_from_the_scores(name: str, score: str) -> None:
    table = read_published("netease_abaw5", name)
    ordered = sorted(table.rows, key=lambda row: -table.cell(row, score).value)
    assert [table.cell(row, "Rank").value for row in ordered] == [1, 2, 3, 4, 5]
    assert table.cell("Ours", "Rank").value == (2 if name == "table_6" else 1)


def test_the_steps_of_emotic_mae_are_the_rows_that_a_remark_names() -> None:
    one, two, three, four = (read_published("emotic_mae", f"table_{n}") for n in range(1, 5))
    steps = [three.cell(row, "F1").printed for row in three.rows]
    face, fused = (table.cell(row, "Macro F1") for table, row in ((one, "Not crop (normal)"), (two, "Concat")))
    assert steps == ["0.236", face.printed, fused.printed, "0.401"]
    in_challenge = [four.cell(row, "Test").value for row in four.rows if row != "Ours (Post challenge)"]
    assert in_challenge == sorted(in_challenge, reverse=True)


def test_of_ctyunais_baseline_fold_0_alone_is_printed_with_a_doubt() -> None:
    table = read_published("ctyunai_abaw6", "table_1")
    for row in table.rows:
        cells = [table.cell(row, column) for column in table.columns]
        is_baseline = "Baseline" in row
        assert [bool(cell.printed) for cell in cells] == [True] + [not is_baseline] * 4
        assert [bool(cell.note) for cell in cells] == [is_baseline] + [False] * 4


@pytest.mark.parametrize("name", [*(("netease_abaw5", f"table_{n}") for n in (4, 5, 6)), ("emotic_mae", "table_4")])
def test_a_table_of_a_hidden_test_set_says_that_it_cannot_be_measured(name: tuple[str, str]) -> None:
    assert "nothing here can be measured" in " ".join(note for _, note in read_published(*name).remarks)


@pytest.mark.parametrize(
    ("recipe", "paper", "table", "row", "column"),
    [
        ("netease_frames_expr", "netease_abaw5", "table_7", "w/o TMF", "EXPR"),
        ("netease_frames_au", "netease_abaw5", "table_7", "w/o TMF", "AU"),
        ("netease_frames_va", "netease_abaw5", "table_7", "w/o TMF", "VA"),
        ("emotic_frames_full", "emotic_mae", "table_1", "Not crop (normal)", "Accuracy"),
        ("emotic_frames_full", "emotic_mae", "table_1", "Not crop (normal)", "Macro F1"),
        ("netease_expr", "netease_abaw5", "table_7", "Ours", "EXPR"),
        ("netease_expr", "netease_abaw5", "table_9", "gaussian_filter", "EXP"),
        ("netease_au", "netease_abaw5", "table_7", "Ours", "AU"),
        ("netease_au", "netease_abaw5", "table_9", "gaussian_filter", "AU"),
        ("netease_va", "netease_abaw5", "table_7", "Ours", "VA"),
        ("netease_va", "netease_abaw5", "table_9", "gaussian_filter", "VA"),
        ("ctyunai_expr", "ctyunai_abaw6", "table_1", "Expr F1-score (Ours)", "Fold 0"),
        ("ctyunai_au", "ctyunai_abaw6", "table_1", "AU F1-score (Ours)", "Fold 0"),
        ("ctyunai_va", "ctyunai_abaw6", "table_1", "Valence CCC (Ours)", "Fold 0"),
        ("ctyunai_va", "ctyunai_abaw6", "table_1", "Arousal CCC (Ours)", "Fold 0"),
        ("emotic_expr", "emotic_mae", "table_2", "Concat", "Macro F1"),
        ("emotic_expr", "emotic_mae", "table_3", "Ours", "F1"),
    ],
)
def test_a_recipe_states_the_number_of_its_row(recipe: str, paper: str, table: str, row: str, column: str) -> None:
    doc = (frames.RECIPES.get(recipe) or heads.RECIPES[recipe]).__doc__
    printed = read_published(paper, table).cell(row, column).printed.removeprefix("0")
    assert re.search(rf"(?<![\d.]){re.escape(printed)}(?!\d)", doc)

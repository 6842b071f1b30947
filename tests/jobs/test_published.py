"""The papers' tables as data: what they say of each other, of their doubts, and in the recipes."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from jobs.parts.published import Paper, PublishedTable, read_published, table_names
from jobs.recipes import finetuning, mead, voxceleb

TABLES = [(paper, table) for paper in get_args(Paper) for table in table_names(paper)]
PER_CLASS = ("table_12", "table_13", "table_14")
ABLATIONS = ("table_2", "table_3", "table_4", "table_5", "table_10")
OF_FOLD_1 = ("DFEW UAR", "DFEW WAR", "FERV39k UAR", "FERV39k WAR")
ROUNDING = 0.0101  # of what is printed with two digits: that of a sum's terms, and that of the sum
DIGITS = {("mae_dfer", "%"): 2, ("maura", "%"): 1, ("netease_abaw5", "%"): 2, ("netease_abaw5", ""): 4}
DIGITS |= {("ctyunai_abaw6", ""): 4, ("emotic_mae", ""): 3}
OTHER_DIGITS = {("ctyunai_abaw6", "table_1"): (2,), ("emotic_mae", "table_4"): (4,)}  # baselines; a test set
BASE_ROWS = {
    "table_2": "50 epochs",
    "table_3": "intra + inter + LGI",
    "table_4": "2x5x10",
    "table_5": "representative tokens",
    "table_10": "base",
}


def printed(table: PublishedTable, row: str, *columns: str) -> str:
    """As docstrings have it: 62.59/74.88."""
    return "/".join(table.cell(row, column).printed for column in columns)


@pytest.mark.parametrize(("paper", "name"), TABLES)
def test_every_cell_has_a_unit_that_is_known_and_a_value_that_can_be_one(paper: str, name: str) -> None:
    table = read_published(paper, name)
    for (row, column), cell in table.cells.items():
        units = {"#Params": "M", "FLOPs": "G", "Rank": "#"}
        assert cell.unit in (units[column] if column in units else ("%", "")), (row, column)
        assert cell.unit or paper not in ("mae_dfer", "maura"), (row, column)
        assert cell.value is None or 0 <= cell.value <= (100 if cell.unit else 1), (row, column)
        if cell.unit in ("%", "") and cell.printed:
            known = (DIGITS[paper, cell.unit], *OTHER_DIGITS.get((paper, name), ()))
            assert len(cell.printed.split(".")[1]) in known, (row, column)
    assert all(note for _, note in table.remarks)
    assert {column for column, _ in table.remarks} <= {"", *table.columns}


def test_the_tables_of_the_papers_are_there() -> None:
    numbers = {paper: [name for one, name in TABLES if one == paper] for paper in get_args(Paper)}
    assert set(numbers["mae_dfer"]) == {f"table_{n}" for n in range(2, 15)} | {"figure_3"}
    assert set(numbers["maura"]) == {f"table_{n}" for n in range(2, 6)}
    assert numbers["netease_abaw5"] == [f"table_{n}" for n in range(1, 10)]
    assert numbers["ctyunai_abaw6"] == ["table_1"]
    assert numbers["emotic_mae"] == [f"table_{n}" for n in range(1, 5)]


@pytest.mark.parametrize("name", PER_CLASS)
def test_the_recalls_of_a_row_average_to_its_uar(name: str) -> None:
    table = read_published("mae_dfer", name)
    classes = [column for column in table.columns if column not in ("#Params", "FLOPs", "UAR", "WAR")]
    checked = 0
    for row in table.rows:
        recalls = [table.cell(row, column).value for column in classes]
        if None not in recalls:
            assert sum(recalls) / len(recalls) == pytest.approx(table.cell(row, "UAR").value, abs=ROUNDING), row
            checked += 1
    assert checked >= 4 and len(classes) == (11 if name == "table_14" else 7)


@pytest.mark.parametrize(("short", "long"), [("table_6", "table_12"), ("table_7", "table_13"), ("table_8", "table_14")])
def test_a_table_and_its_one_per_class_say_the_same_unless_a_note_says_so(short: str, long: str) -> None:
    one, other = read_published("mae_dfer", short), read_published("mae_dfer", long)
    assert one.rows == other.rows
    for place, cell in one.cells.items():
        assert cell.printed == other.cells[place].printed or (cell.note and other.cells[place].note), place


def test_the_base_model_has_the_same_numbers_in_every_ablation_unless_a_note_says_so() -> None:
    tables = {name: read_published("mae_dfer", name) for name in ABLATIONS}
    for column in OF_FOLD_1:
        cells = {name: table.cell(BASE_ROWS[name], column) for name, table in tables.items()}
        common = cells["table_2"].printed
        assert [name for name, cell in cells.items() if cell.printed != common and not cell.note] == []


def test_figure_3_is_as_far_below_its_best_as_the_text_says() -> None:
    figure, best = read_published("mae_dfer", "figure_3"), read_published("mae_dfer", "table_2")
    for row, below in {"lambda 0": (1.77, 1.02), "lambda 1": (1.69, 0.92), "lambda 0.5": (0, 0)}.items():
        for column, apart in zip(OF_FOLD_1[:2], below, strict=True):
            assert best.cell("50 epochs", column).value - figure.cell(row, column).value == pytest.approx(apart)
        assert figure.cell(row, "FERV39k UAR").value is None
    assert figure.cell("lambda 0.25", "DFEW UAR").value is None and "none is printed" in dict(figure.remarks)[""]


def test_videomae_on_voxceleb2_is_the_same_model_in_tables_7_and_11() -> None:
    seven, eleven = read_published("mae_dfer", "table_7"), read_published("mae_dfer", "table_11")
    assert printed(seven, "VideoMAE (VoxCeleb2)", "UAR", "WAR") == printed(eleven, "appearance", *OF_FOLD_1[2:])


def test_the_views_of_maura_average_to_what_is_printed_but_for_the_one_that_a_note_doubts() -> None:
    table = read_published("maura", "table_3")
    views = [row for row in table.rows if row != "average"]
    off = []
    for column in table.columns:
        mean = sum(table.cell(view, column).value for view in views) / len(views)
        if abs(mean - table.cell("average", column).value) > 0.101:
            off.append(column)
    assert off == ["MAURA low"] and len(views) == 7
    assert "51.5" in table.cell("right 60", "MAURA low").note and "51.6" in table.cell("average", "MAURA low").note


def test_mauras_tables_share_their_numbers() -> None:
    two, three, four, five = (read_published("maura", f"table_{n}") for n in range(2, 6))
    for arm in ("VideoMAE", "MAU", "RA", "MAURA"):
        assert four.cell(arm, "MEAD low").value == three.cell("average", f"{arm} low").value
    for arm, row in {"VideoMAE": "VideoMAE", "MAURA": "MAURA (FT)"}.items():
        assert five.cell(arm, "random 70 %").value == three.cell("average", f"{arm} high").value
        assert [two.cell(row, column).value for column in four.columns] == [
            four.cell(arm, column).value for column in four.columns
        ]


@pytest.mark.parametrize(
    ("paper", "table", "row", "column", "words"),
    [
        ("mae_dfer", "table_8", "VideoMAE (Kinetics-400)", "UAR", "38.34"),
        ("mae_dfer", "table_14", "VideoMAE (Kinetics-400)", "UAR", "38.43"),
        ("mae_dfer", "table_3", "intra + inter + LGI", "FERV39k UAR", "43.12/52.07"),
        ("mae_dfer", "table_3", "intra + inter + LGI", "FERV39k WAR", "43.12/52.07"),
        ("mae_dfer", "table_2", "50 epochs", "DFEW UAR", "100-epoch cosine"),
        ("mae_dfer", "table_2", "50 epochs", "FERV39k WAR", "batch 128 in the text, 64 in the released script, 160"),
        ("maura", "table_2", "MAURA (FT)", "MEAD low", "51.6"),
        ("maura", "table_4", "MAURA", "MEAD low", "51.6"),
        ("maura", "table_2", "ViT-B (pt on MEAD)", "MFA", "from scratch"),
        ("maura", "table_2", "ViT-B (pt on MEAD)", "DFEW", "on DFEW by 5.1.3"),
        ("netease_abaw5", "table_1", "Official", "Avg.", "4.6 too small"),
        ("netease_abaw5", "table_7", "Ours", "AU", "average 55.48"),
        ("netease_abaw5", "table_7", "w/o TMF", "VA", "MAE, which has TMF"),
        ("netease_abaw5", "table_8", "MAE", "VA", "without TMF"),
        ("netease_abaw5", "table_8", "MAE + DLN", "VA", "w/o. MAE finetune"),
        ("ctyunai_abaw6", "table_1", "AU F1-score (Baseline)", "Fold 0", "that split is not said"),
        ("emotic_mae", "table_1", "Eye + Mouth + Nose", "Accuracy", "has .491"),
        ("emotic_mae", "table_1", "Eye + Mouth + Nose", "Macro F1", "more than those of Eye + Mouth"),
        ("emotic_mae", "table_1", "Eye", "Fear", "the full face as .015"),
        ("emotic_mae", "table_3", "Ours", "F1", "whether it votes or averages is not said"),
        ("emotic_mae", "table_4", "Ours", "Test", ".401 on the validation set"),
    ],
)
def test_a_doubtful_cell_carries_its_note(paper: str, table: str, row: str, column: str, words: str) -> None:
    assert words in read_published(paper, table).cell(row, column).note


@pytest.mark.parametrize(
    ("paper", "table", "column", "words"),
    [
        ("maura", "table_2", "CMU-MOSEI", "six yes-or-no"),
        ("maura", "table_2", "DFEW", "16,372"),
        ("maura", "table_2", "MFA", "V-F1"),
        ("maura", "table_2", "MEAD high", "neutral exists at level 1 only"),
        ("maura", "table_3", "", "macro F1"),
        ("maura", "table_4", "DFEW", "16,372"),
        ("maura", "table_5", "", "mean over its seven views"),
        ("netease_abaw5", "table_1", "", "threshold"),
        ("netease_abaw5", "table_2", "Avg.", "Eq. 6"),
        ("netease_abaw5", "table_7", "", "MAE for AU, MAE + Hubert + Vggish for EXPR and VA"),
        ("netease_abaw5", "table_9", "", "windows of 10, 25 and 50"),
        ("ctyunai_abaw6", "table_1", "", "which videos make a fold is not said"),
        ("ctyunai_abaw6", "table_1", "", "no dropout (paper .3)"),
        ("emotic_mae", "table_1", "Macro F1", "the columns of classes are F1"),
        ("emotic_mae", "table_1", "", "8,000 training images"),
    ],
)
def test_what_a_paper_leaves_open_is_remarked_on_the_column_or_the_table(
    paper: str, table: str, column: str, words: str
) -> None:
    remarks = read_published(paper, table).remarks
    assert any(words in note for where, note in remarks if where == column)


@pytest.mark.parametrize(
    ("recipe", "table", "row"),
    [
        ("mae_dfer_base", "table_2", "50 epochs"),
        ("mae_dfer_small", "table_10", "small"),
        ("mae_dfer_tiny", "table_10", "tiny"),
        ("lgi_intra", "table_3", "intra"),
        ("lgi_intra_inter", "table_3", "intra + inter"),
        ("lgi_intra_lgi", "table_3", "intra + LGI"),
        ("region_1x5x10", "table_4", "1x5x10"),
        ("region_2x2x10", "table_4", "2x2x10"),
        ("region_2x10x10", "table_4", "2x10x10"),
        ("region_4x5x10", "table_4", "4x5x10"),
        ("lambda_0", "figure_3", "lambda 0"),
        ("lambda_1", "figure_3", "lambda 1"),
        ("vit_base_joint", "table_3", "ViT"),
        ("vit_base_joint", "table_11", "appearance + motion"),
        ("vit_base_appearance", "table_11", "appearance"),
        ("vit_base_motion", "table_11", "motion"),
    ],
)
def test_a_recipe_of_voxceleb2_states_the_numbers_of_its_row(recipe: str, table: str, row: str) -> None:
    published, doc = read_published("mae_dfer", table), voxceleb.RECIPES[recipe].__doc__
    assert f"DFEW {printed(published, row, *OF_FOLD_1[:2])}" in doc
    assert (
        published.cell(row, "FERV39k UAR").value is None or f"FERV39k {printed(published, row, *OF_FOLD_1[2:])}" in doc
    )


@pytest.mark.parametrize(
    ("recipe", "table", "prefix"),
    [("dfew", "table_6", ""), ("ferv39k", "table_7", ""), ("mafw", "table_8", "")]
    + [
        ("crema_d", "table_9", "CREMA-D "),
        ("ravdess", "table_9", "RAVDESS "),
        ("enterface05", "table_9", "eNTERFACE05 "),
    ],
)
def test_a_recipe_of_fine_tuning_states_the_numbers_of_its_row(recipe: str, table: str, prefix: str) -> None:
    published, doc = read_published("mae_dfer", table), finetuning.RECIPES[recipe].__doc__
    uar, war = (published.cell("MAE-DFER", f"{prefix}{name}").printed for name in ("UAR", "WAR"))
    assert f"UAR {uar}, WAR {war}" in " ".join(doc.split())


@pytest.mark.parametrize(
    ("recipe", "column"),
    [
        ("mead_low", "MEAD low"),
        ("mead_high", "MEAD high"),
        ("mfa", "MFA"),
        ("dfew_f1", "DFEW"),
        ("cmu_mosei", "CMU-MOSEI"),
    ],
)
def test_a_recipe_of_mauras_fine_tuning_states_the_numbers_of_its_column(recipe: str, column: str) -> None:
    table, doc = read_published("maura", "table_2"), finetuning.RECIPES[recipe].__doc__
    assert re.search(rf"(F1|accuracy) {table.cell('MAURA (FT)', column).printed}", doc)
    assert f"{table.cell('VideoMAE', column).printed} from VideoMAE" in " ".join(doc.split())


@pytest.mark.parametrize(
    ("recipe", "arm"), [("maura", "MAURA"), ("videomae", "VideoMAE"), ("mau", "MAU"), ("ra", "RA")]
)
def test_a_recipe_of_mead_states_the_numbers_of_tables_3_and_4(recipe: str, arm: str) -> None:
    three, four = read_published("maura", "table_3"), read_published("maura", "table_4")
    doc = " ".join(mead.RECIPES[recipe].__doc__.split())
    low, high = (three.cell("average", f"{arm} {level}").printed for level in ("low", "high"))
    assert f"{low} / {high}" in doc
    assert f"DFEW {four.cell(arm, 'DFEW').printed}, MFA {four.cell(arm, 'MFA').printed}" in doc


@pytest.mark.parametrize("kind", ["random", "tube"])
@pytest.mark.parametrize("ratio", ["70", "90"])
@pytest.mark.parametrize("arm", ["VideoMAE", "MAURA"])
def test_a_recipe_of_mead_states_its_cell_of_table_5(arm: str, kind: str, ratio: str) -> None:
    name = f"{arm.lower()}_{kind}_{ratio}"
    recipe = mead.RECIPES.get(name) or mead.RECIPES[arm.lower()]
    assert read_published("maura", "table_5").cell(arm, f"{kind} {ratio} %").printed in recipe.__doc__


def test_what_is_not_kept_is_refused_with_what_is() -> None:
    with pytest.raises(ValueError, match="no tables of 'marlin' are kept; there are: mae_dfer, maura"):
        read_published("marlin", "table_1")
    with pytest.raises(ValueError, match="no 'table_99' of maura is kept; there are: table_2, table_3"):
        read_published("maura", "table_99")
    table = read_published("mae_dfer", "table_9")
    with pytest.raises(ValueError, match="table_9 of mae_dfer has no row 'Ours'; there are: VO-LSTM"):
        table.cell("Ours", "CREMA-D UAR")
    with pytest.raises(ValueError, match="has no column 'F1'; there are: CREMA-D UAR"):
        table.cell("MAE-DFER", "F1")
    with pytest.raises(ValueError, match="has eNTERFACE05 UAR, eNTERFACE05 WAR of 'Graph-Tran', not 'CREMA-D UAR'"):
        table.cell("Graph-Tran", "CREMA-D UAR")

"""Labels made of arrays are those made of objects."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipelines.label_columns import ProtocolLabels, with_label_columns
from pipelines.labels import EvaluationProtocol, Label, attribute_values, check_labels, label_rows, with_labels

NAN = float("nan")
TABLE = pa.table({"uri": ["a", "b", "c", "d"]})
FOLDS = ProtocolLabels("folds", np.array([3, 0]), np.array([[0.0, 1.0], [1.0, 0.0]]), ["2", "1"])
ALL = ProtocolLabels("all", np.array([0, 1]), np.array([[NAN, 0.5, 1], [1, NAN, NAN]]), np.array(["train", "test"]))
AFFECT = EvaluationProtocol("all", "affect", ("expr/calm", "va/valence", "va/arousal"))


def test_columns_of_arrays_are_those_of_objects() -> None:
    made = with_label_columns(TABLE, [FOLDS, ALL], {"sex": ["f", "", "", "m"], "age": pa.array(["", "7", "", "8"])})
    first, all_of_0 = Label("folds", (1, 0), "1"), Label("all", (NAN, 0.5, 1), "train")
    labels = [[first, all_of_0], [Label("all", (1, NAN, NAN), "test")], [], [Label("folds", (0, 1), "2")]]
    expected = with_labels(TABLE, labels, [{"sex": "f"}, {"age": "7"}, {}, {"sex": "m", "age": "8"}])
    assert made.schema == expected.schema
    assert str(made.to_pylist()) == str(expected.to_pylist()), "NaN is not equal to itself"
    assert attribute_values(made["attributes"], "age") == ["", "7", "", "8"]


def test_labels_are_read_back_as_arrays_in_the_order_of_rows() -> None:
    made = with_label_columns(TABLE, [FOLDS, ALL])
    row_N, target_NK, part_N = label_rows(made["labels"], EvaluationProtocol("folds", "classes", ("x", "y"), folds=2))
    assert (row_N.tolist(), target_NK.tolist(), part_N.tolist()) == ([0, 3], [[1, 0], [0, 1]], ["1", "2"])
    np.testing.assert_array_equal(label_rows(made["labels"], AFFECT)[1], ALL.target_NK.astype(np.float32))


def test_without_labels_both_columns_are_empty_and_replace_others() -> None:
    labelled = with_label_columns(TABLE, [FOLDS], {"sex": ["f"] * 4})
    assert with_label_columns(labelled).to_pylist() == with_labels(TABLE, [()] * 4).to_pylist()
    assert with_label_columns(TABLE.slice(0, 0)).num_rows == 0


def test_long_columns_of_numpy_strings_are_taken() -> None:
    count = 500_000  # arrow makes several chunks of them
    table = pa.table({"uri": pa.array(np.arange(count)).cast(pa.string())})
    parts = np.full(count, "validation" * 4)
    one = ProtocolLabels("p", np.arange(count), np.ones((count, 1), np.float32), parts)
    assert isinstance(pa.array(parts, pa.string()), pa.ChunkedArray), "else this tests nothing"
    assert with_label_columns(table, [one])["labels"][count - 1].as_py()[0]["part"] == parts[0]


def test_arrays_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="protocol folds has 2 rows, 2 targets and 1 parts"):
        with_label_columns(TABLE, [FOLDS._replace(part_N=["1"])])
    with pytest.raises(ValueError, match="rows 0 to 9 are labelled in a table of 4"):
        with_label_columns(TABLE, [FOLDS._replace(row_N=np.array([9, 0]))])
    with pytest.raises(ValueError, match="attribute sex has 1 values for 4 rows"):
        with_label_columns(TABLE, (), {"sex": ["f"]})


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ((NAN, 0.5, float("inf")), "not finite"),
        ((NAN, NAN, NAN), "says nothing: leave the label out"),
        ((1.0, 0.5), "2 numbers for 3 classes"),
    ],
)
def test_a_task_may_be_left_out_of_several_but_not_all_of_them(target: tuple[float, ...], problem: str) -> None:
    check_labels(with_label_columns(TABLE, [ALL]), [AFFECT])
    wrong = with_labels(TABLE, [[Label("all", (1, 0.5, NAN), "train")], [Label("all", target, "train")], [], []])
    with pytest.raises(ValueError, match=f"'b', protocol all: .*{problem}"):
        check_labels(wrong, [AFFECT])


def test_an_empty_number_is_not_taken_for_one_that_is_not_known() -> None:
    labels = [[{"protocol": "all", "target": [1.0, None, 0.5], "part": "train"}], [], [], []]
    table = with_labels(TABLE, [()] * 4)
    table = table.set_column(1, "labels", pa.array(labels, table.schema.field("labels").type))
    with pytest.raises(ValueError, match="'a', protocol all: an empty number"):
        check_labels(table, [AFFECT])

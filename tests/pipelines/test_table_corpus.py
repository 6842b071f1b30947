from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpora import table
from pipelines.corpora.registry import Labelled, find_labelled
from pipelines.labels import attribute_values, check_labels, label_rows
from pipelines.storage import Storage
from pipelines.takes import subject_folds
from tests.pipelines.listed_table import listed_table

NAMES = ["a.mp4", "b/b.MOV", "frames/c/0001.png", "frames/c/0002.png", "d.mkv"]
PATHS = ("a.mp4", "b/b.MOV", "frames/c", "d.mkv")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def labelled(storage: Storage, text: str, withdrawn: tuple[str, ...] = (), names: list[str] = NAMES) -> Labelled:
    storage.write("labels.csv", text.encode())
    return read(storage, withdrawn, names)


def read(storage: Storage, withdrawn: tuple[str, ...] = (), names: list[str] = NAMES) -> Labelled:
    listing = table.settle(listed_table(table, names))
    kept = listing.filter([uri not in withdrawn for uri in listing["uri"].to_pylist()])
    found = table.label(kept, storage, withdrawn)
    check_labels(found.table, found.protocols)
    return found


def told(found: Labelled) -> dict[str, tuple[tuple[float, ...], str]]:
    """Target and part by uri."""
    row_N, target_NK, part_N = label_rows(found.table["labels"], found.protocols[0])
    uris = found.table["uri"].to_pylist()
    return {uris[row]: (tuple(target_NK[n].tolist()), str(part_N[n])) for n, row in enumerate(row_N)}


def csv_of(columns: str, *cells: str) -> str:
    """One line for each of the first videos."""
    return "\n".join([f"path,{columns}", *(f"{path},{cell}" for path, cell in zip(PATHS, cells, strict=False))])


def test_class_names_in_a_fixed_split_label_files_and_folders_of_frames(storage: Storage) -> None:
    found = labelled(storage, csv_of("label,split", "sad,train", "joy,validation", "joy,test"))
    assert find_labelled("table") is table
    assert (found.protocols[0].name, found.protocols[0].task, found.protocols[0].metric) == ("labels", "classes", "uar")
    assert found.protocols[0].classes == ("joy", "sad") and found.protocols[0].parts == ("train", "validation", "test")
    assert told(found) == {
        "a.mp4": ((0.0, 1.0), "train"),
        "b/b.MOV": ((1.0, 0.0), "validation"),
        "frames/c": ((1.0, 0.0), "test"),
    }
    splits = dict(zip(found.table["uri"].to_pylist(), found.table["split"].to_pylist(), strict=True))
    assert splits == {"a.mp4": "train", "b/b.MOV": "validation", "frames/c": "test", "d.mkv": "all"}
    assert found.table["subject"].to_pylist() == found.table["uri"].to_pylist()


def test_a_list_of_classes_sets_their_order_and_refuses_others(storage: Storage) -> None:
    storage.write("classes.txt", b"sad\n\njoy\nfear\n")
    found = labelled(storage, csv_of("label,split", "sad,train", "joy,test"))
    assert found.protocols[0].classes == ("sad", "joy", "fear")
    with pytest.raises(ValueError, match="labels.csv, line 3: label 'jjoy' is not in classes.txt: sad, joy, fear"):
        labelled(storage, csv_of("label,split", "sad,train", "jjoy,test"))
    with pytest.raises(ValueError, match="classes.txt lists sad, joy, fear, labels.csv has columns for sad, joy"):
        labelled(storage, csv_of("mark:sad,mark:joy,split", "0,1,train"))


@pytest.mark.parametrize(
    ("prefix", "cells", "task", "metric", "target"),
    [
        ("class", "0.25,0.75", "classes", "uar", (0.25, 0.75)),
        ("mark", "1,1", "multi_label", "multi_label_f1", (1.0, 1.0)),
        ("mark", "0,0.0", "multi_label", "multi_label_f1", (0.0, 0.0)),
        ("value", "-1.5,20", "regression", "ccc", (-1.5, 20.0)),
    ],
)
def test_the_prefix_of_the_columns_says_what_their_numbers_are(
    prefix: str, cells: str, task: str, metric: str, target: tuple[float, float], storage: Storage
) -> None:
    found = labelled(storage, csv_of(f"{prefix}:x,split,{prefix}:w", cells.replace(",", ",test,")))
    assert (found.protocols[0].task, found.protocols[0].metric) == (task, metric)
    assert found.protocols[0].classes == ("x", "w")
    assert told(found) == {"a.mp4": (target, "test")}


def test_one_number_can_be_predicted(storage: Storage) -> None:
    assert told(labelled(storage, csv_of("value:valence,split", "0.5,train"))) == {"a.mp4": ((0.5,), "train")}


def test_folds_are_taken_as_they_are_numbered(storage: Storage) -> None:
    found = labelled(storage, csv_of("label,fold", "x,2", "y,1", "x,3", "y,1"))
    assert found.protocols[0].folds == 3
    assert {uri: part for uri, (_, part) in told(found).items()} == dict(zip(PATHS, "2131", strict=True))
    assert set(found.table["split"].to_pylist()) == {"all"}


def test_people_are_dealt_into_five_folds_that_a_withdrawal_does_not_move(storage: Storage) -> None:
    names = [f"{person}{take}.mp4" for person in "abcdefg" for take in range(2)]
    text = "path,label,subject\n" + "\n".join(f"{name},{'xy'[k % 2]},{name[0]}" for k, name in enumerate(names))
    found = labelled(storage, text, names=names)
    folds = subject_folds("abcdefg")
    assert {uri: part for uri, (_, part) in told(found).items()} == {name: str(folds[name[0]] + 1) for name in names}
    assert set(found.table["subject"].to_pylist()) == set("abcdefg")
    withdrawn = ("b0.mp4", "b1.mp4")
    kept = told(read(storage, withdrawn, names))
    assert kept == {uri: label for uri, label in told(found).items() if uri not in withdrawn}


def test_other_columns_are_attributes_and_empty_cells_are_not_known(storage: Storage) -> None:
    found = labelled(storage, csv_of("label,split,sex,place", "x,train,f,", 'y,test,,"home, sweet"'))
    assert attribute_values(found.table["attributes"], "sex") == ["f", "", "", ""]
    assert attribute_values(found.table["attributes"], "place") == ["", "home, sweet", "", ""]
    assert {pair["name"] for row in found.table["attributes"].to_pylist() for pair in row} == {"sex", "place"}


def test_a_parquet_table_says_the_same_as_a_csv(storage: Storage, tmp_path: Path) -> None:
    found = labelled(storage, csv_of("subject,fold,mark:x,mark:y,age", "p,1,1,0,30", "q,2,0,1,", "q,2,1,1,40"))
    storage.remove("labels.csv")
    columns = {
        "path": PATHS[:3],
        "subject": ["p", "q", "q"],
        "fold": pa.array([1.0, 2.0, 2.0], pa.float32()),
        "mark:x": [True, False, True],
        "mark:y": [0, 1, 1],
        "age": [30, None, 40],
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    storage.write("labels.parquet", sink.getvalue())
    assert read(storage).table == found.table
    storage.write("labels.csv", b"path\n")
    with pytest.raises(ValueError, match="holds labels.csv and labels.parquet; it needs labels.csv or labels.parquet"):
        read(storage)


def test_a_root_without_a_table_says_what_it_needs(storage: Storage) -> None:
    with pytest.raises(ValueError, match="holds no labels; it needs labels.csv or labels.parquet"):
        read(storage)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no line below its header"),
        ("path,label,split\n", "has no line below its header"),
        ("path,label,,split\na.mp4,x,y,train", "each needs a name of its own"),
        ("path,label,label\na.mp4,x,y", "each needs a name of its own"),
        ("file,label,split\na.mp4,x,train", "has no column path, only file, label, split"),
        ("path,label,split\na.mp4,x", "line 2 has 2 cells for 3 columns"),
        ("path,label,split\n\na.mp4,x,train\n,y,test", "line 4: path is empty; fill it in, or remove the line"),
        ("path,label,split\na.mp4,x,train\na.mp4,y,test", "line 3 names 'a.mp4' again, after labels.csv, line 2"),
        ("path,label,split\n../a.mp4,x,train", "line 2, column path: name '../a.mp4' must be relative"),
        ("path,label,split\nz.mp4,x,train", "1 of the 1 videos that labels.csv labels are not there: z.mp4"),
        ("path,label,split\nz.wav,x,train", "line 2: 'z.wav' is no file that is read"),
        ("path,label,split\nframes/c/0001.png,x,train", "one image; write the folder that holds all frames"),
        ("path,split\na.mp4,train", "it needs one kind of label: label"),
        ("path,label,value:x,split\na.mp4,x,1,train", "it needs one kind of label: label"),
        ("path,label,split\na.mp4,,train", "line 2: label is empty"),
        ("path,label,split\na.mp4,x,train", r"classes=\('x',\) of protocol 'labels' must be several"),
        ("path,value:x,split\na.mp4,high,train", "line 2: value:x is 'high'; write a number"),
        ("path,value:x,split\na.mp4,nan,train", "line 2: value:x is 'nan'; write a number"),
        (
            "path,mark:x,mark:y,split\na.mp4,1,2,train",
            r"line 2: the columns mark: are \(1.0, 2.0\); each must be 0 or 1",
        ),
        ("path,class:x,class:y,split\na.mp4,3,1,train", "together 4; shares must not be negative and add up to 1"),
        ("path,class:x,class:y,split\na.mp4,-1,2,train", "shares must not be negative"),
        ("path,label,split\na.mp4,x,dev", "line 2: split is 'dev'; write train, validation, test"),
        ("path,label,split,fold\na.mp4,x,test,1", "has the columns split and fold; keep one"),
        ("path,label,fold\na.mp4,x,0\nd.mkv,y,1", "the folds are 0, 1; number them 1, 2"),
        ("path,label,fold\na.mp4,x,1\nd.mkv,y,1", "the folds are 1; number them 1, 2"),
        ("path,label,fold\na.mp4,x,1\nd.mkv,y,2.5", "the folds are 1, 2.5; number them 1, 2"),
        ("path,label\na.mp4,x", "add a column subject .the person: 5 folds"),
        ("path,label,subject\na.mp4,x,p\nd.mkv,y,q", "has 2 subjects, too few for 5 folds; add a column split or fold"),
        ("path,label,subject,split\na.mp4,x,,train", "line 2: subject is empty"),
        ("path,label,subject,split\na.mp4,x,p,train\nd.mkv,y,p,test", "1 subjects are in several parts.*: p; keep"),
        ('path,label,split\n"a.mp4,x,train', "line 2: unexpected end of data"),
    ],
)
def test_a_wrong_table_is_refused_with_line_value_and_remedy(text: str, problem: str, storage: Storage) -> None:
    with pytest.raises(ValueError, match=problem):
        labelled(storage, text)


def test_a_table_that_is_not_utf8_is_refused(storage: Storage) -> None:
    storage.write("labels.csv", "path,label,split\na.mp4,fröhlich,train\n".encode("latin-1"))
    with pytest.raises(ValueError, match="labels.csv is not UTF-8"):
        read(storage)


def test_a_damaged_or_nested_parquet_table_is_refused(storage: Storage) -> None:
    storage.write("labels.parquet", b"PAR1")
    with pytest.raises(ValueError, match="labels.parquet is no Parquet file"):
        read(storage)
    sink = io.BytesIO()
    pq.write_table(pa.table({"path": ["a.mp4"], "label": [["x", "y"]]}), sink)
    storage.write("labels.parquet", sink.getvalue())
    with pytest.raises(ValueError, match="lists or structures in the columns label"):
        read(storage)


def test_a_withdrawn_video_may_stay_in_the_table(storage: Storage) -> None:
    text = csv_of("label,split", "x,train", "y,test")
    assert list(told(labelled(storage, text, withdrawn=("b/b.MOV",)))) == ["a.mp4"]


def test_frames_that_lie_between_other_videos_are_refused() -> None:
    doubled = pa.table({"uri": ["a", "a", "a/b.mp4"]})
    with pytest.raises(ValueError, match="frames lie between other videos in a; give the frames folders of their own"):
        table.settle(doubled)


@pytest.mark.parametrize("name", ["labels.csv", "notes.txt", "poster.jpg", "a/.hidden.mp4", "a/.0001.jpg"])
def test_what_is_neither_a_video_nor_a_frame_in_a_folder_is_ignored(name: str) -> None:
    assert table.parse(name) is None

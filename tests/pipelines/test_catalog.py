from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.catalog import SCHEMA, UNLABELLED, Catalog, load, make_catalog, save
from pipelines.labels import EvaluationProtocol, Label, attribute_values, label_rows, with_labels
from pipelines.quarantine import Reason


def row(index: int, **values: Any) -> dict[str, Any]:
    good = {
        "sample_id": index,
        "uri": f"dev/{index:03d}.mp4",
        "size": 1000 + index,
        "etag": f"tag{index}",
        "digest": f"{index:032x}",
        "split": "dev",
        "subject": f"id{index}",
        "video": "v",
        "width": 224,
        "height": 224,
        "fps": 25.0,
        "frames": 100,
        "seconds": 4.0,
        "status": "ok",
        "detail": "",
    }
    return good | UNLABELLED | values


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows or (row(0), row(1), row(2))), schema=SCHEMA)


def catalog(*rows: dict[str, Any], root: str = "s3://bucket/vox", exclusions: tuple[str, ...] = ()) -> Catalog:
    return make_catalog(table(*rows), corpus="voxceleb2", root=root, exclusions=exclusions)


def test_a_catalog_is_read_as_it_was_written(tmp_path: Path) -> None:
    bad = row(2, status=Reason.short_read.value, frames=0, fps=0.0, detail="cut")
    written = catalog(row(0), row(1, uri="dev/001 é.mp4"), bad, exclusions=("id00007",))
    save(written, str(tmp_path / "c.parquet"))
    assert load(str(tmp_path / "c.parquet")) == written
    assert written.counts() == {"ok": 2, "short_read": 1}
    assert written.storage.uri == "s3://bucket/vox"


def test_a_catalog_lives_in_object_storage_too(s3_bucket: str) -> None:
    written = catalog()
    save(written, f"{s3_bucket}/catalogs/c.parquet")
    assert load(f"{s3_bucket}/catalogs/c.parquet") == written


def test_a_moved_corpus_keeps_its_fingerprint(tmp_path: Path) -> None:
    save(catalog(), str(tmp_path / "c.parquet"))
    moved = load(str(tmp_path / "c.parquet"), root="/data/vox")
    assert moved.storage.uri == "/data/vox"
    assert moved.fingerprint == catalog().fingerprint


@pytest.mark.parametrize(
    "values",
    [
        {"uri": "dev/0000.mp4"},
        {"size": 1},
        {"digest": "f" * 32},
        {"split": "test"},
        {"subject": "x"},
        {"frames": 99},
        {"fps": 25.000001},
        {"status": "decode"},
    ],
)
def test_the_fingerprint_depends_on_what_the_videos_are(values: dict[str, Any]) -> None:
    changed = catalog(row(0, **values), row(1), row(2))
    assert changed.fingerprint != catalog().fingerprint


def test_the_fingerprint_does_not_depend_on_where_they_are_kept_nor_on_messages() -> None:
    elsewhere = catalog(row(0, etag="other"), row(1, detail="words"), row(2), root="/data")
    assert elsewhere.fingerprint == catalog().fingerprint
    chunked = pa.concat_tables([table(row(0)), table(row(1), row(2))])
    assert make_catalog(chunked, corpus="voxceleb2", root="/").fingerprint == catalog().fingerprint


def test_the_fingerprint_of_unlabelled_videos_is_that_of_every_version() -> None:
    assert catalog().fingerprint == "e056c8d9e89cae4fba5179142a1a7932bbf3b01a0ab088ee135e8ed15e0bac86"
    bad = row(2, status="short_read", frames=0, fps=0.0, detail="cut")
    accents = catalog(row(0), row(1, uri="dev/001 é.mp4"), bad, exclusions=("id00007",))
    assert accents.fingerprint == "caa4ca34c8c755ff18b081ab70b56b87f38b1d60f173ff564cf147040f9c931a"


def test_the_fingerprint_depends_on_corpus_and_exclusions() -> None:
    prints = {
        catalog().fingerprint,
        catalog(exclusions=("id9",)).fingerprint,
        make_catalog(table(), corpus="folder", root="/").fingerprint,
    }
    assert len(prints) == 3


def test_values_that_move_between_neighbouring_cells_change_the_fingerprint() -> None:
    one, other = catalog(row(0, subject="ab", video="c")), catalog(row(0, subject="a", video="bc"))
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row(1)], "sample_id must count"),
        ([row(0), row(1, uri="dev/000.mp4")], "uri must ascend"),
        ([row(0, uri="../secret.mp4")], "may leave the root"),
        ([row(0, uri="/etc/passwd")], "may leave the root"),
        ([row(0, uri="a/../../b.mp4")], "may leave the root"),
        ([row(0, uri="s3://other/b.mp4")], "may leave the root"),
        ([row(0, status="fine")], "unknown status"),
        ([row(0), row(1, frames=1)], r"row 1 .* fewer than two frames"),
        ([row(0, fps=float("nan"))], "without a frame rate"),
        ([row(0, fps=0.0)], "without a frame rate"),
        ([row(0, width=0)], "without a width"),
        ([row(0, size=0)], "without a size"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(rows: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        catalog(*rows)


def test_missing_unknown_mistyped_and_empty_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="etag"):
        make_catalog(table().drop_columns("etag"), corpus="folder", root="/")
    with pytest.raises(ValueError, match="mood"):
        make_catalog(table().append_column("mood", pa.array(["a"] * 3)), corpus="folder", root="/")
    floats = table().set_column(12, "frames", pa.array([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="frames"):
        make_catalog(floats, corpus="folder", root="/")
    holes = table().set_column(9, pa.field("width", pa.int32()), pa.array([1, None, 3], pa.int32()))
    with pytest.raises(ValueError, match="width.*empty cells"):
        make_catalog(holes, corpus="folder", root="/")


def test_an_edited_catalog_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "c.parquet")
    save(catalog(), path)
    edited = pq.read_table(path)
    frames = pa.array(np.full(3, 50), pa.int32())
    pq.write_table(edited.set_column(12, edited.schema.field("frames"), frames), path)
    with pytest.raises(ValueError, match="was changed after it was built"):
        load(path)


def test_another_file_is_no_catalog(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"<?xml")
    with pytest.raises(ValueError, match="no Parquet file"):
        load(str(tmp_path / "a.parquet"))
    pq.write_table(table(), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="no catalog; build one"):
        load(str(tmp_path / "b.parquet"))


def test_a_catalog_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.catalog._VERSION", 99)
    save(catalog(), str(tmp_path / "c.parquet"))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="version 99"):
        load(str(tmp_path / "c.parquet"))


def test_a_catalog_without_rows_is_one(tmp_path: Path) -> None:
    empty = make_catalog(SCHEMA.empty_table(), corpus="folder", root="/data")
    save(empty, str(tmp_path / "c.parquet"))
    assert load(str(tmp_path / "c.parquet")) == empty


MOODS = EvaluationProtocol("single", "classes", ("calm", "angry"), folds=2)


def labelled(*labels: list[Label], protocols: tuple[EvaluationProtocol, ...] = (MOODS,)) -> Catalog:
    rows = with_labels(table(), labels, [{"sex": "female"}, {}, {}])
    return make_catalog(rows, corpus="table", root="/data", protocols=protocols)


def moods(*targets: tuple[float, ...], part: str = "1") -> list[list[Label]]:
    return [[Label("single", target, part)] if target else [] for target in targets]


def test_labels_and_what_they_mean_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = labelled(*moods((1, 0), (), (0, 1)))
    save(written, str(tmp_path / "c.parquet"))
    read = load(str(tmp_path / "c.parquet"))
    assert (read, read.protocol("single")) == (written, MOODS)
    row_N, target_NK, part_N = label_rows(read.table["labels"], MOODS)
    assert (row_N.tolist(), target_NK.tolist(), part_N.tolist()) == ([0, 2], [[1, 0], [0, 1]], ["1", "1"])
    assert attribute_values(read.table["attributes"], "sex") == ["female", "", ""]
    with pytest.raises(ValueError, match="no protocol 'all'; it has single"):
        read.protocol("all")


def test_the_fingerprint_tells_labels_their_order_and_attributes() -> None:
    other_order = EvaluationProtocol("single", "classes", ("angry", "calm"), folds=2)
    prints = {
        labelled(*moods((1, 0), (), (0, 1))).fingerprint,
        labelled(*moods((0, 1), (), (0, 1))).fingerprint,
        labelled(*moods((1, 0), (), (0, 1), part="2")).fingerprint,
        labelled(*moods((1, 0), (), (0, 1)), protocols=(other_order,)).fingerprint,
    }
    assert len(prints) == 4


def test_what_is_not_known_of_several_tasks_stays_unknown(tmp_path: Path) -> None:
    affect = EvaluationProtocol("single", "affect", ("expr/calm", "va/valence"), metric="affect")
    several = moods((1, float("nan")), (), (float("nan"), -0.5), part="train")
    written = labelled(*several, protocols=(affect,))
    save(written, str(tmp_path / "c.parquet"))
    read = load(str(tmp_path / "c.parquet"))
    assert read.fingerprint == written.fingerprint and read.protocol("single") == affect
    np.testing.assert_array_equal(label_rows(read.table["labels"], affect)[1], [[1, np.nan], [np.nan, -0.5]])
    known = labelled(*moods((1, 0), (), (float("nan"), -0.5), part="train"), protocols=(affect,))
    assert known.fingerprint != written.fingerprint


def test_the_fingerprint_of_labels_depends_neither_on_chunks_nor_on_what_made_a_nan() -> None:
    affect = EvaluationProtocol("single", "affect", ("expr/calm", "va/valence"), metric="affect")
    other = np.frombuffer(np.array([0xFFC00001], np.uint32).tobytes(), np.float32)[0]
    prints = set()
    for nan in (np.float32("nan"), other):
        rows = labelled(*moods((1, nan), (), (0, 1), part="train"), protocols=(affect,)).table
        for pieces in ([rows], [rows.slice(0, 1), rows.slice(1)]):
            one = make_catalog(pa.concat_tables(pieces), corpus="table", root="/data", protocols=(affect,))
            prints.add(one.fingerprint)
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (moods((1, 0, 0), (), ()), r"dev/000.mp4', protocol single: 3 numbers for 2 classes"),
        (moods((1, 1), (), ()), "shares that add up to 1"),
        (moods((float("nan"), 0), (), ()), "not finite"),
        (moods((1, 0), (), (), part="3"), "part '3' is none of 1, 2"),
        ([[Label("double", (1, 0), "1")], [], []], "labels of the protocols .'double'.*each of .'single'. once"),
        ([[Label("single", (1, 0), "1")] * 2, [], []], "once"),
        (moods((), (), ()), "no video has a label of the protocols single"),
    ],
)
def test_a_label_that_cannot_be_meant_is_refused_with_its_video(labels: list[list[Label]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        labelled(*labels)


def test_labels_without_a_protocol_are_refused() -> None:
    with pytest.raises(ValueError, match="the corpus has each of"):
        labelled(*moods((1, 0), (), ()), protocols=())

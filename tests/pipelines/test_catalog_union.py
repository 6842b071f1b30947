"""A union of corpora is a catalog: each video once, wherever it is."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.batch_reader import VIDEO_COLUMNS, fetch, video_at
from pipelines.catalog import SCHEMA, UNLABELLED, Catalog, load, make_catalog, save
from pipelines.catalog_union import unite
from pipelines.joined_storage import JoinedStorage
from pipelines.labels import EvaluationProtocol, Label, with_labels
from pipelines.storage import ObjectMissing, Storage
from tests.pipelines import media
from tests.pipelines.image_corpus import build_here, picture, pictures, tarred, write


def row(index: int, uri: str, digest: str, **values: Any) -> dict[str, Any]:
    place = {"sample_id": index, "uri": uri, "kind": "image", "size": 10, "etag": "e", "digest": digest}
    names = {"split": "dev", "subject": "s", "video": "v", "status": "ok", "detail": ""}
    numbers = {"width": 8, "height": 8, "fps": 25.0, "frames": 1, "seconds": 0.0}
    return UNLABELLED | place | names | numbers | values


def catalog(corpus: str, *rows: dict[str, Any], **options: Any) -> Catalog:
    table = pa.Table.from_pylist(list(rows), SCHEMA)
    return make_catalog(table, corpus=corpus, root=f"/data/{corpus}", **options)


FER = catalog("fer", row(0, "a.png", "1"), row(1, "b.png", "2", split="test"), row(2, "c.png", "1"))
PLUS = catalog(
    "fer-plus",
    row(0, "a.png", "2"),
    row(1, "x.png", "9", subject="t"),
    row(2, "y.png", "1", status="no_face", detail="none"),
    row(3, "z.png", "", status="decode"),
    exclusions=("me",),
)


def told(united: Catalog) -> list[tuple[str, str, str]]:
    return [tuple(row.values()) for row in united.table.select(["uri", "status", "detail"]).to_pylist()]


def test_of_the_same_pixels_the_first_corpus_keeps_its_own_and_the_others_are_told_whose() -> None:
    assert told(unite({"fer": FER, "fer-plus": PLUS})) == [
        ("fer-plus/a.png", "duplicate", "fer/b.png"),
        ("fer-plus/x.png", "ok", ""),
        ("fer-plus/y.png", "no_face", "none"),
        ("fer-plus/z.png", "decode", ""),
        ("fer/a.png", "ok", ""),
        ("fer/b.png", "ok", ""),
        ("fer/c.png", "duplicate", "fer/a.png"),
    ]
    other = {
        uri: detail for uri, status, detail in told(unite({"fer-plus": PLUS, "fer": FER})) if status == "duplicate"
    }
    assert other == {"fer/b.png": "fer-plus/a.png", "fer/c.png": "fer/a.png"}


def test_an_unusable_copy_is_no_reason_to_drop_a_usable_one() -> None:
    first = catalog("a", row(0, "a.png", "1", status="too_small"))
    assert [status for _, status, _ in told(unite({"a": first, "b": catalog("b", row(0, "a.png", "1"))}))] == [
        "too_small",
        "ok",
    ]


def test_rows_are_numbered_anew_people_belong_to_their_corpus_and_splits_stay() -> None:
    united = unite({"fer": FER, "fer-plus": PLUS})
    assert united.table["sample_id"].to_pylist() == list(range(7))
    assert united.subjects("dev") == ["fer-plus/t", "fer/s"]
    assert united.subjects("test") == ["fer/s"]
    assert (united.corpus, united.root, united.exclusions) == ("fer+fer-plus", "", ("fer-plus/me",))
    assert united.roots == {"fer": "/data/fer", "fer-plus": "/data/fer-plus"}


def test_labels_are_left_out() -> None:
    moods = EvaluationProtocol("moods", "classes", ("calm", "angry"))
    table = with_labels(FER.table, [[Label("moods", (1, 0), "train")]] * 3, [{"sex": "f"}] * 3)
    labelled = make_catalog(table, corpus="fer", root="/data/fer", protocols=(moods,))
    united = unite({"fer": labelled, "fer-plus": PLUS})
    assert united.protocols == () and united.fingerprint == unite({"fer": FER, "fer-plus": PLUS}).fingerprint


def test_a_union_is_read_as_it_was_written_and_has_no_root_of_its_own(tmp_path: Path) -> None:
    united, path = unite({"fer-plus": PLUS, "fer": FER}), str(tmp_path / "u.parquet")
    save(united, path)
    assert load(path) == united and list(load(path).roots) == ["fer-plus", "fer"]
    with pytest.raises(ValueError, match="is a union; load its corpora with their roots"):
        load(path, root="/elsewhere")


def test_the_fingerprint_depends_on_which_copies_are_kept_and_not_on_where_they_are() -> None:
    moved = catalog("fer", *FER.table.to_pylist())
    moved = Catalog(moved.table, moved.fingerprint, "fer", "s3://bucket/fer")
    united = unite({"fer": FER, "fer-plus": PLUS})
    assert unite({"fer": moved, "fer-plus": PLUS}).fingerprint == united.fingerprint
    assert unite({"fer-plus": PLUS, "fer": FER}).fingerprint != united.fingerprint


def test_what_cannot_be_united_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        unite({})
    with pytest.raises(ValueError, match="must have no slash"):
        unite({"a/b": FER})
    with pytest.raises(ValueError, match="x is a union of fer already"):
        unite({"x": unite({"fer": FER}), "fer-plus": PLUS})


def test_videos_of_a_union_are_fetched_from_their_own_roots(tmp_path: Path, s3_bucket: str) -> None:
    local, remote = Storage(tmp_path), Storage(s3_bucket).child("deep")
    write(local, pictures(2), "folder")
    remote.write("b/x.tar", tarred({f"{index}.png": data for index, data in enumerate(pictures(4).values())}))
    united = unite({"here": build_here(local).catalog, "there": build_here(remote).catalog})
    videos = united.table.select(VIDEO_COLUMNS)
    assert united.counts() == {"ok": 4, "duplicate": 2}
    storage = pickle.loads(pickle.dumps(united.storage))
    assert storage == united.storage and not storage.is_local
    for position, number in enumerate([0, 1, 0, 1, 2, 3]):
        found = fetch(storage, video_at(videos, position))
        np.testing.assert_array_equal(found.read([0])[0], picture(number))


def test_folders_and_files_of_several_roots_keep_the_names_of_the_catalog(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Storage(tmp_path / name).write("clip/deep/0.mp4", media.ERROR_PAGE + name.encode())
    joined = JoinedStorage({"one": str(tmp_path / "a"), "two": str(tmp_path / "b")})
    assert joined.is_local
    assert [item.name for item in joined.list("two/clip")] == ["two/clip/deep/0.mp4"]
    assert joined.read("two/clip/deep/0.mp4").endswith(b"b")
    assert joined.read_range("one/clip/deep/0.mp4", 0, 2) == b"<?"
    with pytest.raises(ObjectMissing, match="none of the corpora one, two"):
        joined.read("three/x")
    with pytest.raises(ValueError, match="must be relative"):
        joined.read("one/../secret")

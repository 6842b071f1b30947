"""Tables from outside run nothing: each kind that is read, with a column that would."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import catalog, foreign_features
from pipelines.annotations import open_annotations
from pipelines.corpora.table_file import read_label_file
from pipelines.feature_store import FeatureStore, FeatureStoreError
from pipelines.parquet import TableRefused, read_table
from pipelines.quarantine import SampleError
from pipelines.storage import Storage
from pipelines.track_file import read_file
from tests.pipelines import test_catalog, traps
from tests.pipelines.face_samples import faces, track, write_annotations

PLAIN = {
    "flag": pa.array([True, None]),
    "number": pa.array([1, 2], pa.int16()),
    "text": pa.array(["a", "b"]).dictionary_encode(),
    "rows": pa.array([[{"x": 1.5, "y": [b"1"]}], []]),
    "pairs": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "when": pa.array([0, 1], pa.timestamp("us", tz="UTC")),
    "vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
}


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "files")


def test_the_trap_is_one_where_nobody_looks(sprung: Path) -> None:
    data = traps.with_trap(pa.table({"x": [1]}), "x", sprung)
    pq.read_table(pa.BufferReader(data))["x"].to_pylist()
    assert sprung.read_text() == "executed"


def test_plain_values_are_read_as_they_are() -> None:
    table = pa.table(PLAIN)
    assert read_table(traps.parquet(table), name="t").equals(table)
    assert read_table(traps.parquet(table), name="t", columns=["text", "flag"]).column_names == ["text", "flag"]


@pytest.mark.parametrize("wrap", ["alone", "listed", "in a structure"])
def test_a_trap_is_refused_however_deep_and_the_file_and_the_column_are_named(sprung: Path, wrap: str) -> None:
    bad = traps.column(sprung)
    deep = {
        "alone": bad,
        "listed": pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), bad),
        "in a structure": pa.StructArray.from_arrays([bad], names=["inner"]),
    }[wrap]
    data = traps.parquet(pa.table({"good": [1], "evil": deep}))
    with pytest.raises(TableRefused, match=r"column 'evil' of some/table.parquet has the type ray.data.arrow_pickled"):
        read_table(data, name="some/table.parquet")
    with pytest.raises(TableRefused, match="'evil'"):
        read_table(data, name="some/table.parquet", columns=["good"])
    assert not sprung.exists()


def test_a_trap_is_refused_too_where_its_type_is_not_registered(sprung: Path, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(traps.with_trap(pa.table({"evil": [1]}), "evil", sprung))
    code = (
        "import sys\n"
        "from pipelines.parquet import read_table, TableRefused\n"
        f"data = open({str(tmp_path / 't.parquet')!r}, 'rb').read()\n"
        "try:\n    read_table(data, name='t.parquet')\n"
        "except TableRefused as error:\n    print('ray.data' in sys.modules, error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("False column 'evil' of t.parquet has the type ray.data.arrow_pickled_object")


@pytest.mark.parametrize("data", [b"", b"nothing", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_what_is_no_table_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(TableRefused, match="a/b.parquet is no Parquet file"):
        read_table(data, name="a/b.parquet")


def test_a_table_with_damaged_values_is_refused_by_name() -> None:
    data = bytearray(traps.parquet(pa.table({"x": np.random.default_rng(0).normal(size=1000)})))
    data[4:200] = b"\xff" * 196
    with pytest.raises(TableRefused, match="a/b.parquet is damaged"):
        read_table(bytes(data), name="a/b.parquet")


def test_a_catalog_runs_nothing(storage: Storage, sprung: Path) -> None:
    catalog.save(test_catalog.catalog(), storage.full("c.parquet"))
    table = read_table(storage.read("c.parquet"), name="c")
    storage.write("c.parquet", traps.with_trap(table, "subject", sprung))
    with pytest.raises(TableRefused, match=r"column 'subject' of .*/c.parquet"):
        catalog.load(storage.full("c.parquet"))
    assert not sprung.exists()


def test_a_label_table_runs_nothing(storage: Storage, sprung: Path) -> None:
    table = pa.table({"path": ["a.mp4"], "label": ["happy"]})
    storage.write("labels.parquet", traps.with_trap(table, "label", sprung))
    with pytest.raises(TableRefused, match=r"column 'label' of labels.parquet"):
        read_label_file(storage)
    assert not sprung.exists()


def test_a_feature_store_runs_nothing(storage: Storage, sprung: Path) -> None:
    store = FeatureStore.create(storage, name="f", kind="vision", width=1, made_with={})
    store.write("v", np.arange(2), np.arange(2) / 25, np.ones((2, 1)))
    table = read_table(storage.read("videos/v.parquet"), name="v")
    storage.write("videos/v.parquet", traps.with_trap(table, "frame", sprung))
    for read in (store.read, store.frames):
        with pytest.raises(FeatureStoreError, match=r"column 'frame' of .*videos/v.parquet"):
            read("v")
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["frame", "feature", "f0"])
def test_features_of_someone_else_run_nothing(storage: Storage, sprung: Path, name: str) -> None:
    columns = {"frame": [0], "f0": [1.0]} | ({"feature": [[1.0]]} if name == "feature" else {})
    storage.write("v.parquet", traps.with_trap(pa.table(columns), name, sprung))
    with pytest.raises(SampleError, match=f"column '{name}' of v.parquet"):
        foreign_features.read_table(storage, "v.parquet")
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["v.npy", "v.times.npy"])
def test_arrays_of_someone_else_run_nothing(storage: Storage, sprung: Path, name: str) -> None:
    file = io.BytesIO()
    np.save(file, np.ones((1, 2)))
    storage.write("v.npy", file.getvalue())
    storage.write(name, traps.npy(sprung))
    with pytest.raises(SampleError, match=f"{name} is no array of numbers"):
        foreign_features.read_table(storage, "v.npy")
    assert not sprung.exists()


def test_annotations_run_nothing(storage: Storage, sprung: Path) -> None:
    annotations = write_annotations(storage, [[faces("a.mp4", track(seed=1))]])
    [shard] = [item.name for item in storage.list("shards")]
    good = storage.read(shard)
    footer = pq.read_metadata(pa.BufferReader(good)).metadata
    table = pq.read_table(pa.BufferReader(good)).replace_schema_metadata(footer)
    bad = traps.with_trap(table, "source", sprung)
    with pytest.raises(TableRefused, match="column 'source' of shards/0"):
        list(read_file(bad, name="shards/0"))
    index = read_table(storage.read("videos.parquet"), name="index")
    storage.write("videos.parquet", traps.with_trap(index, "source", sprung))
    with pytest.raises(TableRefused, match=r"column 'source' of .*videos.parquet"):
        open_annotations(annotations.place.uri).tracks("a.mp4")
    assert not sprung.exists()


def test_the_tracks_of_one_video_run_nothing(storage: Storage, sprung: Path) -> None:
    """The manifest tells where the footer is; whoever changes a shard changes it too."""
    write_annotations(storage, [[faces("a.mp4", track(seed=1))]])
    [shard] = [item.name for item in storage.list("shards")]
    table = pq.read_table(pa.BufferReader(storage.read(shard)))
    bad = traps.with_trap(table, "source", sprung)
    storage.write(shard, bad)
    manifest = json.loads(storage.read("manifest.json"))
    manifest["shards"] = [[len(bad), int.from_bytes(bad[-8:-4], "little") + 8]]
    storage.write("manifest.json", json.dumps(manifest).encode())
    with pytest.raises(ValueError, match=rf"column 'source' of .*{shard}"):
        open_annotations(storage.uri).tracks("a.mp4")
    assert not sprung.exists()

"""Tables of someone else's features: both forms, by frames or by times, and what is wrong with one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.foreign_features import at_frames_of, list_tables, read_table
from pipelines.quarantine import Reason, SampleError
from pipelines.storage import Storage

FEATURES = np.arange(12, dtype=np.float64).reshape(4, 3)
TIMES = np.arange(4) / 25


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def parquet(columns: dict) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def by_column() -> dict[str, np.ndarray]:
    return {f"f{index}": FEATURES[:, index] for index in range(3)}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("v.npy", npy(FEATURES)),
        ("v.parquet", parquet({"frame": range(4), "feature": FEATURES.tolist()})),
        ("v.parquet", parquet({"frame": range(4), "person": ["a"] * 4, **by_column()})),
    ],
)
def test_features_of_frames_are_read_from_both_forms(folder: Storage, name: str, data: bytes) -> None:
    folder.write(name, data)
    table = read_table(folder, name)
    assert table.frame_M.tolist() == [0, 1, 2, 3] and table.time_M is None
    assert table.feature_MD.dtype == np.float32 and np.array_equal(table.feature_MD, FEATURES)
    found = at_frames_of(table, TIMES[:3])
    assert found.frame_M.tolist() == [0, 1, 2] and found.time_M.tolist() == TIMES[:3].tolist()
    assert np.array_equal(found.feature_MD, FEATURES[:3])


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_features_of_times_are_averaged_over_each_frame(folder: Storage, form: str) -> None:
    time_M = np.array([0.0, 0.02, 0.05, 0.13])
    if form == "npy":
        folder.write("v.npy", npy(FEATURES))
        folder.write("v.times.npy", npy(time_M))
    else:
        folder.write("v.parquet", parquet({"time": time_M, **by_column()}))
    assert list_tables(folder) == {"v": f"v.{form}"}
    found = at_frames_of(read_table(folder, f"v.{form}"), TIMES)
    assert found.frame_M.tolist() == [0, 1, 2, 3]
    nearest_to_the_middle_of_the_third = FEATURES[3]  # 0.13 against 0.05, of 0.1
    expected = [FEATURES[:2].mean(0), FEATURES[2], nearest_to_the_middle_of_the_third, FEATURES[3]]
    assert np.allclose(found.feature_MD, expected)


def test_rows_are_put_in_order_and_those_that_are_not_finite_left_out(folder: Storage) -> None:
    values = FEATURES.copy()
    values[1, 2] = np.nan
    folder.write("v.parquet", parquet({"frame": [5, 4, 0, 2], "feature": values.tolist()}))
    table = read_table(folder, "v.parquet")
    assert table.frame_M.tolist() == [0, 2, 5] and table.left_out == 1
    assert np.array_equal(table.feature_MD, FEATURES[[2, 3, 0]])


def test_tables_lie_in_folders_of_any_depth_and_two_of_one_video_are_refused(folder: Storage) -> None:
    for name in ("a/v.npy", "b.parquet", "b.txt", "c.times.npy"):
        folder.write(name, b"")
    assert list_tables(folder) == {"a/v": "a/v.npy", "b": "b.parquet"}
    folder.write("b.npy", b"")
    with pytest.raises(ValueError, match="two tables of b"):
        list_tables(folder)
    with pytest.raises(ValueError, match="neither NAME.npy"):
        list_tables(folder.child("nothing"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("v.npy", b"nothing", "no array of numbers"),
        ("v.npy", npy(np.array([{"a": 1}], object), allow_pickle=True), "no array of numbers"),
        ("v.npy", npy(np.zeros(4)), "not numbers"),
        ("v.npy", npy(np.array([["a"]])), "not numbers"),
        ("v.npy", npy(np.float64(3)), "not one array"),
        ("v.parquet", b"nothing", "no Parquet file"),
        ("v.parquet", parquet(by_column()), "either frame or time"),
        ("v.parquet", parquet({"frame": range(4), "time": TIMES, **by_column()}), "either frame or time"),
        ("v.parquet", parquet({"frame": range(4), "f0": range(4), "f2": range(4)}), "without gaps"),
        ("v.parquet", parquet({"frame": range(4), "f0": ["a", "b", "c", "d"]}), "no numbers"),
        ("v.parquet", parquet({"frame": [0, 1], "feature": [[1.0], [1.0, 2.0]]}), "no list of D numbers"),
        ("v.parquet", parquet({"frame": [0.5, 1.0], "f0": [1.0, 2.0]}), "column frame"),
        ("v.parquet", parquet({"frame": [0, None], "f0": [1.0, 2.0]}), "without a frame"),
        ("v.parquet", parquet({"frame": [1, 1], "f0": [1.0, 2.0]}), "two rows"),
        ("v.parquet", parquet({"frame": [-1, 1], "f0": [1.0, 2.0]}), "below 0"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(folder: Storage, name: str, data: bytes, message: str) -> None:
    folder.write(name, data)
    with pytest.raises(SampleError, match=message) as error:
        read_table(folder, name)
    assert error.value.reason == Reason.format


def test_times_of_another_number_and_a_table_that_is_gone_are_told(folder: Storage) -> None:
    folder.write("v.npy", npy(FEATURES))
    folder.write("v.times.npy", npy(TIMES[:2]))
    with pytest.raises(SampleError, match="v.times.npy is"):
        read_table(folder, "v.npy")
    with pytest.raises(SampleError) as error:
        read_table(folder, "w.npy")
    assert error.value.reason == Reason.missing

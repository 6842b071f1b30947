"""Tables that were made elsewhere become a store of the same form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.parts.feature_audio import units_of
from jobs.parts.feature_config import ForeignConfig
from jobs.parts.feature_foreign import bring_in, prepare_foreign
from pipelines.feature_store import FeatureStore
from pipelines.frame_videos import frame_videos
from pipelines.storage import Storage
from tests.pipelines.frame_corpus import write_frames
from tests.pipelines.sounds import write_movie
from tests.pipelines.test_foreign_features import npy, parquet

FEATURES = np.arange(20, dtype=np.float32).reshape(10, 2)


@pytest.fixture
def catalog(tmp_path: Path):
    return write_frames(tmp_path / "corpus", {name: [0, 1] for name in ("a_left", "a_right", "b")})


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "tables")


def run(config: ForeignConfig, catalog, place: Storage) -> FeatureStore:
    work = prepare_foreign(config, catalog)
    store = FeatureStore.create(place, name="x", kind=work.kind, width=work.width, made_with=work.made_with)
    for unit in units_of(frame_videos(catalog), work.tables):
        bring_in(unit, work, store)
    return store


def test_tables_of_frames_are_taken_over_and_a_video_without_one_is_told(catalog, folder, tmp_path: Path) -> None:
    folder.write("a_left.npy", npy(FEATURES))
    folder.write("a_right.parquet", parquet({"frame": [3, 4], "f0": [1.0, np.nan], "f1": [0.0, 0.0]}))
    store = run(ForeignConfig("x", folder=folder.uri), catalog, Storage(tmp_path / "store"))
    left = store.read("a_left")
    assert np.array_equal(left.feature_MD, FEATURES) and np.allclose(left.time_M, np.arange(10) / 25)
    assert store.read("a_right").frame_M.tolist() == [3] and store.num_frames("b") == 0
    (row,) = json.loads(store.place.read("rejected/a_right.json"))
    assert "1 rows" in row["detail"]
    (row,) = json.loads(store.place.read("rejected/b.json"))
    assert row["reason"] == "missing"


def test_tables_of_times_are_put_to_the_frames_of_the_recording_or_of_a_rate(catalog, folder, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder.write(f"{name}.parquet", parquet({"time": np.arange(10) / 10, "feature": FEATURES.tolist()}))
    Path(catalog.root, "videos").mkdir()
    write_movie(Path(catalog.root, "videos/a.mp4"), None, frames=5, fps=5)
    store = run(ForeignConfig("x", folder=folder.uri), catalog, Storage(tmp_path / "store"))
    left = store.read("a_left")
    assert np.allclose(left.time_M, np.arange(5) / 5)
    assert np.allclose(left.feature_MD, FEATURES.reshape(5, 2, 2).mean(1))
    assert np.array_equal(store.read("a_right").feature_MD, left.feature_MD)
    assert store.num_frames("b") == 0 and store.place.exists("rejected/b.json")
    store = run(ForeignConfig("x", folder=folder.uri, fps=10.0), catalog, Storage(tmp_path / "steady"))
    assert np.array_equal(store.read("b").feature_MD, FEATURES)


def test_tables_of_times_need_recordings_or_a_rate(catalog, folder) -> None:
    folder.write("a.parquet", parquet({"time": np.arange(10) / 10, "feature": FEATURES.tolist()}))
    with pytest.raises(ValueError, match="no video or sound file"):
        prepare_foreign(ForeignConfig("x", folder=folder.uri), catalog)


def test_tables_of_another_width_stop_the_work(catalog, folder, tmp_path: Path) -> None:
    folder.write("a.npy", npy(FEATURES))
    folder.write("b.npy", npy(FEATURES[:, :1]))
    with pytest.raises(ValueError, match="do not fit a store of 2"):
        run(ForeignConfig("x", folder=folder.uri), catalog, Storage(tmp_path / "store"))


def test_folders_without_tables_of_the_videos_are_refused(catalog, folder) -> None:
    folder.write("z.npy", npy(FEATURES))
    with pytest.raises(ValueError, match="no table of any video; a_left.npy"):
        prepare_foreign(ForeignConfig("x", folder=folder.uri), catalog)
    folder.write("a.npy", b"nothing")
    with pytest.raises(ValueError, match="can be read; the first"):
        prepare_foreign(ForeignConfig("x", folder=folder.uri), catalog)

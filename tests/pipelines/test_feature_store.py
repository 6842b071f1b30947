"""A store keeps what was written, knows what it was made with, and fills frames without features as asked."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.feature_store import FORMAT, FeatureStore, FeatureStoreError, align, frame_times
from pipelines.storage import Storage

MADE_WITH = {"checkpoint": "s3://bucket/runs/a/step-12", "catalog": "0" * 64}


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore.create(Storage(tmp_path / "store"), name="mae", kind="vision", width=3, made_with=MADE_WITH)


def features(frames: int, width: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)


def test_what_was_written_is_read_bit_by_bit(store: FeatureStore) -> None:
    frame_M, feature_MD = np.array([0, 2, 7]), features(3)
    store.write("batch/7_left", frame_M, frame_M / 30, feature_MD)
    found = store.read("batch/7_left")
    assert found.frame_M.dtype == np.int32 and found.frame_M.tolist() == [0, 2, 7]
    assert np.array_equal(found.time_M, frame_M / 30)
    assert found.feature_MD.dtype == np.float32 and np.array_equal(found.feature_MD, feature_MD)
    assert store.has("batch/7_left") and not store.has("batch/7")
    assert store.num_frames("batch/7_left") == 3
    table = pq.read_table(store.place.full("videos/batch/7_left.parquet"))
    assert table.schema == pa.schema({"frame": pa.int32(), "time": pa.float64(), "feature": pa.list_(pa.float32(), 3)})


def test_the_footer_of_a_long_table_tells_its_frames(store: FeatureStore) -> None:
    wide = FeatureStore.create(store.place.child("wide"), name="w", kind="audio", width=256, made_with={})
    wide.write("v", np.arange(3000), np.arange(3000) / 25, features(3000, 256))
    assert wide.place.size("videos/v.parquet") > 1 << 20
    assert wide.num_frames("v") == 3000


def test_a_video_without_any_features_is_done_and_empty(store: FeatureStore) -> None:
    store.write("silent", np.zeros(0, int), np.zeros(0), np.zeros((0, 3)))
    assert store.has("silent") and store.num_frames("silent") == 0
    assert store.read("silent").feature_MD.shape == (0, 3)
    assert list(store.videos()) == ["silent"]


def test_a_store_is_opened_by_its_key_and_in_another_process(store: FeatureStore) -> None:
    again = FeatureStore.open(store.place.uri, key=store.key)
    assert again == store == pickle.loads(pickle.dumps(store))
    assert (again.name, again.kind, again.width, again.made_with) == ("mae", "vision", 3, MADE_WITH)
    assert FeatureStore.create(store.place, name="mae", kind="vision", width=3, made_with=MADE_WITH) == store


@pytest.mark.parametrize("change", [{"width": 4}, {"kind": "scores"}, {"made_with": {"checkpoint": "another"}}])
def test_a_place_is_not_shared_by_features_of_two_kinds(store: FeatureStore, change: dict) -> None:
    asked = {"name": "mae", "kind": "vision", "width": 3, "made_with": MADE_WITH} | change
    with pytest.raises(FeatureStoreError, match="features of other things"):
        FeatureStore.create(store.place, **asked)
    assert FeatureStore.open(store.place).key == store.key


def test_another_format_a_changed_description_and_no_store_are_refused(store: FeatureStore, tmp_path) -> None:
    values = json.loads(store.place.read("store.json"))
    store.place.write("store.json", json.dumps(values | {"made_with": {}}).encode())
    with pytest.raises(FeatureStoreError, match="changed after it was written"):
        FeatureStore.open(store.place)
    store.place.write("store.json", json.dumps(values | {"format": "semblance-features-0"}).encode())
    with pytest.raises(FeatureStoreError, match=FORMAT):
        FeatureStore.open(store.place)
    with pytest.raises(FeatureStoreError, match="no feature store at"):
        FeatureStore.open(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="width=0"):
        FeatureStore.create(Storage(tmp_path), name="x", kind="vision", width=0, made_with={})


def test_a_video_that_is_not_done_and_a_table_of_another_width_are_told(store: FeatureStore) -> None:
    with pytest.raises(FeatureStoreError, match="has no video 'unknown'"):
        store.read("unknown")
    other = FeatureStore.create(store.place.child("other"), name="o", kind="vision", width=5, made_with={})
    other.write("v", np.arange(2), np.arange(2.0), features(2, 5))
    store.place.write("videos/v.parquet", other.place.read("videos/v.parquet"))
    with pytest.raises(FeatureStoreError, match="the store .* says 3 values"):
        store.read("v")


@pytest.mark.parametrize(
    ("frames", "values", "message"),
    [
        ([0, 1], features(3), "do not fit a store of 3"),
        ([0, 1], features(2, 4), "do not fit a store of 3"),
        ([1, 0], features(2), "ascend"),
        ([1, 1], features(2), "ascend"),
        ([-1, 1], features(2), "ascend"),
        ([0, 1], np.full((2, 3), np.nan), "not finite"),
    ],
)
def test_what_does_not_fit_is_not_written(store: FeatureStore, frames: list, values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store.write("v", np.array(frames), np.arange(len(frames)) / 25, values)
    assert not store.has("v")


def test_a_store_lives_on_s3_as_well(s3_bucket: str) -> None:
    place = Storage(f"{s3_bucket}/features/mae")
    store = FeatureStore.create(place, name="mae", kind="vision", width=3, made_with=MADE_WITH)
    store.write("b/1", np.arange(4), np.arange(4) / 25, features(4))
    store.write("a", np.arange(2), np.arange(2) / 25, features(2))
    again = FeatureStore.open(place.uri, key=store.key)
    assert list(again.videos()) == ["a", "b/1"]
    assert np.array_equal(again.read("b/1").feature_MD, features(4)) and again.num_frames("b/1") == 4


FRAMES = np.array([1, 2, 6])
VALUES = np.array([[10.0], [20.0], [60.0]], np.float32)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("nearest", [10, 10, 20, 20, 20, 60, 60, 60]),
        ("hold", [10, 10, 20, 20, 20, 20, 60, 60]),
        ("mask", [0, 10, 20, 0, 0, 0, 60, 0]),
    ],
)
def test_frames_without_features_are_filled_as_asked(missing: str, expected: list[float]) -> None:
    feature_ND, present_N = align(FRAMES, VALUES, 8, missing)
    assert feature_ND[:, 0].tolist() == expected and feature_ND.dtype == np.float32
    assert np.flatnonzero(present_N).tolist() == [1, 2, 6]


@pytest.mark.parametrize("missing", ["nearest", "hold", "mask"])
def test_frames_beyond_the_video_do_not_count_and_none_at_all_are_zero_and_absent(missing: str) -> None:
    feature_ND, present_N = align(FRAMES, VALUES, 5, missing)
    assert feature_ND[-1, 0] == (0 if missing == "mask" else 20) and np.flatnonzero(present_N).tolist() == [1, 2]
    feature_ND, present_N = align(FRAMES[:0], VALUES[:0], 5, missing)
    assert feature_ND.shape == (5, 1) and not feature_ND.any() and not present_N.any()


@pytest.mark.parametrize("missing", ["nearest", "hold", "mask"])
def test_filling_agrees_with_a_search_frame_by_frame(missing: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        frames = np.sort(rng.choice(40, size=rng.integers(1, 20), replace=False))
        values = rng.normal(size=(len(frames), 2)).astype(np.float32)
        feature_ND, present_N = align(frames, values, 40, missing)
        for frame in range(40):
            if missing == "nearest":
                source = min(range(len(frames)), key=lambda i: (abs(frames[i] - frame), i))
            else:
                source = max((i for i in range(len(frames)) if frames[i] <= frame), default=0)
            expected = values[source] if missing != "mask" or frame in frames else np.zeros(2)
            assert np.array_equal(feature_ND[frame], expected) and present_N[frame] == (frame in frames)


def test_a_frame_begins_when_those_before_it_have_passed() -> None:
    assert np.allclose(frame_times(3, 30.0), [0, 1 / 30, 2 / 30])
    for fps in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="fps="):
            frame_times(3, fps)

"""Features of several stores stand side by side, frame by frame, and every labelled frame is in a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.feature_store import FeatureStore, FeatureStoreError, Missing
from pipelines.frame_labels import FrameLabels, VideoLabels
from pipelines.labels import EvaluationProtocol
from pipelines.sequences import FeatureSequences, WindowConfig, labels_digest, present_frames, put_window, window_rows
from pipelines.storage import Storage

PROTOCOL = EvaluationProtocol("toy", "affect", ("expr/a", "expr/b", "va/valence"), metric="affect")
FRAMES = 6


def store_of(folder: Path, name: str, width: int, videos: dict[str, list[int]]) -> FeatureStore:
    """Features of these frames: the number of the frame, in all columns, plus 100 times the width."""
    store = FeatureStore.create(Storage(folder / name), name=name, kind="vision", width=width, made_with={})
    for video, frames in videos.items():
        frame_M = np.array(frames, np.int64)
        store.write(video, frame_M, frame_M / 25, np.repeat(frame_M[:, None] + 100.0 * width, width, axis=1))
    return store


@pytest.fixture
def stores(tmp_path: Path) -> tuple[FeatureStore, FeatureStore]:
    return (
        store_of(tmp_path, "face", 2, {"v": [1, 2, 5], "w": []}),
        store_of(tmp_path, "voice", 1, {"v": [0, 1, 2, 3], "w": [0]}),
    )


def labels_of(**targets: np.ndarray) -> FrameLabels:
    return FrameLabels(
        PROTOCOL, {video: VideoLabels(one.astype(np.float32), "train", video) for video, one in targets.items()}, {}
    )


def numbered(frames: int, *, without: tuple[int, ...] = ()) -> np.ndarray:
    """Targets [N, 3] that tell their frame; without any in some frames."""
    target_NK = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 3, axis=1)
    target_NK[list(without)] = np.nan
    return target_NK


@pytest.mark.parametrize(
    ("missing", "face", "voice"),
    [
        ("nearest", [1, 1, 2, 2, 5, 5], [0, 1, 2, 3, 3, 3]),
        ("hold", [1, 1, 2, 2, 2, 5], [0, 1, 2, 3, 3, 3]),
        ("mask", [-200, 1, 2, -200, -200, 5], [0, 1, 2, 3, -100, -100]),
    ],
)
def test_each_store_fills_its_own_gaps_and_a_frame_is_present_that_all_have(
    stores: tuple[FeatureStore, FeatureStore], missing: Missing, face: list[int], voice: list[int]
) -> None:
    features = FeatureSequences(stores, missing, cache_bytes=0)
    feature_ND, present_N = features.read("v", FRAMES)
    assert features.width == 3 and feature_ND.dtype == np.float32
    np.testing.assert_array_equal(feature_ND, np.stack([face, face, voice], 1) + np.array([200, 200, 100]))
    assert present_N.tolist() == [False, True, True, False, False, False]


def test_which_frames_are_present_is_told_without_the_features_too(stores: tuple[FeatureStore, FeatureStore]) -> None:
    features = FeatureSequences(stores, "nearest", cache_bytes=0)
    for video, frames in (("v", 6), ("v", 2), ("v", 9), ("w", 3)):
        np.testing.assert_array_equal(present_frames(stores, video, frames), features.read(video, frames).present_N)
    assert present_frames(stores[1:], "w", 3).tolist() == [True, False, False]
    with pytest.raises(FeatureStoreError, match="has no video 'x'"):
        present_frames(stores, "x", 3)


def test_videos_that_were_read_last_are_kept_as_far_as_there_is_room(
    stores: tuple[FeatureStore, FeatureStore], tmp_path: Path
) -> None:
    size = FRAMES * 3 * 4
    roomy, small, none = (FeatureSequences(stores, "nearest", cache_bytes=room) for room in (2 * size, size, size - 1))
    for features in (roomy, small, none):
        features.read("v", FRAMES)
        features.read("w", FRAMES)
    for store in stores:
        store.place.remove_tree("videos")
    assert roomy.read("v", FRAMES).present_N[1] and not roomy.read("w", FRAMES).present_N.any()
    assert not small.read("w", FRAMES).present_N.any()
    for features, video in ((small, "v"), (none, "w")):
        with pytest.raises(FeatureStoreError, match="no video"):
            features.read(video, FRAMES)


def test_a_video_of_another_length_is_read_anew(stores: tuple[FeatureStore, FeatureStore]) -> None:
    features = FeatureSequences(stores, "nearest", cache_bytes=1 << 20)
    assert [len(features.read("v", frames).feature_ND) for frames in (6, 3, 6)] == [6, 3, 6]


def test_windows_hold_every_labelled_frame_and_those_without_a_label_are_left_out() -> None:
    labels = labels_of(a=numbered(10, without=(4, 5, 6, 7, 8)), b=numbered(3), c=numbered(4, without=(0, 1, 2, 3)))
    rows = window_rows(labels, ["b", "a", "c"], WindowConfig(length=4, stride=2)).to_pylist()
    told = [(row["sample_id"], row["video"], row["start"], row["length"], row["num_frames"]) for row in rows]
    assert told == [(0, "b", 0, 3, 3), (1, "a", 0, 4, 10), (2, "a", 2, 4, 10), (3, "a", 6, 4, 10), (4, "a", 8, 2, 10)]
    for row in rows:
        target_TK = labels.targets(row["video"])[row["start"] : row["start"] + row["length"]]
        np.testing.assert_array_equal(np.array(row["target"]).reshape(row["length"], 3), target_TK)


def test_a_label_of_one_task_is_enough_for_a_window() -> None:
    target_NK = np.full((4, 3), np.nan)
    target_NK[3, 2] = 0.5
    assert window_rows(labels_of(a=target_NK), ["a"], WindowConfig(2, 2))["start"].to_pylist() == [2]


def test_videos_without_a_label_are_refused() -> None:
    with pytest.raises(ValueError, match="no frame of the 1 videos is labelled under protocol toy; choose others"):
        window_rows(labels_of(a=numbered(2, without=(0, 1))), ["a"], WindowConfig(2, 2))


@pytest.mark.parametrize(("length", "stride"), [(4, 0), (4, 5), (0, 0)])
def test_windows_that_would_leave_frames_out_are_refused(length: int, stride: int) -> None:
    with pytest.raises(ValueError, match=rf"stride={stride} must lie in 1\.\.length={length}"):
        WindowConfig(length, stride)


def test_the_rest_of_a_row_stays_padding(stores: tuple[FeatureStore, FeatureStore]) -> None:
    frames = FeatureSequences(stores, "nearest", cache_bytes=0).read("v", FRAMES)
    batch = {
        "feature_BTD": np.zeros((2, 4, 3), np.float32),
        "present_BT": np.zeros((2, 4), bool),
        "valid_BT": np.zeros((2, 4), bool),
    }
    put_window(batch, 1, frames, 4, 2)
    assert batch["valid_BT"].tolist() == [[False] * 4, [True, True, False, False]]
    np.testing.assert_array_equal(batch["feature_BTD"][1], [[205, 205, 103], [205, 205, 103], [0, 0, 0], [0, 0, 0]])
    assert not batch["feature_BTD"][0].any() and not batch["present_BT"].any()


def test_the_digest_of_labels_tells_values_gaps_parts_and_videos_apart() -> None:
    same = [labels_of(a=numbered(3, without=(1,)), b=numbered(2)) for _ in range(2)]
    assert len({labels_digest(labels, ["a", "b"]) for labels in same}) == 1
    other = same[0].annotated["a"]
    changed = [
        labels_of(a=numbered(3), b=numbered(2)),
        labels_of(a=numbered(3, without=(1,)), b=numbered(3)),
        labels_of(a=numbered(3, without=(1,)) + 1, b=numbered(2)),
        FrameLabels(PROTOCOL, same[0].annotated | {"a": other._replace(part="test")}, {}),
    ]
    digests = {labels_digest(labels, ["a", "b"]) for labels in (same[0], *changed)}
    assert len(digests | {labels_digest(same[0], ["a"]), labels_digest(same[0], ["b", "a"])}) == 7

"""What a head says of whole videos is what it says of their windows, and is kept with what it was made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.parts.head_inference import HeadInferenceConfig, open_scores, score_video, score_videos, window_batch
from models.feature_head import FeatureHead, build
from models.head_config import FeatureSet
from pipelines.feature_store import FeatureStore
from pipelines.sequences import FeatureSequences, WindowConfig
from pipelines.storage import Storage, StorageError
from pipelines.windows import windows
from tests.jobs.tiny_affect import head_config
from tests.pipelines.affect_corpus import FACE, FRAMES, VOICE, write_stores

CLASSES = ("calm", "glad", "sad")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureSequences:
    stores = [FeatureStore.open(address) for address in write_stores(tmp_path_factory.mktemp("features"))]
    return FeatureSequences(stores, "nearest", cache_bytes=0)


@pytest.fixture(scope="module")
def head() -> FeatureHead:
    torch.manual_seed(0)
    config = head_config("unused", (), "expr").model
    return build(
        replace(config, features=(FeatureSet("face", FACE), FeatureSet("voice", VOICE)), classes=CLASSES)
    ).eval()


def by_hand(head: FeatureHead, features: FeatureSequences, video: str, window: WindowConfig) -> np.ndarray:
    """One window at a time, without padding, and the mean of all that is said of a frame."""
    said: list[list[np.ndarray]] = [[] for _ in range(FRAMES[video])]
    feature_ND, present_N = features.read(video, FRAMES[video])
    starts = [0] if FRAMES[video] <= window.length else range(0, FRAMES[video], window.stride)
    for start in starts:
        inside = slice(start, start + window.length)
        batch = {
            "feature_BTD": torch.from_numpy(feature_ND[inside])[None],
            "present_BT": torch.from_numpy(present_N[inside])[None],
            "valid_BT": torch.ones(1, len(present_N[inside]), dtype=torch.bool),
        }
        for t, score_K in enumerate(head.predict(batch)[0].numpy()):
            said[start + t].append(score_K)
    return np.array([np.mean(scores, axis=0) for scores in said])


@pytest.mark.parametrize(("length", "stride"), [(5, 3), (5, 5), (4, 1), (100, 60), (1, 1)])
def test_the_score_of_a_frame_is_the_mean_over_the_windows_that_hold_it(
    head: FeatureHead, features: FeatureSequences, length: int, stride: int
) -> None:
    window = WindowConfig(length, stride)
    for video in ("v1", "v6"):
        score_NK = score_video(head, features, video, FRAMES[video], window)
        assert score_NK.shape == (FRAMES[video], len(CLASSES))
        np.testing.assert_allclose(score_NK, by_hand(head, features, video, window), atol=1e-6)
        np.testing.assert_allclose(score_NK.sum(1), 1, atol=1e-6)


def test_more_windows_than_are_shown_at_once_are_all_shown(
    head: FeatureHead, features: FeatureSequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = WindowConfig(3, 2)
    together = score_video(head, features, "v1", FRAMES["v1"], window)
    monkeypatch.setattr("jobs.parts.head_inference._WINDOWS_AT_ONCE", 2)
    np.testing.assert_allclose(score_video(head, features, "v1", FRAMES["v1"], window), together, atol=1e-6)


def test_windows_are_padded_beyond_the_end_of_the_video(features: FeatureSequences) -> None:
    frames = features.read("v6", FRAMES["v6"])
    batch = window_batch(frames, windows(FRAMES["v6"], 4, 3), 4)
    assert batch["valid_BT"].sum(1).tolist() == [4, 4, 1]
    np.testing.assert_array_equal(batch["feature_BTD"][1], frames.feature_ND[3:7])
    np.testing.assert_array_equal(batch["present_BT"][0], frames.present_N[:4])
    assert not batch["feature_BTD"][2, 1:].any() and not batch["present_BT"][2, 1:].any()


def scores_at(place: Storage, checkpoint: str) -> FeatureStore:
    return open_scores(place, width=2, made_with={"checkpoint": checkpoint})


def write(store: FeatureStore, *videos: str) -> None:
    for video in videos:
        store.write(video, np.arange(2), np.arange(2) / 25, np.zeros((2, 2)))


def test_scores_of_the_same_checkpoint_are_kept_and_those_of_another_are_not(tmp_path: Path) -> None:
    place = Storage(tmp_path)
    write(scores_at(place, "step-1"), "a", "b")
    assert list(scores_at(place, "step-1").videos()) == ["a", "b"]
    assert list(scores_at(place, "step-2").videos()) == []
    assert FeatureStore.open(place).made_with == {"checkpoint": "step-2"}


@pytest.mark.parametrize("verb", ["remove_tree", "remove"])
def test_a_replacement_that_is_killed_on_its_way_leaves_no_scores_of_the_earlier_checkpoint_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    place = Storage(tmp_path)
    write(scores_at(place, "step-1"), "a", "b", "c")

    def killed(self: Storage, name: str) -> None:
        if verb == "remove_tree":
            Path(self.full("videos/b.parquet")).unlink()
        raise StorageError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, verb, killed)
        with pytest.raises(StorageError, match="killed"):
            scores_at(place, "step-2")
    assert list(scores_at(place, "step-2").videos()) == []


def test_videos_that_are_scored_are_not_scored_again(tmp_path: Path) -> None:
    store = scores_at(Storage(tmp_path), "step-1")
    write(store, "a", "b")
    config = HeadInferenceConfig("no such checkpoint", (), WindowConfig(), "nearest")
    score_videos(config, {"a": 2, "b": 2}, store)  # and Ray, which is not up, is not asked
    with pytest.raises(Exception, match="(?i)ray"):
        score_videos(config, {"a": 2, "c": 2}, store)

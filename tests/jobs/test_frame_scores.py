"""Scores become predictions of every labelled frame of the test videos, with an image or without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.parts.affect_scores import evaluate_tasks
from jobs.parts.frame_scores import SHOWN, expected_frames, frame_table, frame_uri, labelled_frames, scores_of_videos
from jobs.parts.frame_split import FrameSplit
from pipelines.corpora.aff_wild2 import AFFECT_CLASSES
from pipelines.feature_store import FeatureStore, FeatureStoreError
from pipelines.frame_labels import read_frame_labels
from pipelines.labels import attribute_values
from pipelines.storage import Storage
from tests.pipelines.affect_corpus import FRAMES, LEARNED, TESTED, expression, has_image, write_corpus


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> FrameSplit:
    storage = Storage(write_corpus(tmp_path_factory.mktemp("affect"), images=False))
    return FrameSplit(read_frame_labels(storage, "all"), LEARNED, TESTED, TESTED, "test")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(Storage(tmp_path), name="scores", kind="scores", width=2, made_with={})


def test_frames_are_named_as_in_submissions_which_count_from_one() -> None:
    assert frame_uri("v4", 0) == "v4/00001.jpg" and frame_uri("v4", 99_999) == "v4/100000.jpg"


def test_every_frame_that_a_task_labels_is_expected_with_an_image_or_without(split: FrameSplit) -> None:
    assert labelled_frames(split, "v6").tolist() == [0, 1, 2, 3, 4, 6], "of frame 5 a unit is not annotated"
    assert labelled_frames(split, "v5").tolist() == list(range(FRAMES["v5"])), "what one task leaves out another has"
    expected = expected_frames(split)
    assert len(expected) == len(set(expected)) == 11 + 8 + 6
    assert "v4/00001.jpg" in expected and not has_image(0)


def test_the_table_has_for_each_frame_its_own_target_score_and_presence(split: FrameSplit) -> None:
    width = len(AFFECT_CLASSES)
    scores = {
        video: np.arange(FRAMES[video])[:, None] + np.linspace(0, 0.5, width) + 100 * index
        for index, video in enumerate(TESTED)
    }
    present = {video: np.array([has_image(frame) for frame in range(FRAMES[video])]) for video in TESTED}
    table = frame_table(split, scores, present)
    uris = table["uri"].to_pylist()
    assert uris == expected_frames(split)
    shown = attribute_values(table["attributes"], SHOWN)
    for row, uri in zip(table.to_pylist(), uris, strict=True):
        video, frame = uri.split("/")[0], int(uri[-9:-4]) - 1
        np.testing.assert_allclose(row["score"], scores[video][frame], rtol=1e-6)
        np.testing.assert_array_equal(row["target"], split.labels.targets(video)[frame])
        assert (row["subject"], row["part"], row["clips"]) == (video, "test", 1)
    assert shown == ["there" if has_image(int(uri[-9:-4]) - 1) else "missing" for uri in uris]
    assert set(shown) == {"there", "missing"}


def test_the_table_is_scored_by_each_task_and_by_frames_with_and_without_an_image(split: FrameSplit) -> None:
    truth = {}
    for video in TESTED:  # all that is labelled is told, and something where nothing is
        target_NK = split.labels.targets(video)
        truth[video] = np.where(np.isnan(target_NK), 0.1, target_NK)
        truth[video][:, :8] = np.eye(8)[[max(expression(frame), 0) for frame in range(FRAMES[video])]]
    present = {video: np.array([has_image(frame) for frame in range(FRAMES[video])]) for video in TESTED}
    result = evaluate_tasks(
        frame_table(split, truth, present),
        split.labels.protocol,
        expected=expected_frames(split),
        evaluation="paper",
        setting=None,
        cost={},
        unit="frames",
    )
    assert result["metrics"]["expr/accuracy"] == result["metrics"]["au/multi_label_f1"] == 1.0
    assert result["metrics"]["va/ccc"] == pytest.approx(1.0)
    per_image = result["tasks"]["expr"]["per_attribute"][SHOWN]
    frames = [frame for video in ("v4", "v5") for frame in range(FRAMES[video]) if expression(frame) >= 0]
    assert per_image["there"]["videos"] == sum(map(has_image, frames))
    assert per_image["missing"]["videos"] == len(frames) - per_image["there"]["videos"] > 0


def test_a_frame_without_a_score_has_that_of_the_nearest(store: FeatureStore) -> None:
    store.write("v", np.array([1, 4]), np.array([0.1, 0.4]), np.array([[0.1, 0.9], [0.7, 0.3]]))
    (scores,) = scores_of_videos(store, {"v": 6}).values()
    np.testing.assert_allclose(scores[:, 0], [0.1, 0.1, 0.1, 0.7, 0.7, 0.7], rtol=1e-6)


def test_a_video_without_any_score_is_named_with_what_to_do(store: FeatureStore) -> None:
    store.write("v", np.zeros(0, int), np.zeros(0), np.zeros((0, 2)))
    with pytest.raises(ValueError, match="has scores of no frame of v, .*: give them back, or name the video"):
        scores_of_videos(store, {"v": 6})
    with pytest.raises(FeatureStoreError, match="has no video 'w'"):
        scores_of_videos(store, {"w": 6})

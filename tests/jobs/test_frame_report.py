"""What is told beside the scores: every video by itself, timelines, and submissions that an organiser would take."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.parts.frame_report import draw_timelines, write_diagnoses, write_submissions
from jobs.parts.frame_scores import frame_table
from jobs.parts.frame_split import FrameSplit, submitted_videos
from jobs.parts.postprocessing import Validated
from jobs.parts.postprocessing_config import PostprocessingConfig
from models.video_diagnosis import VideoDiagnosis
from pipelines.corpora.aff_wild2_files import EXPRESSIONS
from pipelines.feature_store import FeatureStore
from pipelines.frame_labels import FrameLabels, read_frame_labels
from pipelines.sequences import present_frames
from pipelines.storage import Storage
from pipelines.submission import check_submission
from tests.pipelines.affect_corpus import FRAMES, LEARNED, SUBMITTED, TESTED, write_corpus, write_stores

NOTHING = Validated({}, {})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    return Storage(write_corpus(tmp_path_factory.mktemp("affect"), images=False))


@pytest.fixture(scope="module")
def labels(corpus: Storage) -> FrameLabels:
    return read_frame_labels(corpus, "all")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> list[FeatureStore]:
    return [FeatureStore.open(address) for address in write_stores(tmp_path_factory.mktemp("features"))]


@pytest.fixture
def place(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "result")


def told(video: str, seed: int = 0) -> np.ndarray:
    """Scores of all tasks [N, 22] that mean nothing."""
    rng, frames = np.random.default_rng([seed, *video.encode()]), FRAMES[video]
    parts = (rng.dirichlet(np.ones(8), frames), rng.uniform(0, 1, (frames, 12)), rng.uniform(-1, 1, (frames, 2)))
    return np.concatenate(parts, axis=1)


def right(labels: FrameLabels, video: str) -> np.ndarray:
    """Scores that are right wherever there is a label."""
    target_NK = labels.targets(video)
    return np.where(np.isnan(target_NK), told(video), target_NK)


def lines(place: Storage, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(place.read(name).decode())))


def diagnosed(place: Storage, labels: FrameLabels, features: list[FeatureStore]) -> list[VideoDiagnosis]:
    """Of v5 everything is told right, of the others nothing that is known."""
    split = FrameSplit(labels, LEARNED, TESTED, TESTED, "test")
    scores = {video: right(labels, video) if video == "v5" else told(video) for video in TESTED}
    present = {video: present_frames(features, video, FRAMES[video]) for video in TESTED}
    return write_diagnoses(place, frame_table(split, scores, present), labels.protocol)


def test_a_line_per_video_for_each_task_the_worst_first_and_those_without_the_task_last(
    place: Storage, labels: FrameLabels, features: list[FeatureStore]
) -> None:
    first = diagnosed(place, labels, features)
    assert [one.video for one in first] == ["v4", "v5", "v6"], "the first task is that of expressions, which v6 lacks"
    expr, au, va = (lines(place, f"videos-{task}.csv") for task in ("expr", "au", "va"))
    assert [row["video"] for row in expr] == ["v4", "v5", "v6"]
    assert (float(expr[1]["score"]), expr[2]["score"]) == (1, "")
    assert [row["video"] for row in va] == ["v4", "v5", "v6"] and float(va[1]["score"]) == pytest.approx(1, abs=1e-6)
    assert {row["video"] for row in au[:2]} == {"v4", "v6"} and (au[2]["video"], au[2]["annotated"]) == ("v5", "0")
    assert (expr[0]["frames"], expr[0]["annotated"]) == ("11", "10"), "frame 6 has no expression"


def test_the_share_of_missing_frames_is_of_those_without_features_of_their_own(
    place: Storage, labels: FrameLabels, features: list[FeatureStore]
) -> None:
    diagnosed(place, labels, features)
    missing = {row["video"]: float(row["missing"]) for row in lines(place, "videos-expr.csv")}
    assert missing == {"v4": pytest.approx(3 / 11), "v5": 2 / 8, "v6": pytest.approx(2 / 6)}


def test_columns_that_no_video_has_a_value_in_are_left_out(
    place: Storage, labels: FrameLabels, features: list[FeatureStore]
) -> None:
    diagnosed(place, labels, features)
    shared = {"video", "frames", "annotated", "missing", "score"}
    of_classes = {"accuracy", "longest_error", "changes", "changes_told"}
    va, expr = (set(lines(place, f"videos-{task}.csv")[0]) for task in ("va", "expr"))
    dimensions = ("valence", "arousal")
    assert va == shared | {f"{name}/{of}" for name in ("part", "distance", "bias") for of in dimensions}
    occurring = [name for name in EXPRESSIONS if name != "Surprise"]
    assert expr == shared | of_classes | {f"part/{name}" for name in occurring}, "frame 6 would be the one of Surprise"


def test_timelines_are_drawn_of_the_worst_the_middle_and_the_best_video(
    place: Storage, labels: FrameLabels, features: list[FeatureStore]
) -> None:
    order = [VideoDiagnosis(video, 1, 1, 0.0, (), score) for video, score in (("v5", 0.1), ("v4", 0.2), ("v6", None))]
    scores = {video: told(video) for video in TESTED}
    addresses = draw_timelines(place, order, labels, scores, features)
    assert addresses == [place.full(f"timeline-{video}.png") for video in ("v5", "v4")]
    for address in addresses:
        assert min(Image.open(address).size) > 200
    bare = [VideoDiagnosis("v6", 1, 0, 0.0, ())]
    assert draw_timelines(place, bare, labels, scores, features) == [place.full("timeline-v6.png")]


def score_stores(folder: Path, count: int) -> list[FeatureStore]:
    """Scores of all videos by as many heads."""
    stores = []
    for seed in range(count):
        store = FeatureStore.create(
            Storage(folder / str(seed)), name="scores", kind="scores", width=22, made_with={"seed": seed}
        )
        for video, frames in FRAMES.items():
            store.write(video, np.arange(frames), np.arange(frames) / 25, told(video, seed))
        stores.append(store)
    return stores


def test_a_submission_has_every_frame_of_the_tests_of_its_own_task_as_the_mean_of_the_folds_says(
    place: Storage, corpus: Storage, labels: FrameLabels, tmp_path: Path
) -> None:
    stores, submitted = score_stores(tmp_path / "scores", 2), submitted_videos(corpus, labels)
    written = write_submissions(place, labels.protocol, submitted, stores, NOTHING, PostprocessingConfig())
    assert written == {task: place.full(f"submission/{task}.txt") for task in ("expr", "au", "va")}
    for task in written:
        data = place.read(f"submission/{task}.txt")
        check_submission(task, data, {video: FRAMES[video] for video in SUBMITTED[task]})
        rows = dict(line.split(",", 1) for line in data.decode().splitlines()[1:])
        for video in SUBMITTED[task]:
            mean_NK = np.mean([told(video, seed).astype(np.float32) for seed in range(2)], axis=0)
            for frame, mean_K in enumerate(mean_NK):
                said = [float(value) for value in rows[f"{video}/{frame + 1:05d}.jpg"].split(",")]
                expected = {"expr": [mean_K[:8].argmax()], "au": mean_K[8:20] >= 0.5, "va": mean_K[20:]}[task]
                np.testing.assert_allclose(said, expected, atol=1e-6)


def test_submissions_are_smoothed_and_thresholded_as_the_validation_videos_chose(
    place: Storage, corpus: Storage, labels: FrameLabels, tmp_path: Path
) -> None:
    stores, submitted = score_stores(tmp_path / "scores", 1), submitted_videos(corpus, labels)
    # Units that score .2 where they are there and .1 elsewhere: their threshold lies between.
    target_NK = right(labels, "v4")
    low_NK = np.concatenate([target_NK[:, :8], 0.1 + 0.1 * target_NK[:, 8:20].round(), target_NK[:, 20:]], axis=1)
    low_NK[:, :8] /= low_NK[:, :8].sum(1, keepdims=True)
    validated = Validated({"v4": low_NK}, {"v4": labels.targets("v4")})
    config = PostprocessingConfig(thresholds="validation")
    write_submissions(place, labels.protocol, submitted, stores, validated, config)
    rows = [line.split(",")[1:] for line in place.read("submission/au.txt").decode().splitlines()[1:]]
    score_NK = np.concatenate([told(video).astype(np.float32)[:, 8:20] for video in SUBMITTED["au"]])
    there = np.array(rows, int).mean()
    assert (score_NK >= 0.2).mean() <= there <= (score_NK >= 0.1).mean() and there > (score_NK >= 0.5).mean()


def test_a_task_whose_test_videos_are_of_unknown_length_is_not_submitted_and_the_others_are(
    place: Storage, corpus: Storage, labels: FrameLabels, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    submitted = submitted_videos(corpus, labels) | {"va": {"t1": 9, "t2": None}, "au": {}}
    stores = score_stores(tmp_path / "scores", 1)
    with caplog.at_level(logging.WARNING):
        written = write_submissions(place, labels.protocol, submitted, stores, NOTHING, PostprocessingConfig())
    assert list(written) == ["expr"] and [item.name for item in place.list()] == ["submission/expr.txt"]
    assert "no submission of va: nothing tells how many frames 1 test videos have, the first is t2" in caplog.text

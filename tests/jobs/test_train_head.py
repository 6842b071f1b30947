"""A head from the command to files: stopped, gone on with, scored, told of, and found again."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.ledger import read_epoch
from cluster.runtime import ray_session
from cluster.sinks import read_rows
from jobs import train_head as train_head_job
from jobs.parts.command_line import Command
from jobs.parts.frame_scores import SHOWN, frame_uri
from jobs.parts.head_config import HeadConfig
from jobs.parts.head_inference import score_video
from jobs.parts.head_run import train_head
from jobs.parts.postprocessing_config import PostprocessingConfig
from jobs.parts.trained import load_trained
from pipelines.corpora.aff_wild2_files import UNITS
from pipelines.feature_store import FeatureStore
from pipelines.frame_labels import read_frame_labels
from pipelines.labels import attribute_values
from pipelines.sequences import FeatureSequences, window_rows
from pipelines.storage import Storage
from pipelines.submission import check_submission
from tests.jobs.tiny_affect import head_config
from tests.jobs.tiny_finetuning import checkpoints, last_line
from tests.pipelines.affect_corpus import FRAMES, LEARNED, SUBMITTED, TESTED, has_image, write_corpus, write_stores

pytestmark = pytest.mark.timeout(900)  # of starting workers beside other tests

NAME, STEPS = "head", 4
LABELLED = [
    frame_uri(video, frame) for video in TESTED for frame in range(FRAMES[video]) if (video, frame) != ("v6", 5)
]
"""Of v6 only action units are annotated, and of its frame 5 not all of them."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """One private cluster, and where everything is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=200_000_000):
            yield Storage(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def config(home: Storage) -> HeadConfig:
    corpus = write_corpus(Path(home.full("corpus")))
    filters = PostprocessingConfig(smoothing=("expr/median:3", "va/gaussian:1"))
    return head_config(str(corpus), write_stores(Path(home.full("features"))), "all", postprocessing=filters)


def run(config: HeadConfig, home: Storage) -> dict[str, Any]:
    """The last line of the job."""
    return last_line(lambda: train_head(Command(config, name=NAME, home=home.uri)))


@pytest.fixture(scope="module")
def stopped(home: Storage, config: HeadConfig) -> dict[str, Any]:
    """After one of four steps."""
    return run(replace(config, stop_at_step=1), home)


@pytest.fixture(scope="module")
def finished(home: Storage, config: HeadConfig, stopped: dict[str, Any]) -> dict[str, Any]:
    return run(config, home)


def table_of(result: dict[str, Any]) -> Any:
    return pq.read_table(io.BytesIO(Storage(result["directory"]).read("predictions.parquet")))


def test_a_head_that_was_stopped_goes_on_and_uses_every_window_once(
    stopped: dict[str, Any], finished: dict[str, Any], config: HeadConfig
) -> None:
    assert (stopped["is_finished"], stopped["unfinished"]) == (False, [f"{NAME}-seed0"])
    assert finished["is_finished"] and finished["runs"] == stopped["runs"]
    directory = Storage(finished["runs"][0])
    windows = window_rows(read_frame_labels(Storage(config.corpus.root), "all"), LEARNED, config.window).num_rows
    consumed, quarantined = read_epoch(directory, 0)
    assert (consumed.sum(), len(consumed), quarantined.size) == (windows, windows, 0)
    assert finished["samples"] == windows == 15
    rows = read_rows(directory, "metrics.jsonl", STEPS)
    assert [row["step"] for row in rows if "loss/total" in row] == list(range(1, STEPS + 1))
    assert {"validation/affect", "validation/expr/f1_macro", "validation/va/ccc"} <= set(rows[0])
    counts = json.loads(directory.read("labels.json"))
    assert counts["test"] == {"videos": len(TESTED), "frames": len(LABELLED)}


def test_every_labelled_frame_of_the_test_videos_is_predicted_with_features_or_without(
    finished: dict[str, Any], config: HeadConfig
) -> None:
    table = table_of(finished)
    uris = table["uri"].to_pylist()
    assert uris == sorted(LABELLED)
    frames = [int(uri[-9:-4]) - 1 for uri in uris]
    shown = attribute_values(table["attributes"], SHOWN)
    assert shown == ["there" if has_image(frame) else "missing" for frame in frames] and "missing" in shown
    assert np.isfinite(np.array(table["score"].to_pylist())).all()
    metrics = json.loads(Storage(finished["directory"]).read("metrics.json"))
    assert metrics["tasks"].keys() == {"expr", "au", "va"} and metrics["unit"] == "frames"
    assert finished["headline"] == pytest.approx(
        finished["metrics"]["expr/f1_macro"] + finished["metrics"]["au/multi_label_f1"] + finished["metrics"]["va/ccc"]
    )


def test_all_videos_have_scores_of_every_frame_by_the_head_that_was_trained(
    finished: dict[str, Any], config: HeadConfig
) -> None:
    store = FeatureStore.open(Storage(finished["runs"][0]).child("scores"))
    assert set(store.videos()) == set(FRAMES)
    head = load_trained(finished["runs"][0], (HeadConfig,)).model().eval()
    features = FeatureSequences([FeatureStore.open(one) for one in config.features], config.missing, cache_bytes=0)
    for video, frames in FRAMES.items():
        found = store.read(video)
        assert found.frame_M.tolist() == list(range(frames))
        expected = score_video(head, features, video, frames, config.window)
        np.testing.assert_allclose(found.feature_MD, expected, atol=1e-5)


def test_each_task_has_a_submission_of_its_test_set_tables_and_timelines(finished: dict[str, Any]) -> None:
    place = Storage(finished["directory"])
    metrics = json.loads(place.read("metrics.json"))
    assert finished["submissions"] == {task: place.full(f"submission/{task}.txt") for task in SUBMITTED}
    for task, videos in SUBMITTED.items():
        check_submission(task, place.read(f"submission/{task}.txt"), {video: FRAMES[video] for video in videos})
        assert place.exists(f"videos-{task}.csv")
    assert metrics["postprocessing"] == {
        "expr": {"smoothing": ["median:3"]},
        "au": {"smoothing": [], "thresholds": dict.fromkeys(UNITS, 0.5)},
        "va": {"smoothing": ["gaussian:1"]},
    }
    assert finished["timelines"] and all(Path(address).exists() for address in finished["timelines"])


def test_the_same_command_again_trains_nothing_and_scores_what_is_missing_alone(
    finished: dict[str, Any], home: Storage, config: HeadConfig
) -> None:
    directory = Storage(finished["runs"][0])
    trained, table = checkpoints(directory), table_of(finished)
    for name in ("predictions.parquet", "scores/videos/v4.parquet"):
        directory.remove(name)
    scored = {item.name: item.etag for item in directory.list("scores")}
    assert run(config, home) == finished
    assert checkpoints(directory) == trained
    assert scored.items() < {item.name: item.etag for item in directory.list("scores")}.items()
    assert repr(table_of(finished).to_pylist()) == repr(table.to_pylist())


def test_a_command_without_features_ends_with_what_is_missing(
    home: Storage, config: HeadConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--corpus.root", config.corpus.root, "--home", home.uri]
    monkeypatch.setattr(sys, "argv", ["train_head.py", "nano", *words])
    with pytest.raises(SystemExit, match=r"^error: there are no features to learn from: say --features STORE"):
        train_head_job.main()

"""Fine-tuning and evaluation from the command to files: folds stopped, killed and resumed, started from other runs.

Starting workers is what takes time, so that the tests share what was trained.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from cluster.failures import WorkersFailed
from cluster.ledger import read_epoch
from cluster.runtime import ray_session
from cluster.sinks import read_rows
from jobs import evaluate as evaluate_job
from jobs import finetune as finetune_job
from jobs.parts.catalog import find_or_build
from jobs.parts.command_line import Command
from jobs.parts.evaluate_run import evaluate_runs
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.finetune_run import prepare
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.trained import ALL, load_trained
from models.warm_start import CLASSIFIER
from pipelines.corpora.enterface05 import CLASSES
from pipelines.labels import label_rows
from pipelines.storage import Storage
from tests.jobs.tiny import tiny_config, tiny_model, write_run
from tests.jobs.tiny_finetuning import (
    checkpoints,
    finetune_config,
    last_line,
    run_finetune,
    write_table,
    write_twin,
)

pytestmark = pytest.mark.timeout(900)  # of starting workers beside other tests

STEPS, LEARNED = 6, 24
STILL = {"base_lr": 1e-9, "min_lr": 1e-9}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """One private cluster, and where everything is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=300_000_000):
            yield Storage(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def corpus(home: Storage) -> LabelledCorpusConfig:
    return write_twin(home.child("twin"))


@pytest.fixture(scope="module")
def table(home: Storage, corpus: LabelledCorpusConfig) -> LabelledCorpusConfig:
    return write_table(home.child("table"), Storage(corpus.root))


@pytest.fixture(scope="module")
def config(corpus: LabelledCorpusConfig) -> FinetuneConfig:
    return finetune_config(corpus, folds=(1, 2), concurrent=2)


def read_table(uri: str) -> Any:
    return pq.read_table(io.BytesIO(Storage(uri).read("predictions.parquet")))


@pytest.fixture(scope="module")
def stopped(home: Storage, config: FinetuneConfig) -> dict[str, Any]:
    """Both folds after two of six steps."""
    return run_finetune(replace(config, stop_at_step=2), home, name="folds")


@pytest.fixture(scope="module")
def folds(home: Storage, config: FinetuneConfig, stopped: dict[str, Any]) -> dict[str, Any]:
    """Both folds, trained to the end and scored."""
    return run_finetune(config, home, name="folds")


def test_folds_that_were_stopped_go_on_side_by_side_and_use_every_sample_once(
    stopped: dict[str, Any], folds: dict[str, Any], home: Storage
) -> None:
    names = ["folds-fold1-seed0", "folds-fold2-seed0"]
    assert (stopped["is_finished"], stopped["unfinished"]) == (False, names)
    assert folds["is_finished"] and folds["runs"] == [home.child("runs", name).uri for name in names]
    for run in map(Storage, folds["runs"]):
        consumed, quarantined = read_epoch(run, 0)
        assert (consumed.sum(), quarantined.size) == (LEARNED, 0)
        steps = [row["step"] for row in read_rows(run, "metrics.jsonl", STEPS) if "loss/total" in row]
        assert steps == list(range(1, STEPS + 1))
        counts = json.loads(run.read("labels.json"))
        assert [counts[name]["videos"] for name in ("train", "validation", "test")] == [LEARNED, 6, 6]
        assert counts["test"]["classes"] == dict.fromkeys(CLASSES, 1.0)


def test_the_same_command_again_trains_nothing_and_finds_the_result(
    folds: dict[str, Any], home: Storage, config: FinetuneConfig
) -> None:
    trained = {uri: checkpoints(Storage(uri)) for uri in folds["runs"]}
    assert run_finetune(config, home, name="folds") == folds
    assert {uri: checkpoints(Storage(uri)) for uri in folds["runs"]} == trained
    assert json.loads(Storage(folds["directory"]).read("result.json")) == folds


def test_every_test_video_is_scored_once_in_the_fold_that_it_is_tested_in(
    folds: dict[str, Any], home: Storage, config: FinetuneConfig
) -> None:
    _, catalog = find_or_build(config.corpus.name, config.corpus.root, home)
    row_N, _, part_N = label_rows(catalog.table["labels"], catalog.protocols[0])
    uris = np.array(catalog.table["uri"].to_pylist())[row_N].tolist()
    part_of = {uri: str(part) for uri, part in zip(uris, part_N, strict=True) if part in ("1", "2")}
    table = read_table(folds["directory"])
    assert dict(zip(table["uri"].to_pylist(), table["part"].to_pylist(), strict=True)) == part_of
    assert table.num_rows == len(part_of) == 12
    assert [CLASSES[np.argmax(target)] for target in table["target"].to_pylist()] == [
        uri.split("/")[2] for uri in table["uri"].to_pylist()
    ]
    assert set(table["clips"].to_pylist()) == {2}
    assert json.loads(table.schema.metadata[b"semblance.predictions"])["protocol"]["classes"] == list(CLASSES)


def test_the_result_is_what_scikit_learn_makes_of_the_predictions(folds: dict[str, Any]) -> None:
    place = Storage(folds["directory"])
    table, metrics = read_table(place.uri), json.loads(place.read("metrics.json"))
    score_NK, target_NK = (np.array(table[name].to_pylist()) for name in ("score", "target"))
    true_N, said_N = target_NK.argmax(1), score_NK.argmax(1)
    np.testing.assert_allclose(score_NK.sum(1), 1, rtol=1e-5)
    assert metrics["metrics"]["uar"] == pytest.approx(balanced_accuracy_score(true_N, said_N), abs=1e-12)
    assert metrics["metrics"]["war"] == pytest.approx(accuracy_score(true_N, said_N), abs=1e-12)
    assert metrics["confusion_matrix"] == confusion_matrix(true_N, said_N).tolist()
    assert (folds["metric"], folds["headline"]) == ("uar", metrics["metrics"]["uar"])
    assert (metrics["evaluation"], metrics["setting"], metrics["folds"]) == ("paper", None, 2)
    assert [checkpoint.rpartition("/checkpoints/step-")[0] for checkpoint in metrics["checkpoints"]] == folds["runs"]
    assert (folds["samples"], folds["quarantined"], folds["unusable"]) == (2 * LEARNED, 0, 0)
    assert {part: values["videos"] for part, values in metrics["per_part"].items()} == {"1": 6, "2": 6}
    model = load_trained(folds["runs"][0], ALL).model()
    assert metrics["parameters"] == sum(parameter.numel() for parameter in model.parameters()) > 5e5
    assert metrics["gflops"] > 0
    picture = np.asarray(Image.open(io.BytesIO(place.read("confusion.png"))).convert("RGB"))
    assert min(picture.shape[:2]) > 300 and picture.std() > 5


def kill_worker_after_first_checkpoint(run: Storage) -> None:
    """Ends the process of the training worker; the cluster's only one."""
    deadline = time.monotonic() + 120
    while not checkpoints(run):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for actor in ray._private.state.actors().values():
        if actor["State"] == "ALIVE" and actor["ActorClassName"].endswith("TrainWorker"):
            os.kill(actor["Pid"], signal.SIGKILL)


def test_a_killed_fold_goes_on_by_the_same_command_and_a_finished_one_is_left_alone(
    folds: dict[str, Any], home: Storage, config: FinetuneConfig
) -> None:
    finished, killed = (home.child("runs", f"folds-fold{fold}-seed0") for fold in (1, 3))
    before = checkpoints(finished)
    fragile = replace(config, folds=(1, 3), workers=replace(config.workers, max_failures=0))
    killer = threading.Thread(target=kill_worker_after_first_checkpoint, args=(killed,))
    killer.start()
    with pytest.raises(WorkersFailed, match="gave up after 0 restarts"):
        run_finetune(fragile, home, name="folds")
    killer.join()
    left = checkpoints(killed)
    assert left and max(left) < f"checkpoints/step-{STEPS:08d}", "it was killed on its way"

    result = run_finetune(replace(config, folds=(1, 3)), home, name="folds")
    assert result["is_finished"] and result["runs"] == [finished.uri, killed.uri]
    assert checkpoints(finished) == before
    assert read_epoch(killed, 0)[0].sum() == LEARNED
    assert set(read_table(result["directory"])["part"].to_pylist()) == {"1", "3"}


@pytest.fixture(scope="module")
def started(home: Storage, config: FinetuneConfig) -> str:
    """One step of fold 1, by two workers, from an encoder that has seen its test subject."""
    pretrained = home.full("pretrained")
    write_run(Path(pretrained), tiny_config(), data={"corpus": "enterface05", "subjects": ["subject_1"]})
    two = replace(config.workers, num_workers=2)
    optimizer = replace(config.optimizer, **STILL)
    first = replace(config, folds=(1,), init_from=pretrained, optimizer=optimizer, workers=two, stop_at_step=1)
    return run_finetune(first, home, name="started")["runs"][0]


def test_a_pre_trained_encoder_is_taken_over_by_two_workers(started: str) -> None:
    weights = load_trained(started, ALL).weights
    pretrained = tiny_model(tiny_config()).state_dict()
    shared = [name for name in weights if name in pretrained]
    assert len(shared) > 20 and {f"encoder.{name}" for name in CLASSIFIER} == set(weights) - set(shared)
    for name in shared:
        torch.testing.assert_close(weights[name], pretrained[name], atol=1e-6, rtol=0)
    first, *_ = read_rows(Storage(started), "metrics.jsonl", 1)
    assert {"validation/uar", "validation/war"} <= set(first) and first["step"] == 0


def test_an_unfinished_run_is_scored_and_whom_its_weights_have_seen_decides_the_setting(
    started: str, tmp_path: Path
) -> None:
    line = last_line(lambda: evaluate_runs([started], test_clips=1, output=str(tmp_path)))
    assert (line["setting"], line["directory"]) == ("transductive", str(tmp_path))
    assert set(read_table(line["directory"])["clips"].to_pylist()) == {1}


@pytest.fixture(scope="module")
def second(folds: dict[str, Any], home: Storage, config: FinetuneConfig, table: LabelledCorpusConfig) -> dict[str, Any]:
    """A table of three people, from a fold of another corpus: one is learned from, one held out, one tested."""
    optimizer = replace(config.optimizer, **STILL)
    other = replace(config, corpus=table, folds=(2,), init_from=folds["runs"][0], optimizer=optimizer)
    clean = replace(other, evaluation="clean", validation_share=0.4, class_weighting="balanced")
    return run_finetune(clean, home, name="second")


def test_a_fine_tuned_run_goes_on_with_other_classes_and_a_head_of_its_own(
    folds: dict[str, Any], second: dict[str, Any]
) -> None:
    theirs, ours = load_trained(folds["runs"][0], ALL), load_trained(second["runs"][0], ALL)
    assert ours.config.model.classes == ("calm", "glad") and len(ours.config.model.class_weights) == 2
    for name, value in ours.weights.items():
        if name.removeprefix("encoder.") not in CLASSIFIER:
            torch.testing.assert_close(value, theirs.weights[name], atol=1e-6, rtol=0)
    assert ours.weights["encoder.head.weight"].shape[0] == 2
    assert (second["setting"], second["evaluation"]) == ("inductive", "clean")
    data = ours.provenance["metadata"]["data"]
    assert data["started_from"] == theirs.provenance["metadata"]["data"]
    assert len(data["subjects"]) == 1


def prepared(config: FinetuneConfig, home: Storage) -> None:
    prepare(Command(config, name="refused", home=home.uri), home)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": (2, 6)}, r"folds=\[6\] are none of protocol emotions, which has 1 to 5"),
        ({"task": "multi_label"}, r"say --model\.task classes"),
        ({"classes": tuple(reversed(CLASSES))}, r"are not those of protocol emotions, in its order: \('anger'"),
        ({"protocol": "valence"}, "no protocol 'valence'; it has emotions"),
        ({"init_from": "/nowhere/at/all"}, "no checkpoint in /nowhere/at/all"),
    ],
)
def test_a_config_that_does_not_fit_the_corpus_ends_the_job_with_what_would(
    changes: dict[str, Any],
    message: str,
    home: Storage,
    corpus: LabelledCorpusConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--corpus.name", corpus.name, "--corpus.root", corpus.root, "--home", home.uri]
    for name, value in changes.items():
        option = {"task": "--model.task", "classes": "--model.classes", "protocol": "--corpus.protocol"}.get(name)
        words += [option or f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    if "task" in changes:
        words += ["--model.loss", "binary_cross_entropy", "--model.label-smoothing", "0"]
    monkeypatch.setattr(sys, "argv", ["finetune.py", "nano", *words])
    with pytest.raises(SystemExit, match=rf"^error: (.|\n)*{message}"):
        finetune_job.main()


def test_weights_that_do_not_say_whom_they_have_seen_are_refused(
    home: Storage, config: FinetuneConfig, tmp_path: Path
) -> None:
    write_run(tmp_path / "old", tiny_config())
    with pytest.raises(ValueError, match="does not say whom it has seen"):
        prepared(replace(config, init_from=str(tmp_path / "old")), home)


def test_a_test_video_that_cannot_be_used_is_named_before_anything_is_trained(
    home: Storage, config: FinetuneConfig, corpus: LabelledCorpusConfig, tmp_path: Path
) -> None:
    copied = write_table(Storage(tmp_path / "corpus"), Storage(corpus.root))
    broken = Storage(copied.root)
    image = next(item.name for item in broken.list("face_aligned/subject_1"))
    broken.write(image, b"no image")
    with pytest.raises(ValueError, match=rf"1 of 6 .* {image.rpartition('/')[0]} \(decode\); give the files back, or"):
        prepared(replace(config, corpus=copied, folds=(1,)), home)
    assert not [item for item in home.list("runs") if item.name.startswith("refused")]


def evaluate(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
    evaluate_job.main()


def test_an_image_that_vanished_ends_the_evaluation_and_nothing_is_skipped(
    folds: dict[str, Any], home: Storage, config: FinetuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folds["runs"][0]
    videos = Storage(config.corpus.root)
    image = next(item.name for item in videos.list("face_aligned/subject_1"))
    content = videos.read(image)
    videos.remove(image)
    try:
        with pytest.raises(SystemExit, match=rf"^error: test video {image.rpartition('/')[0]} .*Give the file back"):
            evaluate(["--runs", run, "--test-clips", "3", "--output", home.full("vanished")], monkeypatch)
    finally:
        videos.write(image, content)
    assert not list(home.list("vanished"))


def test_runs_that_do_not_belong_together_are_not_scored_as_one(
    folds: dict[str, Any], second: dict[str, Any], started: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = folds["runs"]
    for chosen, message in (
        ([first, first], r"several runs are of the same \(seed, folds\): \[\(0, \(1,\)\)\]"),
        ([first, second["runs"][0]], "are of other videos"),
        ([other, started], "begun with other values of init_from, optimizer"),
        ([], "nothing to score"),
    ):
        with pytest.raises(SystemExit, match=rf"^error: .*{message}"):
            evaluate(["--runs", *chosen], monkeypatch)


def test_a_run_is_not_scored_on_a_catalog_that_has_become_another(
    folds: dict[str, Any], home: Storage, table: LabelledCorpusConfig
) -> None:
    uri = load_trained(folds["runs"][0], ALL).provenance["metadata"]["data"]["catalog"]
    other, _ = find_or_build(table.name, table.root, home)
    kept = Path(uri).read_bytes()
    try:
        Path(uri).write_bytes(Path(other).read_bytes())
        with pytest.raises(ValueError, match="was trained on other videos, labels or folds"):
            evaluate_runs(folds["runs"], test_clips=None, output=None)
    finally:
        Path(uri).write_bytes(kept)

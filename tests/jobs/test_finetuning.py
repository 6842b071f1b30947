"""What one fold learns from what, decided from the catalog and the config before anything is trained."""

from __future__ import annotations

import _thread
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from cluster import runtime
from cluster.preflight import Capacity, InsufficientResources
from jobs.parts import fold_runs
from jobs.parts.finetuning import Finetuning, balanced_weights
from jobs.parts.fold_runs import Run, chosen_folds, train_all
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.labelled_corpus import chosen_protocol
from pipelines.catalog import Catalog
from pipelines.labels import EvaluationProtocol
from pipelines.storage import Storage
from tests.jobs.tiny_finetuning import finetune_config
from tests.pipelines.labelled_corpus import PROTOCOL, UNLABELLED, VIDEOS, class_of, part_of, with_status, write_labelled

CORPUS = LabelledCorpusConfig(name="table", root="unused")
FIXED = EvaluationProtocol("toy", "classes", ("calm", "glad"))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_labelled(tmp_path_factory.mktemp("labelled"))


def work_of(catalog: Catalog, **changes: Any) -> Finetuning:
    config = finetune_config(CORPUS, **({"folds": (3,)} | changes))
    return Finetuning(config, catalog.protocols[0], "s3://bucket/catalog", catalog, None, None)


def with_parts(catalog: Catalog, part: Callable[[int], str], protocol: EvaluationProtocol) -> Catalog:
    """The catalog with other parts under a protocol of the same name."""
    rows = catalog.table.to_pylist()
    for row in rows:
        row["labels"] = [{**label, "part": part(row["sample_id"])} for label in row["labels"]]
    return replace(catalog, table=type(catalog.table).from_pylist(rows, catalog.table.schema), protocols=(protocol,))


def with_kind(catalog: Catalog, kind: str) -> Catalog:
    rows = [row | {"kind": kind} for row in catalog.table.to_pylist()]
    return replace(catalog, table=type(catalog.table).from_pylist(rows, catalog.table.schema))


def ids(videos: Any) -> set[int]:
    return set(videos["sample_id"].to_pylist())


def in_fold(*parts: str) -> set[int]:
    return {i for i in range(VIDEOS) if i != UNLABELLED and part_of(i) in parts}


def test_a_fold_learns_from_the_others_and_is_tested_on_itself(catalog: Catalog) -> None:
    work = work_of(catalog)
    assert ids(work.learned) == in_fold("1", "2") and ids(work.test_videos()) == in_fold("3")
    assert work.task().config.classes == PROTOCOL.classes
    assert work.stream(1).config.parts == ("1", "2")
    data = work.data()
    assert (data["corpus"], data["protocol"], data["test_part"], data["started_from"]) == ("table", "toy", "3", None)
    assert data["subjects"] == sorted({f"s{i % 5}" for i in in_fold("1", "2")})


def test_the_papers_validate_with_the_test_videos_and_the_clean_way_with_other_people(catalog: Catalog) -> None:
    assert ids(work_of(catalog).validation) == in_fold("3")
    clean = work_of(catalog, evaluation="clean", validation_share=0.3)
    assert ids(clean.learned) | ids(clean.validation) == in_fold("1", "2")
    people = [set(videos["subject"].to_pylist()) for videos in (clean.learned, clean.validation)]
    assert all(people) and not people[0] & people[1]
    assert clean.stream(1).config.validation_share == 0.3 and work_of(catalog).stream(1).config.validation_share == 0


def test_validation_videos_of_the_corpus_itself_are_used_and_leave_the_training_videos_alone(catalog: Catalog) -> None:
    fixed = with_parts(catalog, lambda i: ("train", "validation", "test")[i % 3], FIXED)
    work = work_of(fixed, folds=(), evaluation="clean")
    assert [ids(videos) for videos in (work.learned, work.validation, work.test_videos())] == [
        in_fold("1"),
        in_fold("2"),
        in_fold("3"),
    ]
    with pytest.raises(ValueError, match="validation_share has no effect on protocol toy, which has validation videos"):
        work_of(fixed, folds=(), evaluation="clean", validation_share=0.2)


def test_videos_that_cannot_be_used_are_listed_and_neither_learned_from_nor_validated_with(catalog: Catalog) -> None:
    broken = with_status(with_status(catalog, 0, "decode"), 2, "missing")
    work = work_of(broken)
    assert {row["sample_id"]: row["reason"] for row in work.unusable()} == {0: "decode", 2: "missing"}
    ((_, probe),) = work.probes()
    assert set(probe.config.sample_ids) == in_fold("3") - {2}
    assert 2 in ids(work.test_videos()), "an evaluation leaves none out"


def test_validation_videos_are_spread_over_all(catalog: Catalog) -> None:
    ((_, probe),) = work_of(catalog, validation_clips=2).probes()
    assert probe.config.sample_ids == (min(in_fold("3")), max(in_fold("3")))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"classes": ("glad", "calm")}, r"in its order: \('calm', 'glad'\); leave them out"),
        ({"task": "multi_label", "loss": "binary_cross_entropy", "label_smoothing": 0.0}, "say --model.task classes"),
    ],
)
def test_a_model_of_other_classes_or_another_task_is_refused(catalog: Catalog, model: dict, message: str) -> None:
    tiny = finetune_config(CORPUS).model
    with pytest.raises(ValueError, match=message):
        work_of(catalog, model=replace(tiny, **model))


def test_a_fold_without_anybody_is_named(catalog: Catalog) -> None:
    few = replace(catalog, protocols=(replace(PROTOCOL, folds=5),))
    with pytest.raises(ValueError, match="no video is in the folds 4, 5 of protocol toy; 5 subjects are there"):
        work_of(few, folds=(1,))
    fixed = with_parts(catalog, lambda i: "train", FIXED)
    with pytest.raises(ValueError, match="no video is in the parts test of protocol toy"):
        work_of(fixed, folds=())


def test_balanced_classes_weigh_the_same_and_the_average_video_weighs_one() -> None:
    class_N = np.array([0] * 6 + [1] * 3 + [2])
    weights = balanced_weights(np.eye(3)[class_N], ("a", "b", "c"), "classes")
    assert weights == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=class_N))
    assert np.mean(np.array(weights)[class_N]) == pytest.approx(1)


def test_of_several_labels_the_rarer_weigh_more() -> None:
    target_NK = np.array([[1, 1], [1, 0], [0, 0], [1, 0]], float)
    assert balanced_weights(target_NK, ("AU1", "AU2"), "multi_label") == pytest.approx((4 / (2 * 3), 4 / (2 * 1)))


def test_of_several_tasks_at_once_the_classes_of_each_are_balanced_among_themselves_and_values_weigh_one() -> None:
    classes = ("expr/Neutral", "expr/Fear", "au/AU1", "au/AU2", "va/valence", "va/arousal")
    nan = np.nan
    target_NK = np.array(
        [
            [1, 0, nan, nan, 0.1, 0.2],
            [1, 0, 1, 1, nan, nan],
            [1, 0, 1, 0, -0.9, 0.0],
            [0, 1, nan, nan, nan, nan],
            [nan, nan, 1, 0, 0.3, 0.4],
        ]
    )
    weights = balanced_weights(target_NK, classes, "affect")
    known = ~np.isnan(target_NK[:, 0])
    expr = compute_class_weight("balanced", classes=np.arange(2), y=target_NK[known, :2].argmax(1))
    assert weights == pytest.approx((*expr, 4 / (2 * 3), 4 / (2 * 1), 1.0, 1.0))
    with pytest.raises(ValueError, match="there is none of au/AU2; say --class-weighting none"):
        balanced_weights(target_NK[[0, 2, 3, 4]], classes, "affect")


def test_images_are_called_images(catalog: Catalog, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    images = with_kind(catalog, "image")
    assert (work_of(catalog).unit, work_of(images).unit) == ("videos", "images")
    with caplog.at_level(logging.INFO, logger="jobs.parts.finetuning"):
        work_of(images).describe_data(Storage(tmp_path))
    assert f"test: {len(in_fold('3'))} images of " in caplog.text


def test_of_each_class_so_many_are_learned_from_and_all_are_tested(catalog: Catalog) -> None:
    work = work_of(catalog, per_class=2)
    assert sorted(class_of(i) for i in ids(work.learned)) == [0, 0, 1, 1] and ids(work.test_videos()) == in_fold("3")
    assert work.stream(1).config.per_class == 2
    assert ids(work_of(catalog, per_class=2).learned) == ids(work.learned) < in_fold("1", "2")


def test_balanced_classes_are_those_of_the_training_videos(catalog: Catalog) -> None:
    weights = work_of(catalog, class_weighting="balanced").config.model.class_weights
    counts = np.bincount([class_of(i) for i in in_fold("1", "2")])
    assert weights == pytest.approx((counts.sum() / (2 * counts)).tolist())
    lonely = with_parts(catalog, lambda i: str(1 + class_of(i)), replace(PROTOCOL, folds=2))
    with pytest.raises(ValueError, match="there is none of glad; say --class-weighting none"):
        work_of(lonely, folds=(2,), class_weighting="balanced")


def test_folds_are_those_of_the_protocol() -> None:
    config = finetune_config(CORPUS)
    assert chosen_folds(config, PROTOCOL) == [1, 2, 3]
    assert chosen_folds(replace(config, folds=(3, 1)), PROTOCOL) == [3, 1]
    assert chosen_folds(config, FIXED) == [None]
    with pytest.raises(ValueError, match=r"folds=\[4\] are none of protocol toy, which has 1 to 3"):
        chosen_folds(replace(config, folds=(2, 4)), PROTOCOL)
    with pytest.raises(ValueError, match="have no effect on protocol toy, whose parts are fixed"):
        chosen_folds(replace(config, folds=(1,)), FIXED)


def test_the_first_protocol_is_meant_where_none_is_named(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    official = replace(PROTOCOL, official=12)
    told = replace(catalog, protocols=(official, replace(PROTOCOL, name="other")))
    assert chosen_protocol(CORPUS, told) == official
    assert "has 9 videos here, officially 12" in caplog.text
    twin = LabelledCorpusConfig(name="table")
    assert chosen_protocol(twin, told).official is None, "a miniature is not measured by the original"
    with pytest.raises(ValueError, match="no protocol 'third'; it has toy, other"):
        chosen_protocol(replace(CORPUS, protocol="third"), told)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[str], list[Callable[[], None]]]]:
    """The names of runs that a cluster for one at a time has begun, and what each of them does."""
    names, deeds = [], []

    def train(config: Any, work: Any, name: str, directory: Any, *, sharing: int) -> dict[str, Any]:
        names.append(name)
        for deed in deeds:
            deed()
        return {"is_finished": False}

    monkeypatch.setattr(fold_runs, "train", train)
    monkeypatch.setattr(fold_runs, "cluster_capacity", lambda: Capacity(2, 0, 2, 0))
    yield names, deeds


def test_a_request_to_stop_reaches_runs_that_have_not_begun(catalog: Catalog, begun: Any) -> None:
    names, deeds = begun
    runs = [Run(f"run{fold}", Storage("unused"), work_of(catalog, folds=(fold,))) for fold in (1, 2)]
    assert len(train_all(runs, None)) == len(names) == 2
    deeds.append(lambda: [event.set() for event in runtime._stop_requests])
    assert train_all(runs, None) == [{"is_finished": False}] * 2
    assert names == ["run1", "run2", "run1"]


def test_an_interrupt_ends_the_job_and_begins_nothing_else(catalog: Catalog, begun: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # libraries that ran in this process may have left theirs
    names, deeds = begun
    release = threading.Event()
    deeds += [_thread.interrupt_main, lambda: release.wait(20)]
    runs = [Run(f"run{fold}", Storage("unused"), work_of(catalog, folds=(fold,))) for fold in (1, 2, 3)]
    with pytest.raises(KeyboardInterrupt):
        train_all(runs, None)
    release.set()
    assert names == ["run1"]


def test_more_runs_at_once_than_there_are_gpus_are_refused(
    catalog: Catalog, begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_runs, "cluster_capacity", lambda: Capacity(16, 1, 16, 1))
    runs = [Run(f"run{fold}", Storage("unused"), work_of(catalog, folds=(fold,))) for fold in (1, 2)]
    with pytest.raises(InsufficientResources, match="2 x training worker"):
        train_all(runs, 2)

"""Which videos are learned from, validated with and tested on: no person on two sides where the split is ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.parts.frame_split import split_frames, submitted_videos
from jobs.parts.head_config import HeadConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from pipelines.catalog import Catalog
from pipelines.corpora.aff_wild2 import subject_of
from pipelines.frame_labels import read_frame_labels
from pipelines.labelled_stream import LabelledStreamConfig, chosen_videos
from pipelines.storage import Storage
from tests.jobs.tiny_affect import head_config
from tests.pipelines.affect_corpus import (
    FRAMES,
    LEARNED,
    SUBMITTED,
    TESTED,
    TRAIN,
    VALIDATION,
    write_catalog,
    write_corpus,
)
from tests.pipelines.affect_tree import LISTS, ROOT

CHALLENGES = {"expr": "EXPR_Recognition", "au": "AU_Detection", "va": "VA_Estimation"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("affect"))[1]


def config_of(catalog: Catalog, protocol: str, **changes: object) -> HeadConfig:
    return head_config(catalog.root, (), protocol, **changes)


@pytest.mark.parametrize("protocol", CHALLENGES)
def test_in_the_evaluation_of_the_papers_official_sets_are_learned_and_tested_and_nothing_is_held_out(
    catalog: Catalog, protocol: str
) -> None:
    split = split_frames(catalog, catalog.protocol(protocol), config_of(catalog, protocol))
    challenge = CHALLENGES[protocol]
    assert (split.learned, split.tested, split.part) == (TRAIN[challenge], VALIDATION[challenge], "test")
    assert split.validation == split.tested
    assert split.subjects() == sorted({subject_of(video) for video in TRAIN[challenge]})


def test_of_all_tasks_what_any_tests_on_is_tested_and_nothing_of_it_learned(catalog: Catalog) -> None:
    split = split_frames(catalog, catalog.protocol("all"), config_of(catalog, "all"))
    assert (split.learned, split.tested) == (LEARNED, TESTED)
    assert split.subjects() == ["v1", "v2", "v3"]


@pytest.mark.parametrize("protocol", ["expr", "au", "all", "expr_folds"])
def test_clean_validation_holds_out_the_people_that_a_fine_tuning_on_frames_does(
    catalog: Catalog, protocol: str
) -> None:
    config = config_of(catalog, protocol, evaluation="clean")
    if protocol.endswith("_folds"):
        config = config.single(fold=2, seed=0)
    single = catalog.protocol(protocol)
    split = split_frames(catalog, single, config)
    people = [{subject_of(video) for video in videos} for videos in (split.learned, split.validation, split.tested)]
    assert all(people) and not people[0] & people[1] and not people[1] & people[2]
    paper = split_frames(catalog, single, replace(config, evaluation="paper"))
    assert {*split.learned, *split.validation} == set(paper.learned) and split.tested == paper.tested
    frames = LabelledStreamConfig(
        catalog="", protocol=protocol, parts=config.training_parts(single), validation_share=config.validation_share
    )
    _, held_out = chosen_videos(catalog, frames)
    assert set(held_out["subject"].to_pylist()) == people[1]


def test_every_fold_tests_other_people_and_together_they_test_every_video_once(catalog: Catalog) -> None:
    protocol, tested = catalog.protocol("expr_folds"), []
    for fold in range(1, 6):
        split = split_frames(catalog, protocol, config_of(catalog, "expr_folds").single(fold=fold, seed=0))
        assert split.part == str(fold)
        assert not {subject_of(video) for video in split.tested} & set(split.subjects())
        tested += split.tested
    assert sorted(tested) == sorted([*TRAIN["EXPR_Recognition"], *VALIDATION["EXPR_Recognition"]])


def test_a_video_of_which_no_frame_is_annotated_is_neither_learned_nor_tested(tmp_path: Path) -> None:
    _, catalog = write_catalog(tmp_path)
    for name, frames in (("Train_Set/v3.txt", 9), ("Validation_Set/v5.txt", 8)):
        path = Path(catalog.root) / ROOT / "EXPR_Recognition_Challenge" / name
        path.write_text("\n".join([path.read_text().splitlines()[0], *["-1"] * frames]) + "\n")
    split = split_frames(catalog, catalog.protocol("expr"), config_of(catalog, "expr"))
    assert (split.learned, split.tested) == (("v1", "v2_left", "v2_right"), ("v4",))


def test_parts_without_a_labelled_video_are_named(tmp_path: Path) -> None:
    _, catalog = write_catalog(tmp_path)
    for video in VALIDATION["EXPR_Recognition"]:
        path = Path(catalog.root) / ROOT / "EXPR_Recognition_Challenge/Validation_Set" / f"{video}.txt"
        path.write_text("\n".join([path.read_text().splitlines()[0], *["-1"] * FRAMES[video]]) + "\n")
    with pytest.raises(ValueError, match="in the parts test of protocol expr; every part needs one: complete the"):
        split_frames(catalog, catalog.protocol("expr"), config_of(catalog, "expr"))


def test_a_corpus_that_is_not_labelled_frame_by_frame_is_refused(catalog: Catalog) -> None:
    config = replace(config_of(catalog, "expr"), corpus=LabelledCorpusConfig(name="mead"))
    with pytest.raises(ValueError, match=r"corpus\.name=mead is not labelled frame by frame; aff_wild2 is"):
        split_frames(catalog, catalog.protocol("expr"), config)


@pytest.mark.parametrize("protocol", [*CHALLENGES, "expr_folds"])
def test_what_is_submitted_for_a_task_is_its_test_set_in_the_order_of_its_list(catalog: Catalog, protocol: str) -> None:
    task = protocol.removesuffix("_folds")
    found = submitted_videos(catalog.storage, read_frame_labels(catalog.storage, protocol))
    assert found == {task: {video: FRAMES[video] for video in SUBMITTED[task]}}
    assert list(found[task]) == list(SUBMITTED[task])


def test_of_all_tasks_each_submits_its_own_test_set_though_another_task_has_labels_of_it(catalog: Catalog) -> None:
    labels = read_frame_labels(catalog.storage, "all")
    assert "v5" in labels.videos() and "v5" in SUBMITTED["au"]
    found = submitted_videos(catalog.storage, labels)
    assert {task: list(videos) for task, videos in found.items()} == {t: list(one) for t, one in SUBMITTED.items()}
    assert all(frames == FRAMES[video] for videos in found.values() for video, frames in videos.items())


def test_frames_that_the_example_of_one_task_does_not_tell_may_be_told_by_another_or_by_nobody(tmp_path: Path) -> None:
    storage = Storage(write_corpus(tmp_path, images=False))
    for task in ("au", "va"):
        storage.remove(f"test_set_examples/{task}_test_set_example.txt")
    alone = submitted_videos(storage, read_frame_labels(storage, "au"))
    assert alone == {"au": {"t1": None, "v5": None}}
    found = submitted_videos(storage, read_frame_labels(storage, "all"))
    assert found["au"] == {"t1": FRAMES["t1"], "v5": FRAMES["v5"]}, "by the example, and by the labels, of expressions"
    assert found["va"] == {"t2": None, "t1": FRAMES["t1"]}


def test_without_test_sets_nothing_is_submitted(tmp_path: Path) -> None:
    storage = Storage(write_corpus(tmp_path, images=False))
    storage.remove_tree("test_set_examples")
    storage.remove_tree(LISTS)
    assert submitted_videos(storage, read_frame_labels(storage, "all")) == {"expr": {}, "au": {}, "va": {}}
    assert not np.isnan(read_frame_labels(storage, "all").targets("v5")).all()

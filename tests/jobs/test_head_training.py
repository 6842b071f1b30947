"""A head on frames before and after its training: what it is refused for, what it learns from, what it predicts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from jobs.parts.evaluation import setting_of
from jobs.parts.fold_runs import Run
from jobs.parts.frame_scores import SHOWN, frame_table, scores_of_videos
from jobs.parts.head_config import HeadConfig
from jobs.parts.head_inference import HeadInferenceConfig, score_video
from jobs.parts.head_training import HeadTraining
from jobs.parts.head_validation import build_validation
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.postprocessing_config import PostprocessingConfig
from jobs.parts.validation import all_metrics
from models.feature_head import FeatureHead, build
from models.head_config import FeatureSet
from pipelines.catalog import Catalog
from pipelines.corpora.aff_wild2_files import EXPRESSIONS, UNITS
from pipelines.feature_store import FeatureStore
from pipelines.labels import attribute_values
from pipelines.sequences import FeatureSequences, window_rows
from pipelines.storage import Storage
from pipelines.submission import check_submission
from tests.jobs.tiny import tiny_config, write_run
from tests.jobs.tiny_affect import head_config
from tests.pipelines.affect_corpus import (
    FACE,
    FRAMES,
    LEARNED,
    SUBMITTED,
    TESTED,
    VOICE,
    has_image,
    units,
    write_catalog,
    write_store,
    write_stores,
)

FEATURES = (FeatureSet("face", FACE), FeatureSet("voice", VOICE))


@dataclass(frozen=True)
class Given:
    """A corpus and features of it."""

    catalog_uri: str
    catalog: Catalog
    stores: tuple[str, str]

    def config(self, protocol: str = "all", **changes: Any) -> HeadConfig:
        return replace(head_config(self.catalog.root, self.stores, protocol), **changes)

    def work(self, protocol: str = "all", **changes: Any) -> HeadTraining:
        return self.of(self.config(protocol, **changes))

    def of(self, config: HeadConfig) -> HeadTraining:
        return HeadTraining(config, self.catalog.protocol(config.corpus.protocol), self.catalog_uri, self.catalog)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("affect")
    return Given(*write_catalog(folder), write_stores(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ("a", "a")}, r"features=\('a', 'a'\) must be different stores"),
        ({"validation_windows": 0}, "validation_windows=0 must be at least 1"),
        ({"postprocessing": PostprocessingConfig(thresholds="validation")}, "say evaluation=clean"),
        (
            {"corpus": LabelledCorpusConfig("aff_wild2", "/root", annotations="/a")},
            r"corpus\.annotations has no effect on features; leave it out",
        ),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(head_config("root", (), "all"), **changes)


def test_what_is_done_after_training_is_no_part_of_the_run_and_part_of_its_result() -> None:
    config = head_config("root", (), "all")
    smoothed = replace(config, postprocessing=PostprocessingConfig(smoothing=("median:5",)), validation_windows=3)
    assert smoothed.learning() == config.learning()
    assert smoothed.scored() != config.scored()


def refused(given: Given, message: str, protocol: str = "expr", **changes: Any) -> None:
    with pytest.raises(ValueError, match=message):
        given.work(protocol, **changes)


def test_without_features_the_option_that_gives_them_is_named(given: Given) -> None:
    refused(given, r"say --features STORE \.\.\., of extract_features\.py", features=())


def test_features_that_lack_a_video_are_named_with_the_first_video(given: Given, tmp_path: Path) -> None:
    some = {video: [0] for video in FRAMES if video not in ("v3", "t1")}
    store = write_store(tmp_path, "some", 2, some)
    message = rf"the features {store} lack 2 of 7 videos, the first is t1: go on with jobs/extract_features\.py"
    refused(given, message, features=(given.stores[0], store))


def test_a_model_that_does_not_fit_is_refused(given: Given) -> None:
    model = given.config("expr").model
    refused(given, r"model\.classes=.* are not those of protocol expr", model=replace(model, classes=("a", "b")))
    refused(given, r"say --model\.task classes and a --model\.loss", model=given.config("va").model)
    swapped = replace(model, features=FEATURES[::-1])
    refused(given, r"model\.features=.* are not those of the stores, .*; leave them out", model=swapped)
    fitting = given.work("expr", model=replace(model, features=FEATURES, classes=EXPRESSIONS))
    assert fitting.config == given.work("expr").config
    assert (fitting.config.model.features, fitting.config.model.classes) == (FEATURES, EXPRESSIONS)


def test_post_processing_that_the_protocol_cannot_have_is_refused_before_training(given: Given) -> None:
    refused(given, "majority:5 votes on labels", "va", postprocessing=PostprocessingConfig(smoothing=("majority:5",)))


def test_classes_are_balanced_by_the_frames_that_are_learned_from(given: Given) -> None:
    work = given.work("au", evaluation="clean", class_weighting="balanced")
    learned = [video for video in ("v1", "v2_left", "v3") if video not in work.split.validation]
    frames = [units(frame) for video in learned for frame in range(FRAMES[video])]
    count_K = np.array([frame for frame in frames if -1 not in frame]).sum(0)
    np.testing.assert_allclose(work.config.model.class_weights, count_K.sum() / (12 * count_K), rtol=1e-6)
    assert len(set(count_K)) > 1 and len(learned) == 2
    refused(given, "there is none of Surprise; say --class-weighting none", class_weighting="balanced")


def test_the_stream_and_the_probe_are_of_the_videos_of_their_side(given: Given) -> None:
    work = given.work(evaluation="clean")
    stream = work.stream(actors=1).build()
    rows = window_rows(work.split.labels, work.split.learned, work.config.window)
    assert stream.samples_per_epoch == rows.num_rows and set(rows["video"].to_pylist()) == set(work.split.learned)
    ((prefix, probe),) = work.probes()
    assert prefix == "validation" and probe.config.videos == work.split.validation
    assert not set(work.split.validation) & set(work.split.learned)
    assert isinstance(work.task().build(), FeatureHead)
    assert work.cost() == {"parameters": sum(one.numel() for one in build(work.config.model).parameters())}


def test_a_checkpoint_says_what_its_head_was_trained_on(given: Given) -> None:
    data = given.work().data()
    assert json.loads(json.dumps(data)) == data
    assert (data["corpus"], data["protocol"], data["test_part"]) == ("aff_wild2", "all", "test")
    assert data["subjects"] == ["v1", "v2", "v3"] and data["started_from"] is None
    assert [each["name"] for each in data["features"]] == ["face", "voice"]


def test_whom_the_models_behind_the_features_have_seen_is_told_where_it_is_known(
    given: Given, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = {"corpus": "aff_wild2", "subjects": ["v4"]}
    write_run(tmp_path / "run", tiny_config(), data=seen)
    stores = [
        write_store(tmp_path / name, "vision", 2, {video: [0] for video in FRAMES}, checkpoint=str(tmp_path / name))
        for name in ("run", "gone")
    ]
    work = given.work(features=(*stores, given.stores[1]))
    data = work.data()
    assert [each["seen"] for each in data["features"]] == [seen, None, None]
    assert f"whom the model behind {stores[1]} has seen is not known" in caplog.text
    assert setting_of(data, ["v4"]) == "transductive" and setting_of(data, ["v5"]) == "inductive"
    assert [each.name for each in work.config.model.features] == ["vision", "vision-2", "voice"]


def test_videos_and_frames_are_counted_before_training(given: Given, tmp_path: Path) -> None:
    work = given.work(evaluation="clean")
    work.describe_data(Storage(tmp_path))
    counts = json.loads(Storage(tmp_path).read("labels.json"))
    assert counts["test"] == {"videos": 3, "frames": 25} == {"videos": 3, "frames": len(work.expected())}
    assert counts["train"]["videos"] + counts["validation"]["videos"] == len(LEARNED)
    assert work.unusable() == []


def test_other_features_and_other_labels_of_frames_without_an_image_are_other_data(
    given: Given, tmp_path: Path
) -> None:
    known = given.work("va").fingerprint
    copied = Given(*write_catalog(tmp_path), write_stores(tmp_path))
    assert copied.work("va").fingerprint == known, "wherever they lie"
    assert given.work("va", features=given.stores[:1]).fingerprint != known
    place = Storage(copied.catalog.root)
    file = next(item.name for item in place.list() if item.name.endswith("VA_Estimation_Challenge/Train_Set/v1.txt"))
    header, _, *rest = place.read(file).decode().splitlines()
    place.write(file, "\n".join([header, "0.5,0.5", *rest]).encode())
    assert not has_image(0) and copied.work("va").fingerprint != known


@pytest.fixture
def scoring(given: Given, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Scores videos in this process, with a head that was never trained; the videos that were, in their order."""
    scored: list[str] = []

    def score_here(config: HeadInferenceConfig, num_frames: Mapping[str, int], store: FeatureStore) -> None:
        torch.manual_seed(int(config.checkpoint))
        head = build(given.work().config.model).eval()
        features = FeatureSequences([FeatureStore.open(one) for one in config.stores], "nearest", cache_bytes=0)
        for video, frames in num_frames.items():
            if not store.has(video):
                score_NK = score_video(head, features, video, frames, config.window)
                store.write(video, np.arange(frames), np.arange(frames) / 25, score_NK)
                scored.append(video)

    monkeypatch.setattr("jobs.parts.head_training.score_videos", score_here)
    return scored


def told(table: pa.Table) -> list[tuple[str, str]]:
    """Every prediction; as text, in which what is unknown equals itself."""
    return [(row["uri"], repr((row["target"], row["score"], row["attributes"]))) for row in table.to_pylist()]


def test_all_videos_are_scored_once_and_every_labelled_frame_of_the_tested_is_predicted(
    given: Given, scoring: list[str], tmp_path: Path
) -> None:
    work, place = given.work(), Storage(tmp_path)
    table = work.predict(place, "1")
    assert sorted(scoring) == sorted(FRAMES) == sorted(FeatureStore.open(place.child("scores")).videos())
    assert table["uri"].to_pylist() == work.expected()
    shown = attribute_values(table["attributes"], SHOWN)
    frames = [int(uri[-9:-4]) - 1 for uri in table["uri"].to_pylist()]
    assert shown == ["there" if has_image(frame) else "missing" for frame in frames] and "missing" in shown
    assert told(work.predict(place, "1")) == told(table) and len(scoring) == len(FRAMES)


def test_scoring_goes_on_with_the_videos_that_are_left(given: Given, scoring: list[str], tmp_path: Path) -> None:
    work, place = given.work(), Storage(tmp_path)
    table = work.predict(place, "1")
    place.remove("predictions.parquet")
    place.remove("scores/videos/v5.parquet")
    scoring.clear()
    assert told(work.predict(place, "1")) == told(table) and scoring == ["v5"]


def test_another_checkpoint_and_other_post_processing_are_predicted_anew(
    given: Given, scoring: list[str], tmp_path: Path
) -> None:
    place = Storage(tmp_path)
    table = given.work().predict(place, "1")
    scoring.clear()
    smoothed = given.work(postprocessing=PostprocessingConfig(smoothing=("average:5",))).predict(place, "1")
    assert not scoring and told(smoothed) != told(table)
    other = given.work().predict(place, "2")
    assert len(scoring) == len(FRAMES) and told(other) != told(table)
    assert told(given.work().predict(place, "1")) == told(table)


def test_filters_and_thresholds_are_chosen_by_people_that_were_held_out(
    given: Given, scoring: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jobs.parts.head_training as module

    seen: list[Any] = []
    original = module.postprocess

    def watched(scores: Any, validation: Any, *rest: Any) -> Any:
        seen.append((set(scores), set(validation.scores), set(validation.targets)))
        return original(scores, validation, *rest)

    monkeypatch.setattr(module, "postprocess", watched)
    config = PostprocessingConfig(candidates=("none", "expr/median:3"), thresholds="validation")
    work = given.work(evaluation="clean", postprocessing=config)
    work.predict(Storage(tmp_path), "1")
    assert seen == [(set(TESTED), set(work.split.validation), set(work.split.validation))]
    assert not set(work.split.validation) & {*work.split.learned, *TESTED}


def test_the_report_has_tables_timelines_and_submissions_that_are_taken(
    given: Given, scoring: list[str], tmp_path: Path
) -> None:
    work = given.work(postprocessing=PostprocessingConfig(smoothing=("gaussian:1",)))
    run, place = Run("run", Storage(tmp_path / "run"), work), Storage(tmp_path / "result")
    report = work.describe_predictions(place, work.predict(run.directory, "1"), [run])
    assert json.loads(json.dumps(report)) == report
    smoothing = {"smoothing": ["gaussian:1"]}
    assert report["postprocessing"] == {
        "expr": smoothing,
        "au": smoothing | {"thresholds": dict.fromkeys(UNITS, 0.5)},
        "va": smoothing,
    }
    assert report["submissions"].keys() == SUBMITTED.keys()
    for task, videos in SUBMITTED.items():
        check_submission(task, place.read(f"submission/{task}.txt"), {video: FRAMES[video] for video in videos})
    assert 1 <= len(report["timelines"]) <= 3 and all(Path(address).exists() for address in report["timelines"])
    rows = list(csv.DictReader(io.StringIO(place.read("videos-expr.csv").decode())))
    assert {row["video"] for row in rows} == set(TESTED)


def test_the_folds_of_a_task_are_reported_together_and_their_submission_is_the_mean(
    given: Given, tmp_path: Path
) -> None:
    shares = {1: (0.1, 0.5, 0.0, 0.4), 2: (0.1, 0.0, 0.5, 0.4)}  # neither would say the last, their mean does
    runs, tables = [], []
    for fold, share in shares.items():
        work = given.of(given.config("expr_folds").single(fold=fold, seed=0))
        runs.append(Run(f"fold{fold}", Storage(tmp_path / f"fold{fold}"), work))
        place = runs[-1].directory.child("scores")
        store = FeatureStore.create(place, name="scores", kind="scores", width=8, made_with={"fold": fold})
        for video in ("v1", "v2_left", "v2_right", "v3", "v4", "v5", "t1"):
            number = np.arange(FRAMES[video])
            store.write(video, number, number / 25, np.tile((*share, 0, 0, 0, 0), (len(number), 1)))
        frames = {video: FRAMES[video] for video in work.split.tested}
        present = {video: np.ones(number, bool) for video, number in frames.items()}
        tables.append(frame_table(work.split, scores_of_videos(store, frames), present))
    place = Storage(tmp_path / "result")
    report = runs[0].work.describe_predictions(place, pa.concat_tables(tables), runs)
    rows = list(csv.DictReader(io.StringIO(place.read("videos-expr.csv").decode())))
    assert {row["video"] for row in rows} == {video for run in runs for video in run.work.split.tested}
    assert all(
        one.endswith(tuple(f"-{video}.png" for video in runs[0].work.split.tested)) for one in report["timelines"]
    )
    assert list(report["submissions"]) == ["expr"]
    data = place.read("submission/expr.txt")
    check_submission("expr", data, {"t1": FRAMES["t1"]})
    assert {line.split(",")[1] for line in data.decode().splitlines()[1:]} == {"3"}


def test_the_probe_scores_every_window_once_on_any_number_of_ranks(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = given.work(evaluation="clean", validation_windows=3)
    ((_, probe),) = work.probes()
    torch.manual_seed(0)
    head = build(work.config.model)

    def measured(ranks: int) -> dict[str, float]:
        gathered: list[Any] = []

        def gather(everywhere: list[Any], own: Any) -> None:
            gathered.append(own)
            everywhere[:] = [*gathered, *[own] * (ranks - len(gathered))]

        monkeypatch.setattr("torch.distributed.get_world_size", lambda: ranks)
        monkeypatch.setattr("torch.distributed.all_gather_object", gather)
        for rank in range(ranks):
            monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
            found = build_validation(probe.config)(head, step=0)
        assert len({len(own) for own in gathered}) == 1, "ranks that share parameters predict together"
        return found

    alone = measured(1)
    for ranks in (2, 5):
        assert measured(ranks) == pytest.approx(alone, abs=1e-9)
    labels = work.split.labels
    rows = window_rows(labels, work.split.validation, work.config.window).to_pylist()
    assert len(rows) == 3
    features = FeatureSequences(work.stores, "nearest", cache_bytes=0)
    said, true = [], []
    for row in rows:
        frames = features.read(row["video"], row["num_frames"])
        inside = slice(row["start"], row["start"] + row["length"])
        batch = {
            "feature_BTD": torch.from_numpy(frames.feature_ND[inside])[None],
            "present_BT": torch.from_numpy(frames.present_N[inside])[None],
            "valid_BT": torch.ones(1, row["length"], dtype=torch.bool),
        }
        said.append(head.eval().predict(batch)[0].numpy())
        true.append(labels.targets(row["video"])[inside])
    expected = all_metrics(work.protocol, np.concatenate(true), np.concatenate(said))
    assert alone == pytest.approx(expected, abs=1e-6)

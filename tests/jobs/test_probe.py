"""Probing, from a rendered corpus to files: everyone is scored by what was trained on others, and nothing twice."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cluster.runtime import ray_session
from jobs.parts import probe_features
from jobs.parts.annotation import annotate_catalog
from jobs.parts.catalog import find_or_build
from jobs.parts.export import export_trained
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.probe_arms import setting_of_probe
from jobs.parts.probe_config import ProbeJobConfig
from jobs.parts.probe_exam import Exam, make_exam
from jobs.parts.probe_features import FrozenEncoder, features_of, frozen_encoders, shown
from jobs.parts.probe_run import probe
from jobs.parts.unit_sequences import NUMBERS, STEPS, sequence_of
from models import au_sequence
from pipelines.alignment import AlignConfig
from pipelines.annotate_video import AnnotateConfig
from pipelines.face_parts import FacePartsConfig
from pipelines.storage import Storage
from pipelines.synthetic.clip_specs import ANNOTATIONS
from pipelines.synthetic.config import TwinConfig
from pipelines.synthetic.corpus import ensure_corpus
from pipelines.transforms import CropConfig
from tests.jobs.test_evaluate_units import still
from tests.jobs.tiny import RUN, STEP, tiny_config, tiny_faces, write_run
from tests.jobs.tiny_finetuning import image_config
from tests.pipelines.labelled_corpus import LABELLED_SAMPLE, PROTOCOL, write_labelled

CLASSES, FOLDS = 6, 5
ENCODER = f"{RUN}, step {STEP}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """A home, with Ray up."""
    with ray_session(num_cpus=2, object_store_bytes=200_000_000):
        yield Storage(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def corpus(place: Storage) -> LabelledCorpusConfig:
    """30 clips of five frames of eNTERFACE05's twin, with annotations."""
    name = "enterface05"
    root = ensure_corpus(place.child("corpora"), TwinConfig(corpus=name, clips_per_class=1, seconds=0.2, size=64))
    uri, _ = find_or_build(name, root.uri, place)
    found = annotate_catalog(uri, None, AnnotateConfig(openface=root.full(ANNOTATIONS)))
    return LabelledCorpusConfig(name=name, root=root.uri, annotations=found["annotations"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, tiny_config())
    return str(folder)


def probed(config: ProbeJobConfig, capsys: pytest.CaptureFixture) -> dict[str, Any]:
    probe(config)
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_encoders_units_and_chance_are_scored_on_everyone_and_features_are_computed_once(
    place: Storage,
    corpus: LabelledCorpusConfig,
    run: str,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(au_sequence, "_MOST_STEPS", 100)
    config = ProbeJobConfig(
        checkpoints=(run,),
        random=True,
        units=True,
        corpus=corpus,
        probes=("knn", "attentive"),
        home=place.uri,
    )
    result = probed(config, capsys)
    expected = {f"{model}, {kind}" for model in (ENCODER, "random") for kind in config.probes}
    assert set(result["headlines"]) == expected | {"au_sequence, transformer", "chance, mean target"}
    assert result["headlines"]["chance, mean target"] == pytest.approx(1 / CLASSES)
    assert result["headlines"]["au_sequence, transformer"] > 0.5
    assert (result["videos"], result["baseline"]) == (CLASSES * FOLDS, ENCODER)
    assert set(result["above_baseline"]["knn"]) == {"random", "au_sequence", "chance"}

    folder = Storage(result["directory"])
    table = pq.read_table(io.BytesIO(folder.read("tiny-step-12-attentive/predictions.parquet")))
    assert table.num_rows == len(set(table["uri"].to_pylist())) == CLASSES * FOLDS
    written = json.loads(folder.read("metrics.json"))
    assert [arm["headline"]["mean"] for arm in written["arms"]] == list(result["headlines"].values())
    assert written["encoders"]["random"]["untrained"] and written["encoders"][ENCODER]["parameters"] > 1e5
    for picture in result["pictures"]:
        pixels = np.asarray(Image.open(io.BytesIO(Path(picture).read_bytes())).convert("RGB"))
        assert min(pixels.shape[:2]) > 300 and pixels.std() > 5

    def refuse(*arguments: Any) -> None:
        raise AssertionError("features are computed a second time")

    monkeypatch.setattr(probe_features, "infer", refuse)
    asked = replace(config, probes=("linear", "knn"), units=False, corpus=replace(corpus, annotations=None))
    again = probed(asked, capsys)
    assert again["headlines"][f"{ENCODER}, knn"] == result["headlines"][f"{ENCODER}, knn"]
    assert again["directory"] != result["directory"]


def test_without_any_encoder_the_seeds_of_what_is_trained_stand_beside_each_other(
    place: Storage, corpus: LabelledCorpusConfig, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(au_sequence, "_MOST_STEPS", 6)
    config = ProbeJobConfig(units=True, corpus=corpus, seeds=2, home=place.uri, output=place.full("own"))
    result = probed(config, capsys)
    assert result["baseline"] == "au_sequence" and len(result["pictures"]) == 1
    units, _ = json.loads(place.read("own/metrics.json"))["arms"]
    seeds = [json.loads(place.read(f"own/au_sequence-transformer/seed{seed}/metrics.json")) for seed in range(2)]
    assert units["headline"]["values"] == [seed["headline"] for seed in seeds]


def test_annotations_that_nobody_reads_are_refused(place: Storage, corpus: LabelledCorpusConfig, run: str) -> None:
    with pytest.raises(ValueError, match=r"corpus\.annotations has no effect"):
        probe(ProbeJobConfig(checkpoints=(run,), corpus=corpus, home=place.uri))


@pytest.fixture
def exam(tmp_path: Path) -> Exam:
    return make_exam(write_labelled(tmp_path, {i: {"subject": f"s{i % 9}"} for i in range(10)}), PROTOCOL)


def test_every_part_is_scored_by_what_was_fitted_to_the_others(exam: Exam) -> None:
    part_N = exam.column("part")

    def fit(known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        assert set(part_N[known]) == set(part_N) - set(part_N[unknown])
        return np.stack([unknown, np.full(len(unknown), int(part_N[unknown][0]))], axis=1)

    score_NK = exam.scores(fit)
    assert np.array_equal(score_NK, np.stack([np.arange(len(part_N)), part_N.astype(int)], axis=1))
    table = exam.predictions(score_NK, np.arange(1, len(part_N) + 1))
    found = {row["uri"]: (row["score"], row["clips"]) for row in table.to_pylist()}
    for row, uri in enumerate(exam.column("uri")):
        assert found[uri] == ([row, int(part_N[row])], row + 1)


def test_of_fixed_parts_the_test_part_alone_is_scored(exam: Exam) -> None:
    part_N = np.where(np.arange(len(exam.videos)) % 3 == 0, "test", "train")
    videos = exam.videos.set_column(exam.videos.schema.get_field_index("part"), "part", pa.array(part_N.tolist()))
    fixed = Exam(replace(PROTOCOL, folds=0), exam.catalog, videos)
    assert np.array_equal(fixed.tested_N, part_N == "test")
    fitted = []
    score_MK = fixed.scores(lambda known, unknown: fitted.append(known) or np.tile(unknown[:, None], 2))
    assert np.array_equal(score_MK[:, 0], np.flatnonzero(part_N == "test"))
    assert np.array_equal(fitted[0], np.flatnonzero(part_N == "train"))
    table = fixed.predictions(score_MK, np.arange(len(part_N)))
    assert sorted(table["clips"].to_pylist()) == np.flatnonzero(part_N == "test").tolist()


def test_people_in_several_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are in several folds"):
        make_exam(write_labelled(tmp_path), PROTOCOL)


def encoder(**changes: Any) -> FrozenEncoder:
    values = {"name": "e", "checkpoint": "c", "origin": "o", "untrained": None, "data": None, "cost": {}}
    return FrozenEncoder(**(values | {"sample": LABELLED_SAMPLE} | changes))


def test_features_are_means_over_clips_kept_for_the_same_question_alone(
    exam: Exam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def infer(config: Any, videos: Any, *rest: Any) -> dict[int, np.ndarray]:
        calls.append(config.output)
        axes = (5, 3) if config.output == "tokens" else (3,)
        return {i: np.stack([np.full(axes, i + v) for v in range(1 + i % 2)]) for i in videos["sample_id"].to_pylist()}

    monkeypatch.setattr(probe_features, "infer", infer)
    other = {"fingerprint": "f", "clips": 2, "with_tokens": False, "place": Storage(tmp_path / "features")}

    def ask(one: FrozenEncoder = encoder(), **changes: Any) -> probe_features.Features:  # noqa: B008
        return features_of(one, exam.videos, Storage(tmp_path), None, **(other | changes))

    first, sample_N = ask(), np.array(exam.videos["sample_id"])
    assert np.array_equal(first.pooled_ND[:, 0], np.where(sample_N % 2, sample_N + 0.5, sample_N))
    assert np.array_equal(first.clips_N, 1 + sample_N % 2) and first.tokens_NVD is None
    assert np.array_equal(ask().pooled_ND, first.pooled_ND) and calls == ["features"]
    tokens = ask(with_tokens=True)
    assert tokens.tokens_NVD.shape == (len(sample_N), 4, 3) and np.array_equal(tokens.pooled_ND, first.pooled_ND)
    assert ask(with_tokens=True).tokens_NVD.dtype == np.float16 and calls == ["features", "tokens"]
    sample = replace(LABELLED_SAMPLE, clip=replace(LABELLED_SAMPLE.clip, stride=1))
    for changed in (encoder(origin="p"), encoder(untrained=0), encoder(sample=sample)):
        ask(changed)
    ask(clips=3)
    ask(fingerprint="g")
    assert len(calls) == 7


def test_an_encoder_is_shown_what_it_was_trained_on() -> None:
    windowed, stride = shown(tiny_config(), None), shown(tiny_config(), 3)
    assert windowed.crop == CropConfig(window=None, size=64)
    assert (windowed.clip.stride, stride.clip.stride) == (2, 3)
    views = MeadPretrainConfig(recipe="")
    assert shown(views, None).crop == replace(views.align, flip=False)
    aligned = FinetuneConfig(recipe="", crop=AlignConfig(flip=False))
    assert shown(aligned, None).follows_face and not windowed.follows_face
    images = shown(tiny_faces(), None)
    assert (images.clip.frames, images.crop) == (1, CropConfig(window=None, size=64))
    parts = replace(image_config(LabelledCorpusConfig(name="aff_wild2")), parts=FacePartsConfig())
    assert (shown(parts, None).parts, images.parts) == (FacePartsConfig(), None)


def test_a_stride_is_refused_where_all_encoders_read_single_images(tmp_path: Path) -> None:
    write_run(tmp_path / "images", tiny_faces())
    write_run(tmp_path / "videos", tiny_config())
    images, videos = str(tmp_path / "images"), str(tmp_path / "videos")
    with pytest.raises(ValueError, match="stride=2 has no effect on encoders of single images"):
        frozen_encoders((images,), stride=2, random=True)
    assert len(frozen_encoders((images, videos), stride=2, random=False)) == 2


def test_a_run_and_what_was_exported_of_it_are_two_encoders_and_a_random_one_is_like_the_first(
    run: str, tmp_path: Path
) -> None:
    file = export_trained(run, part="all", output=tmp_path / "exported")["weights"]
    trained, exported, random = frozen_encoders((run, file), stride=None, random=True)
    assert [one.name for one in (trained, exported, random)] == [ENCODER, f"{ENCODER} (2)", "random"]
    assert (trained.checkpoint, exported.checkpoint) == (trained.origin, file) and exported.origin == trained.origin
    assert random == replace(trained, name="random", untrained=0, data=None)
    assert trained.cost["parameters"] > 1e5 and trained.cost["gflops"] > 0


def test_who_was_seen_before_decides_on_the_setting_and_seen_labels_are_told(caplog: pytest.LogCaptureFixture) -> None:
    tested, before = {"ann", "bob"}, {"corpus": "dfew", "subjects": ["bob", "cy"]}
    assert setting_of_probe(encoder(), "dfew", tested) is None
    assert setting_of_probe(encoder(data=before), "dfew", tested) == "transductive"
    assert setting_of_probe(encoder(data=before), "mafw", tested) == "inductive"
    assert setting_of_probe(encoder(data=before), "dfew", {"ann"}) == "inductive"
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        setting_of_probe(encoder(data=before | {"protocol": "single"}), "dfew", tested)
    assert "labels of 1 of the 2 people" in caplog.text


def test_a_sequence_is_the_face_at_even_steps_and_hides_frames_without_one() -> None:
    face = still(units=(12,))
    x_SF, valid_S = sequence_of(face)
    assert x_SF.shape == (STEPS, NUMBERS) and valid_S.all()
    face.valid_T[0] = False
    face.landmarks_T682[0] = np.nan
    hidden_SF, shown_S = sequence_of(face)
    assert not shown_S[0] and shown_S[-1] and np.array_equal(hidden_SF[~shown_S], np.zeros(((~shown_S).sum(), NUMBERS)))
    moved = replace(face, landmarks_T682=3 * face.landmarks_T682 + 50)
    assert sequence_of(moved)[0] == pytest.approx(hidden_SF, abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, "nothing to probe"),
        ({"units": True, "random": True}, "random and stride have no effect"),
        ({"checkpoints": ("a", "a")}, "must be different"),
        ({"checkpoints": ("a",), "probes": ()}, "reads nothing"),
        ({"checkpoints": ("a",), "clips": 0}, "clips=0"),
    ],
)
def test_options_that_are_wrong_or_without_effect_are_refused(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ProbeJobConfig(**changed)

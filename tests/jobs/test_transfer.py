"""Transfer during pre-training: which videos and folds, what the probe reports, and that training does not notice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist

from cluster.config import EngineConfig, WorkersConfig
from cluster.runtime import ray_session
from cluster.sinks import read_rows
from jobs.parts import transfer
from jobs.parts.command_line import Command
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.parts.pretraining import pretrain
from jobs.parts.transfer import (
    Transfer,
    build_transfer,
    fitting_clip,
    prepare_transfer,
    spread_evenly,
    subject_folds,
    transfer_probes,
)
from jobs.parts.transfer_config import TransferConfig
from jobs.parts.video_pretraining import prepare
from pipelines.catalog import Catalog, save
from pipelines.clips import ClipConfig
from pipelines.storage import Storage
from tests.jobs.tiny import tiny_config, tiny_model
from tests.jobs.tiny_finetuning import TWIN, write_twin
from tests.pipelines.labelled_corpus import PROTOCOL, UNLABELLED, write_labelled
from tests.pipelines.media import video

STEPS = 6


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of this process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def striped_clips(class_N: np.ndarray, seed: int = 0) -> np.ndarray:
    """Noise under stripes whose width tells the class, uint8 [N, 4, 64, 64, 3]."""
    noise = np.random.default_rng(seed).integers(0, 100, (len(class_N), 4, 64, 64, 3))
    stripes_NW = np.arange(64) // (2 + 3 * class_N[:, None]) % 2
    return (noise + 150 * stripes_NW[:, None, None, :, None]).astype(np.uint8)


def test_videos_are_spread_over_classes_and_then_over_people() -> None:
    class_N = np.repeat([0, 1, 2], [300, 60, 4])
    subject_N = np.char.add("s", (np.arange(364) % 20).astype(str))
    chosen = spread_evenly(class_N, subject_N, 60)
    assert np.array_equal(chosen, np.unique(chosen)) and len(chosen) == 60
    assert Counter(class_N[chosen]) == {0: 28, 1: 28, 2: 4}
    assert set(Counter(subject_N[chosen]).values()) == {3}
    assert np.array_equal(chosen, spread_evenly(class_N, subject_N, 60))


def test_of_fewer_videos_all_are_taken() -> None:
    assert spread_evenly(np.array([0, 1, 1]), np.array(["a", "a", "b"]), 9).tolist() == [0, 1, 2]


def test_nobody_is_in_two_folds_and_every_fold_has_every_class() -> None:
    subject_N, class_N = np.repeat(np.arange(15), 6), np.tile(np.arange(6), 15)
    fold_N = subject_folds(class_N, subject_N)
    assert all(len(set(fold_N[subject_N == subject])) == 1 for subject in range(15))
    assert all(set(class_N[fold_N == fold]) == set(range(6)) for fold in range(transfer.FOLDS))


@pytest.mark.parametrize(
    ("frames", "clip", "stride"),
    [
        ([16, 16, 300], ClipConfig(16, 4), 1),
        ([31, 31, 8], ClipConfig(16, 4), 2),
        ([300, 300, 8], ClipConfig(16, 4, short="drop"), 4),
        ([5, 5, 5], ClipConfig(16, 4), 1),
        ([62, 62, 62], ClipConfig(16, 4, sampling="seconds"), 2),
    ],
)
def test_frames_are_as_far_apart_as_in_training_or_as_half_of_the_videos_allow(
    frames: list[int], clip: ClipConfig, stride: int
) -> None:
    videos = pa.table({"frames": frames, "fps": [50.0] * len(frames)})
    assert fitting_clip(clip, videos) == replace(clip, stride=stride, short="pad_last")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clips": 0}, "transfer.clips=0"),
        ({"root": "videos"}, "transfer.root has no effect without a corpus"),
        ({"clips": 9}, "transfer.clips has no effect without a corpus"),
        ({"corpus": "dfew", "exclude": "gone.txt"}, "transfer.exclude has no effect on a synthetic twin"),
    ],
)
def test_an_option_without_effect_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransferConfig(**values)


def test_the_probe_finds_what_features_tell_and_leaves_weights_and_random_numbers_alone(alone: None) -> None:
    class_N, subject_N = np.tile(np.arange(3), 20), np.repeat(np.arange(10), 6)
    model = tiny_model(tiny_config())
    weights, state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    probe = Transfer(striped_clips(class_N), np.eye(3)[class_N], subject_N)
    found = probe(model, 0)
    assert found == probe(model, 60), "the same videos and folds at every step"
    assert found["uar"] > 0.9 and found["f1_macro"] > 0.9 and found["knn_uar"] > 0.9
    assert found["chance"] == pytest.approx(1 / 3)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(old, new) for old, new in zip(weights, model.parameters(), strict=True))

    rng = np.random.default_rng(1)
    guessed = Transfer(striped_clips(rng.integers(0, 3, 60)), np.eye(3)[class_N], subject_N)(model, 0)
    assert guessed["uar"] < 0.6, "nothing tells these classes"


def test_too_few_people_are_told_before_training() -> None:
    class_N, subject_N = np.tile(np.arange(2), 6), np.repeat(np.arange(3), 4)
    with pytest.raises(ValueError, match="leaves 2 subjects to train on"):
        Transfer(striped_clips(class_N), np.eye(2)[class_N], subject_N)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """9 labelled videos, one of which cannot be used."""
    return write_labelled(tmp_path, {3: {"status": "container"}})


def prepared(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, place: Path, **asked: object
) -> transfer.ValidationConfig:
    uri = str(place / "catalog.parquet")
    save(catalog, uri)
    monkeypatch.setattr(transfer, "prepare_labelled", lambda corpus, home: (uri, catalog))
    tiny = tiny_config()
    config = replace(tiny, transfer=TransferConfig("table", root="videos", **asked), clip=replace(tiny.clip, stride=4))
    return prepare_transfer(config, Storage(place))


def test_a_probe_is_built_of_usable_videos_in_the_geometry_of_the_model(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alone: None
) -> None:
    config = prepared(catalog, monkeypatch, tmp_path)
    assert set(config.sample_ids) == set(range(10)) - {3, UNLABELLED}
    assert config.sample.geometry == tiny_config().model.geometry and config.sample.crop.window is None
    ((prefix, reference),) = transfer_probes(config)
    assert prefix == "transfer" and reference.build()(tiny_model(tiny_config()), 0)["chance"] == 0.5
    assert build_transfer(config)(tiny_model(tiny_config()), 0)["uar"] <= 1
    monkeypatch.setattr(transfer, "FOLDS", 2)
    assert len(prepared(catalog, monkeypatch, tmp_path, clips=4).sample_ids) == 4


def test_too_few_videos_for_folds_are_told_of_before_anything_is_trained(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"transfer\.clips=4 of table are too few for folds"):
        prepared(catalog, monkeypatch, tmp_path, clips=4)


def test_a_protocol_without_classes_is_refused_with_those_that_have_them(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    several = replace(PROTOCOL, task="multi_label")
    with pytest.raises(ValueError, match=r"protocol=toy has no classes; table has with them: \[\]"):
        prepared(replace(catalog, protocols=(several,)), monkeypatch, tmp_path, protocol="toy")


def test_without_a_corpus_nothing_is_measured(tmp_path: Path) -> None:
    assert prepare_transfer(tiny_config(), Storage(tmp_path)) is None and transfer_probes(None) == ()


@pytest.fixture(scope="module")
def ray_is_up() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=300_000_000):
            yield


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    """12 videos in batches of 2; probes at steps 0, 3 and 6."""
    corpus = Storage(str(tmp_path / "corpus"))
    for index in range(12):
        corpus.write(f"dev/mp4/id{index:05d}/video000000/00001.mp4", video(12, height=224, width=224, seed=index))
    corpus.write("test/mp4/id90000/video000000/00001.mp4", video(12, height=224, width=224))
    tiny = tiny_config()
    return replace(
        tiny,
        corpus=CorpusConfig(name="voxceleb2", root=corpus.uri),
        optimizer=replace(tiny.optimizer, base_lr=0.05, global_batch=2, epochs=1, warmup_epochs=0.5, stop_epoch=None),
        telemetry=replace(tiny.telemetry, log_every_steps=1, probe_every_steps=3, tensorboard=False),
        held_out_clips=1,
    )


def rows_of(config: PretrainConfig, home: Path, *, workers: int, stage: int, name: str) -> list[dict]:
    engine = EngineConfig(zero_stage=stage, precision="fp32")
    placed = WorkersConfig(num_workers=workers, cpus_per_worker=0.5, deterministic=True)
    pretrain(Command(replace(config, engine=engine, workers=placed), name=name, home=str(home)), prepare)
    return read_rows(Storage(str(home / "runs" / name)), "metrics.jsonl", STEPS)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_training_does_not_notice_and_the_score_is_the_same_of_sharded_workers(
    ray_is_up: None, config: PretrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    corpus = write_twin(Storage(str(tmp_path / "twin")))
    asked = TransferConfig(corpus.name, root=corpus.root, clips=29)
    assert corpus.name == TWIN.corpus
    plain = rows_of(config, tmp_path, workers=1, stage=0, name="plain")
    probed = rows_of(replace(config, transfer=asked), tmp_path, workers=1, stage=0, name="probed")
    assert '"transfer_uar"' in capsys.readouterr().out.splitlines()[-1]
    learned = ("loss/total", "gradient_norm", "held_out/loss")
    for name in learned:
        assert [row[name] for row in plain if name in row] == [row[name] for row in probed if name in row]

    scores = [(row["step"], row["transfer/uar"]) for row in probed if "transfer/uar" in row]
    assert [step for step, _ in scores] == [0, 3, 6]
    assert not any(name.startswith("transfer/") for row in plain for name in row)
    sharded = rows_of(replace(config, transfer=asked), tmp_path, workers=2, stage=3, name="sharded")
    difference = abs(sharded[0]["transfer/uar"] - scores[0][1])
    assert difference < 2 / 29, "29 videos on two workers, with the same first weights but for rounding"

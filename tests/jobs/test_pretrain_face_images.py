"""The job on face images, from a folder and a tar archive to pictures: weights, a stop within an epoch, and what is
damaged or there twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.config import EngineConfig, WorkersConfig
from cluster.ledger import read_epoch
from cluster.runtime import ray_session
from jobs.parts.command_line import Command
from jobs.parts.face_config import FacePretrainConfig
from jobs.parts.face_pretraining import known_union, prepare
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.pretraining import pretrain
from jobs.parts.trained import load_trained
from models import fine_tuning
from models.face_vit import FaceViT
from pipelines.storage import Storage
from tests.jobs.face_corpora import DAMAGED, DUPLICATE, LEARNED, write_faces
from tests.jobs.tiny import tiny_faces
from tests.jobs.tiny_finetuning import image_config

EPOCHS = 2
WEIGHTS = {"raf_db": 0.5, "celeba": 2.0}
VISITS = sum(round(WEIGHTS[name] * len(uris)) for name, uris in LEARNED.items())
"""Of an epoch."""


@pytest.fixture(scope="module")
def ray_is_up() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=300_000_000):
            yield


def config_for(folder: Path) -> FacePretrainConfig:
    tiny = tiny_faces(corpus=write_faces(folder, weights=WEIGHTS))
    return replace(
        tiny,
        optimizer=replace(tiny.optimizer, global_batch=4, epochs=EPOCHS, warmup_epochs=0, stop_epoch=None),
        engine=EngineConfig(zero_stage=0),
        workers=WorkersConfig(num_workers=1, cpus_per_worker=0.5),
        held_out_clips=2,
    )


def run_job(config: FacePretrainConfig, capsys: pytest.CaptureFixture, home: Storage) -> dict:
    pretrain(Command(config, name="faces", home=home.uri), prepare)
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_visits_every_image_as_often_as_its_weight_says_each_visit_once_also_when_stopped(
    ray_is_up: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    home, config = Storage(tmp_path / "home"), config_for(tmp_path)
    partial = run_job(replace(config, stop_at_step=2), capsys, home)
    assert (partial["steps"], partial["is_finished"]) == (2, False)
    result = run_job(config, capsys, home)

    steps = -(-VISITS // 4)
    assert (result["steps"], result["epochs"], result["is_finished"]) == (steps * EPOCHS, EPOCHS, True)
    assert (result["samples"], result["quarantined"], result["unusable"]) == (VISITS * EPOCHS, 0, 2)
    known = known_union(config.corpus, home)
    assert known is not None
    union, run = known[1], home.child("runs", "faces")
    consumed_EN = np.stack([read_epoch(run, epoch)[0] for epoch in range(EPOCHS)])
    visits_EN = consumed_EN.reshape(EPOCHS, -1, union.table.num_rows).sum(1)  # a sample id for each visit of an epoch
    visits = dict(zip(union.table["uri"].to_pylist(), visits_EN.T.tolist(), strict=True))
    assert all(visits[uri] == [2, 2] for uri in LEARNED["celeba"])
    assert all(sorted(visits[uri]) == [0, 1] for uri in LEARNED["raf_db"]), "at a half two epochs see each once"
    assert visits_EN.sum(1).tolist() == [VISITS, VISITS], "and nothing else"

    rows = [json.loads(line) for line in run.read("quarantine.jsonl").decode().splitlines()]
    named = {row["uri"]: (row["epoch"], row["reason"], row["detail"]) for row in rows}
    assert set(named) == {DAMAGED, DUPLICATE} and named[DAMAGED][:2] == (-1, "decode")
    assert named[DUPLICATE] == (-1, "duplicate", LEARNED["raf_db"][0])

    pictures = [name.removeprefix(run.uri + "/") for name in result["pictures"]]
    assert {"pictures/images-00.png", "pictures/curves.png"} <= set(pictures)
    assert all(run.size(name) > 1000 for name in pictures)
    assert {"psnr_model", "held_out_loss", "held_out_zero_loss"} <= set(result)
    assert run_job(config, capsys, home) == result, "a finished run is found again"

    trained = load_trained(run.uri)
    assert trained.config == config
    task = fine_tuning.build(replace(image_config(LabelledCorpusConfig()).model, classes=("calm", "glad")))
    task.start_from(trained.weights, trained.provenance["metadata"]["config"])
    assert isinstance(task.encoder, FaceViT)
    own, new = task.encoder.state_dict(), {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    assert all(torch.equal(own[name], trained.weights[f"encoder.{name}"]) for name in own.keys() - new)

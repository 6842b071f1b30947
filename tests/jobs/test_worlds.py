"""The same losses from any number of workers and any ZeRO stage, fed by the same ordered stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.config import EngineConfig, WorkersConfig
from cluster.runtime import ray_session
from cluster.sinks import read_rows
from jobs.parts.command_line import Command
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.parts.pretraining import pretrain
from jobs.parts.video_pretraining import prepare
from pipelines.storage import Storage
from tests.jobs.tiny import tiny_config
from tests.pipelines.media import video

STEPS = 20


@pytest.fixture(scope="module")
def ray_is_up() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=300_000_000):
            yield


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    """40 videos in batches of 4: 20 steps are two epochs."""
    corpus = Storage(str(tmp_path / "corpus"))
    for index in range(40):
        corpus.write(f"dev/mp4/id{index:05d}/video000000/00001.mp4", video(12, height=224, width=224, seed=index))
    corpus.write("test/mp4/id90000/video000000/00001.mp4", video(12, height=224, width=224))
    tiny = tiny_config()
    return replace(
        tiny,
        corpus=CorpusConfig(name="voxceleb2", root=corpus.uri),
        optimizer=replace(tiny.optimizer, base_lr=0.05, global_batch=4, epochs=2, warmup_epochs=0.5, stop_epoch=None),
        telemetry=replace(tiny.telemetry, log_every_steps=1, tensorboard=False),
        held_out_clips=1,
    )


def losses(config: PretrainConfig, home: Path, *, workers: int, stage: int, micro_batch: int) -> np.ndarray:
    engine = EngineConfig(zero_stage=stage, precision="fp32", micro_batch=micro_batch)
    placed = WorkersConfig(num_workers=workers, cpus_per_worker=0.5, deterministic=True)
    name = f"{workers}-{stage}"
    pretrain(Command(replace(config, engine=engine, workers=placed), name=name, home=str(home)), prepare)
    rows = read_rows(Storage(str(home / "runs" / name)), "metrics.jsonl", STEPS)
    return np.array([row["loss/total"] for row in rows if "loss/total" in row])


@pytest.mark.soak
def test_two_sharded_workers_lose_what_one_worker_loses(
    ray_is_up: None, config: PretrainConfig, tmp_path: Path
) -> None:
    one = losses(config, tmp_path, workers=1, stage=0, micro_batch=4)
    assert one.size == STEPS and one[-1] < one[0] - 0.05, "it trains, or parity would say nothing"
    for stage in (0, 1, 2, 3):
        two = losses(config, tmp_path, workers=2, stage=stage, micro_batch=1)
        assert np.abs(two - one).max() < 1e-5, f"stage {stage}: {two - one}"

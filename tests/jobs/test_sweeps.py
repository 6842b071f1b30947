"""Sweeps from the command to files: trials that are training runs, the best as a command, and going on again.

Starting workers is what takes time, so that the tests share what was searched.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.config import WorkersConfig
from cluster.runtime import ray_session
from cluster.sweep_config import EarlyStopping
from cluster.trials import read_trials, write_trials
from jobs.parts.command_line import Command, read_options
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.parts.pretraining import pretrain
from jobs.parts.sweep_config import FinetuneSweepConfig, PretrainingSweepConfig
from jobs.parts.sweep_run import sweep
from jobs.parts.transfer_config import TransferConfig
from jobs.parts.video_pretraining import prepare
from jobs.recipes import voxceleb
from pipelines.storage import Storage
from tests.jobs.tiny import tiny_config
from tests.jobs.tiny_finetuning import checkpoints, finetune_config, last_line, write_twin
from tests.pipelines.media import video

pytestmark = pytest.mark.timeout(900)  # of starting workers beside other tests


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """One private cluster, and where everything is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=300_000_000, dashboard=True):
            home = Storage(tmp_path_factory.mktemp("home"))
            write_twin(home.child("twin"))
            for index in range(6):
                home.write(f"videos/person{index}/1.mp4", video(12, height=224, width=224, seed=index))
            yield home


def pretraining(home: Storage) -> PretrainingSweepConfig:
    """The laptop's recipe made tiny, six steps of it."""
    tiny, base = tiny_config(), voxceleb.nano()
    config: PretrainConfig = replace(
        base,
        corpus=CorpusConfig(name="folder", root=home.full("videos")),
        clip=tiny.clip,
        crop=tiny.crop,
        mask=tiny.mask,
        model=tiny.model,
        passes_per_epoch=2,
        optimizer=replace(base.optimizer, global_batch=2, warmup_epochs=0),
        workers=WorkersConfig(cpus_per_worker=0.25),
        held_out_clips=1,
        telemetry=replace(base.telemetry, probe_every_steps=2, log_every_steps=1, tensorboard=False),
        transfer=TransferConfig(corpus="enterface05", root=home.full("twin")),
    )
    stopping = EarlyStopping(enabled=False)
    return PretrainingSweepConfig(recipe="nano", space=("mask.ratio=0.5,0.75",), stopping=stopping, pretrain=config)


@pytest.fixture(scope="module")
def searched(home: Storage) -> dict[str, Any]:
    return last_line(lambda: sweep(Command(pretraining(home), name="ratios", home=home.uri)))


def test_every_trial_is_a_training_run_that_is_probed_on_the_way(home: Storage, searched: dict[str, Any]) -> None:
    assert (searched["trials"], searched["finished"], searched["is_finished"]) == (2, 2, True)
    trials = read_trials(home.child("sweeps", "ratios"))
    assert [trial.values for trial in trials] == [{"mask.ratio": 0.5}, {"mask.ratio": 0.75}]
    for trial in trials:
        total = trials[0].samples
        assert trial.samples == total > 0
        assert len(trial.rows) >= 3
        run = json.loads(Storage(trial.outcome["run_directory"]).read("run.json"))
        assert run["config"]["mask"]["ratio"] == trial.values["mask.ratio"]
    best = max(trials, key=lambda trial: (trial.score, -trial.number))
    assert searched["best"]["values"] == best.values
    assert b"<svg" in home.read("sweeps/ratios/sweep.html") or b"data:image" in home.read("sweeps/ratios/sweep.html")


def test_the_command_that_is_printed_runs_as_it_is_printed(home: Storage, searched: dict[str, Any]) -> None:
    words = shlex.split(searched["best"]["command"])
    assert words[:3] == ["python", "jobs/pretrain_voxceleb.py", "nano"]
    command = read_options(voxceleb.nano(), words[3:])
    before = checkpoints(Storage(searched["best"]["run_directory"]))
    result = last_line(lambda: pretrain(command, prepare))
    assert result["run_directory"] == searched["best"]["run_directory"]
    assert checkpoints(Storage(result["run_directory"])) == before
    assert "psnr_model" in result


def test_a_sweep_that_is_finished_is_found_and_one_that_is_not_goes_on_without_training_again(
    home: Storage, searched: dict[str, Any]
) -> None:
    place, command = home.child("sweeps", "ratios"), Command(pretraining(home), name="ratios", home=home.uri)
    assert last_line(lambda: sweep(command)) == searched
    trials = read_trials(place)
    runs = {trial.number: checkpoints(Storage(trial.outcome["run_directory"])) for trial in trials}
    Path(place.full("result.json")).unlink()
    write_trials(place, [trials[0], replace(trials[1], state="running", rows=trials[1].rows[:1], outcome={})])
    again = last_line(lambda: sweep(command))
    assert again["best"] == searched["best"]
    for trial in read_trials(place):
        assert checkpoints(Storage(trial.outcome["run_directory"])) == runs[trial.number]
        assert trial.rows[-1].samples == trials[0].samples


def test_another_sweep_under_the_same_name_is_refused(home: Storage, searched: dict[str, Any]) -> None:
    other = replace(pretraining(home), space=("mask.ratio=0.5,0.6",))
    with pytest.raises(ValueError, match="with other space"):
        sweep(Command(other, name="ratios", home=home.uri))


def test_only_the_finetuning_that_did_best_on_validation_videos_meets_the_test_videos(home: Storage) -> None:
    corpus = write_twin(home.child("twin"))
    base = replace(finetune_config(corpus, evaluation="clean", folds=(1,), validation_share=0.3), recipe="nano")
    config = FinetuneSweepConfig(
        recipe="nano", space=("optimizer.base_lr=0.001,0.03",), stopping=EarlyStopping(enabled=False), finetune=base
    )
    found = last_line(lambda: sweep(Command(config, name="rates", home=home.uri)))
    trials = read_trials(home.child("sweeps", "rates"))
    assert found["best"]["uar"] == max(trial.score for trial in trials)
    assert (found["test"]["trials_tested"], found["test"]["chosen_by"]) == (1, "uar on validation videos")
    scored = [Storage(trial.outcome["runs"][0]).exists("predictions.parquet") for trial in trials]
    assert scored == [trial.number == found["best"]["number"] for trial in trials]
    metrics = json.loads(home.read("sweeps/rates/test/metrics.json"))
    assert metrics["metrics"] == found["test"]["metrics"]

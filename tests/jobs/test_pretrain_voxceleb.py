"""The main job, from a corpus on S3 to pictures: unusable files, a stop within an epoch, the same command again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.config import EngineConfig, WorkersConfig
from cluster.ledger import read_epoch
from cluster.runtime import ray_session
from jobs.parts.annotation import find_annotations
from jobs.parts.command_line import Command
from jobs.parts.model_card import model_card
from jobs.parts.pretrain_config import CorpusConfig, PretrainConfig
from jobs.parts.pretraining import pretrain
from jobs.parts.reconstruction_run import reconstruct_clips
from jobs.parts.trained import load_trained
from jobs.parts.video_pretraining import prepare
from pipelines.alignment import AlignConfig
from pipelines.au_masks import AUMaskConfig
from pipelines.storage import Storage
from tests.jobs.tiny import tiny_config, write_corpus
from tests.pipelines.media import ERROR_PAGE, sound_only, video

EPOCHS = 3
UNUSABLE = {
    "dev/mp4/id00001/bad00000000/00001.mp4": (b"", "empty"),
    "dev/mp4/id00001/bad00000000/00002.mp4": (ERROR_PAGE, "not_media"),
    "dev/mp4/id00001/bad00000000/00003.mp4": (sound_only(), "no_video"),
    "dev/mp4/id00001/bad00000000/00004.mp4": (video(40, height=224, width=224)[:-3000], "container"),
}
GONE = "dev/mp4/id00002/gone0000000/00001.mp4"
SHORT = "dev/mp4/id00002/short000000/00001.mp4"


@pytest.fixture(scope="module")
def ray_is_up(s3_variables: dict[str, str]) -> Iterator[None]:
    """One private cluster, whose processes reach the S3 server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_variables.items():
            patch.setenv(name, value)
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=300_000_000):
            yield


@pytest.fixture
def corpus(s3_bucket: str) -> Storage:
    """9 good videos for training, 2 held out, 4 unusable files, one too short for a clip, one to be removed."""
    storage = Storage(s3_bucket).child("voxceleb2")
    for index in range(9):
        name = f"dev/mp4/id{index % 3:05d}/good{index:07d}/00001.mp4"
        storage.write(name, video(70, height=224, width=224, seed=index))
    for index in range(2):
        storage.write(f"test/mp4/id{90 + index:05d}/held0000000/00001.mp4", video(70, height=224, width=224, seed=50))
    for name, (data, _) in UNUSABLE.items():
        storage.write(name, data)
    storage.write(SHORT, video(5, height=224, width=224))
    storage.write(GONE, video(70, height=224, width=224, seed=99))
    return storage


def config_for(corpus: Storage) -> PretrainConfig:
    tiny = tiny_config()
    return replace(
        tiny,
        corpus=CorpusConfig(name="voxceleb2", root=corpus.uri),
        clip=replace(tiny.clip, short="drop"),
        optimizer=replace(tiny.optimizer, global_batch=4, epochs=EPOCHS, warmup_epochs=1, stop_epoch=None),
        engine=EngineConfig(zero_stage=2),
        workers=WorkersConfig(num_workers=2, cpus_per_worker=0.5),
        held_out_clips=2,
    )


def run_job(config: PretrainConfig, capsys: pytest.CaptureFixture, *, name: str, home: Storage) -> dict:
    pretrain(Command(config, name=name, home=home.uri), prepare)
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_on_s3_uses_every_good_video_once_an_epoch_and_names_every_bad_one_also_when_stopped(
    ray_is_up: None, corpus: Storage, s3_bucket: str, capsys: pytest.CaptureFixture
) -> None:
    home, config = Storage(s3_bucket).child("home"), config_for(corpus)
    partial = run_job(replace(config, stop_at_step=2), capsys, name="stopped", home=home)
    assert (partial["steps"], partial["is_finished"]) == (2, False)
    corpus.remove(GONE)
    result = run_job(config, capsys, name="stopped", home=home)

    run = home.child("runs", "stopped")
    rows = [json.loads(line) for line in run.read("quarantine.jsonl").decode().splitlines()]
    unusable = {row["uri"]: row["reason"] for row in rows if row["epoch"] == -1}
    assert unusable == {SHORT: "too_short"} | {name: reason for name, (_, reason) in UNUSABLE.items()}
    assert {(row["uri"], row["reason"]) for row in rows if row["epoch"] >= 0} == {(GONE, "missing")}

    by_epoch = [read_epoch(run, epoch) for epoch in range(EPOCHS)]
    assert all(np.array_equal(consumed, by_epoch[0][0]) for consumed, _ in by_epoch)
    assert by_epoch[0][0].sum() == 10, "9 good ones and the one that was removed"
    assert by_epoch[-1][1].size == 1, "the removed one"
    # 10 videos in batches of 4 are 3 steps an epoch, the last one smaller, however the run was cut
    assert (result["steps"], result["epochs"], result["is_finished"]) == (3 * EPOCHS, EPOCHS, True)
    assert result["samples"] + result["quarantined"] == 10 * EPOCHS

    pictures = [name.removeprefix(run.uri + "/") for name in result["pictures"]]
    assert {"pictures/clip-00.png", "pictures/clip-00.mp4", "pictures/curves.png"} <= set(pictures)
    assert all(run.size(name) > 1000 for name in pictures)
    assert {"psnr_model", "psnr_zero", "psnr_nearest", "held_out_loss", "held_out_zero_loss"} <= set(result)
    assert json.loads(run.read("result.json")) == result
    assert b"canary-secret-key" not in b"".join(run.read(info.name) for info in run.list() if ".json" in info.name)

    assert run_job(config, capsys, name="stopped", home=home) == result, "a finished run is found again"
    with pytest.raises(ValueError, match="optimizer"):
        other = replace(config, optimizer=replace(config.optimizer, base_lr=1.0))
        run_job(other, capsys, name="stopped", home=home)


@pytest.mark.soak
def test_a_run_whose_crops_and_masks_follow_the_face_annotates_rendered_ones_and_can_be_reconstructed(
    ray_is_up: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tiny, home = tiny_config(), Storage(tmp_path)
    config = replace(
        tiny,
        corpus=CorpusConfig(speakers=2, clips_per_speaker=1),
        crop=AlignConfig(size=72),
        mask=AUMaskConfig(),
        optimizer=replace(tiny.optimizer, global_batch=2, epochs=1, warmup_epochs=0, stop_epoch=None),
        engine=EngineConfig(zero_stage=0),
        workers=WorkersConfig(num_workers=1, cpus_per_worker=0.5),
        held_out_clips=2,
    )
    result = run_job(config, capsys, name="units", home=home)
    assert (result["is_finished"], result["samples"], result["quarantined"]) == (True, 2, 0)
    assert {"psnr_model", "held_out_loss"} <= set(result)

    trained = load_trained(home.child("runs", "units").uri)
    assert trained.config == config
    (manifest,) = (item.name for item in home.list("catalogs/annotations") if item.name.endswith("manifest.json"))
    assert f":{json.loads(home.read(manifest))['fingerprint']}:" in trained.provenance["metadata"]["stream"]

    drawn = reconstruct_clips(
        trained.provenance["checkpoint"], [], policy=None, ratios=[0.75], max_sheets=0, output=str(tmp_path / "sheets")
    )
    assert list(drawn["mean"]) == ["region_tube-0.75"]
    card = model_card(trained, contents="encoder")
    assert "patches of an active action unit kept, the rest random, ratio 0.7 |" in card
    assert "the middle 64x64 pixels of the 72x72 square around the face" in card


def test_a_corpus_without_annotations_names_the_command_that_makes_them(tmp_path: Path) -> None:
    catalog = write_corpus(tmp_path)
    uri = str(tmp_path / "catalogs" / "folder-0123456789ab.parquet")
    with pytest.raises(ValueError, match=rf"no finished annotations(.|\n)*annotate_faces.py --catalog {uri}"):
        find_annotations(uri, catalog, given=None, has_truth=False)

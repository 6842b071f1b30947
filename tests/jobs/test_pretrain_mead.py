"""The multi-view job on S3, rendered takes and all: stopped within an epoch, the same command again, every take once an
epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.config import EngineConfig, OptimizerConfig, TelemetryConfig, WorkersConfig
from cluster.ledger import read_epoch
from cluster.runtime import ray_session
from jobs.parts.command_line import Command
from jobs.parts.mead_config import MeadCorpusConfig, MeadPretrainConfig
from jobs.parts.pretraining import pretrain
from jobs.parts.take_pretraining import prepare
from jobs.parts.trained import load_trained
from jobs.recipes.mead import RECIPES
from models.config import MultiViewConfig
from models.tokens import ClipGeometry
from pipelines.alignment import AlignConfig
from pipelines.clips import ClipConfig
from pipelines.storage import Storage

EPOCHS = 2
CONFIG = MeadPretrainConfig(
    recipe="tiny",
    corpus=MeadCorpusConfig(actors=3, takes_per_actor=1),
    passes_per_epoch=2,
    clip=ClipConfig(frames=4, stride=2),
    align=AlignConfig(size=72),
    model=MultiViewConfig(
        encoder="video_vit_nano",
        geometry=ClipGeometry(frames=4, height=64, width=64),
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=1,
        target_view_embedding="learned",
        loss_tokens="all",
    ),
    optimizer=OptimizerConfig(global_batch=2, epochs=EPOCHS, warmup_epochs=0.5),
    engine=EngineConfig(zero_stage=2),
    workers=WorkersConfig(num_workers=2, cpus_per_worker=0.5),
    held_out_clips=2,
    telemetry=TelemetryConfig(tensorboard=False),
)


@pytest.fixture(scope="module")
def ray_is_up(s3_variables: dict[str, str]) -> Iterator[None]:
    """One private cluster, whose processes reach the S3 server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_variables.items():
            patch.setenv(name, value)
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with ray_session(num_cpus=2, object_store_bytes=300_000_000):
            yield


@pytest.mark.timeout(600)
def test_a_stopped_run_goes_on_and_uses_every_take_once_an_epoch(
    ray_is_up: None, s3_bucket: str, capsys: pytest.CaptureFixture
) -> None:
    def run(config: MeadPretrainConfig) -> dict:
        pretrain(Command(config, name="takes", home=s3_bucket), prepare)
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    partial = run(replace(CONFIG, stop_at_step=1))
    assert (partial["steps"], partial["is_finished"]) == (1, False)
    result = run(CONFIG)

    directory = Storage(result["run_directory"])
    consumed = [read_epoch(directory, epoch)[0] for epoch in range(EPOCHS)]
    assert all(np.array_equal(marks, consumed[0]) for marks in consumed)
    assert consumed[0].shape == (6,) and consumed[0].sum() == 4, "two takes of three, each visited twice"
    assert (result["steps"], result["samples"], result["quarantined"]) == (2 * EPOCHS, 4 * EPOCHS, 0)
    assert {"psnr_model", "psnr_zero", "held_out_loss", "held_out_zero_loss"} <= set(result)
    names = [name.removeprefix(directory.uri + "/") for name in result["pictures"]]
    drawn = ("take-00", "views", "units", "curves")
    assert names == [f"pictures/{name}.png" for name in drawn]
    assert all(directory.size(name) > 1000 for name in names)
    counted = json.loads(directory.read("masks.json"))
    assert (counted["takes"], counted["rows"]) == (4, 4)
    assert sum(view["masks"] for view in counted["views"].values()) == 4
    assert load_trained(directory.uri).config.model == CONFIG.model


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_config_of_its_own_name(name: str) -> None:
    config = RECIPES[name]()
    assert config.recipe == name and len(RECIPES[name].__doc__ or "") > 20
    if name != "nano":
        assert config.choice.levels == (1, 3) and config.model.geometry.num_tokens == 1568
        assert (config.target_views == "same") == name.startswith(("videomae", "mau")) or name.startswith("maura")


def test_a_corpus_of_ones_own_without_annotations_says_how_to_make_them(ray_is_up: None, tmp_path: Path) -> None:
    from pipelines.synthetic.config import MeadConfig
    from pipelines.synthetic.corpus import render_corpus

    corpus = Storage(str(tmp_path / "corpus"))
    tiny = MeadConfig(actors=1, takes_per_actor=1, min_seconds=0.2, max_seconds=0.3, size=64)
    render_corpus(corpus, tiny, show_progress=False)
    config = replace(CONFIG, corpus=MeadCorpusConfig(name="mead", root=corpus.uri))
    with pytest.raises(ValueError, match=r"python jobs/annotate_faces\.py --catalog .*mead-"):
        prepare(config, Storage(str(tmp_path)))

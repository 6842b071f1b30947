"""What the stages of a chain are handed, and what they leave in its directory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.checkpoint import CheckpointError
from cluster.commit import COMMIT, DIRECTORY, parse_commit
from jobs.parts.chain_config import Cell, ExportConfig, Stage, TableConfig
from jobs.parts.chain_runners import filled_config, stage_runners, weights_address
from jobs.parts.sweep_config import FinetuneSweepConfig
from jobs.recipes import features, finetuning, heads
from models.weights import read_weights
from pipelines.storage import Storage
from tests.jobs.tiny import tiny_config, write_run


def run_with_milestone(folder: Path) -> tuple[str, str]:
    """A run with a checkpoint at the end of its third epoch and a newer one; returns the address of both's run and the
    name of the first."""
    milestone = write_run(folder, tiny_config(), step=6)
    storage = Storage(folder / DIRECTORY)
    commit = parse_commit(milestone, storage.read(f"{milestone}/{COMMIT}"))
    commit.progress["at_epoch_end"] = True
    storage.write(f"{milestone}/{COMMIT}", commit.to_json())
    write_run(folder, tiny_config(), step=12)
    return str(folder), milestone


def test_weights_are_those_of_the_run_or_of_the_milestone_asked_for(tmp_path: Path) -> None:
    run, milestone = run_with_milestone(tmp_path / "run")
    results = {"pretrain": {"run_directory": run}}
    assert weights_address("pretrain", None, results) == run
    assert weights_address("pretrain", 3, results) == f"{run}/{DIRECTORY}/{milestone}"
    with pytest.raises(CheckpointError, match="no checkpoint at the end of epoch 4"):
        weights_address("pretrain", 4, results)


def test_weights_of_a_sweep_are_its_best_runs_and_of_a_fine_tuning_those_of_its_only_run() -> None:
    results = {
        "sweep": {"best": {"run_directory": "best"}},
        "one": {"runs": ["fold"], "directory": "scores"},
        "two": {"runs": ["fold1", "fold2"], "directory": "scores"},
    }
    assert weights_address("sweep", None, results) == "best"
    assert weights_address("one", None, results) == "fold"
    with pytest.raises(ValueError, match="two has 2 runs"):
        weights_address("two", None, results)


def test_a_config_is_filled_with_the_best_values_and_the_weights() -> None:
    results = {
        "sweep": {"best": {"values": {"optimizer.base_lr": 0.5, "head": "local"}}},
        "pretrain": {"run_directory": "weights"},
    }
    config = finetuning.nano()
    stage = Stage("a", "finetune", config, weights_from="pretrain", values_from="sweep")
    filled = filled_config(stage, results)
    assert (filled.optimizer.base_lr, filled.model.global_pool, filled.init_from) == (0.5, "local", "weights")
    assert filled.optimizer.epochs == config.optimizer.epochs
    assert filled_config(replace(stage, weights_from=None, values_from=None), results) == config


def test_a_head_is_handed_the_stores_of_its_features_in_their_order() -> None:
    results = {"seen": {"store": "home/features/vision-1"}, "heard": {"store": "home/features/log_mel-2"}}
    stage = Stage("a", "head", heads.nano(), features_from=("seen", "heard"))
    filled = filled_config(stage, results)
    assert filled == replace(stage.config, features=("home/features/vision-1", "home/features/log_mel-2"))
    assert filled_config(replace(stage, features_from=("heard",)), results).features == ("home/features/log_mel-2",)


def test_an_encoder_that_makes_features_is_that_of_the_run_before() -> None:
    stage = Stage("a", "extract", features.vision(), weights_from="tuned")
    assert filled_config(stage, {"tuned": {"runs": ["fold1"]}}) == replace(stage.config, init_from="fold1")


def test_a_fine_tuning_has_the_regions_that_a_sweep_of_pre_trainings_found_best() -> None:
    best = {"values": {"region": [2, 7, 7], "mask.ratio": 0.6}, "run_directory": "weights"}
    config = replace(finetuning.nano(), model=replace(finetuning.nano().model, region=(1, 7, 7)))
    filled = filled_config(Stage("a", "finetune", config, weights_from="sweep"), {"sweep": {"best": best}})
    assert (filled.model.region, filled.init_from) == ((2, 7, 7), "weights")
    assert filled == replace(config, init_from="weights", model=replace(config.model, region=(2, 7, 7)))


def test_every_trial_of_a_sweep_starts_from_the_weights() -> None:
    sweep = FinetuneSweepConfig(recipe="a", space=("optimizer.base_lr=0.1,0.2",), finetune=finetuning.nano())
    stage = Stage("a", "sweep_finetuning", sweep, weights_from="pretrain")
    filled = filled_config(stage, {"pretrain": {"run_directory": "weights"}})
    assert filled.trial({"optimizer.base_lr": 0.1}).init_from == "weights"


def test_weights_are_exported_into_the_chains_directory_and_again_over_themselves(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_config())
    home, place = Storage(tmp_path / "home"), Storage(tmp_path / "chain")
    export = stage_runners(home, place)["export"]
    stage = Stage("encoder", "export", ExportConfig(), weights_from="pretrain")
    first = export(stage, {"pretrain": {"run_directory": str(tmp_path / "run")}})
    second = export(stage, {"pretrain": {"run_directory": str(tmp_path / "run")}})
    assert first == second
    assert first["weights"] == place.full("exported/encoder/model.safetensors")
    tensors, described = read_weights(Path(second["weights"]))
    assert tensors and described["contents"] == "encoder" and place.exists("exported/encoder/README.md")


def test_a_table_is_made_of_the_scores_that_fine_tunings_left(tmp_path: Path) -> None:
    home, place, scores = Storage(tmp_path / "home"), Storage(tmp_path / "chain"), Storage(tmp_path / "scores")
    metrics = {
        "corpus": "synthetic dfew",
        "protocol": "single",
        "evaluation": "clean",
        "setting": None,
        "videos": 12,
        "averaged_over": None,
        "metric": "uar",
        "headline": 0.25,
        "metrics": {"uar": 0.25, "war": 0.5},
    }
    scores.write("metrics.json", json.dumps(metrics).encode())
    cells = tuple(Cell("ours", name.upper(), "scratch", name) for name in ("uar", "war"))
    stage = Stage("both", "table", TableConfig("Both", cells))
    left = stage_runners(home, place)["table"](stage, {"scratch": {"directory": scores.uri}})
    table = json.loads(place.read("tables/both.json"))
    assert [cell["measured"] for cell in table["cells"]] == [25.0, 50.0]
    assert left == {"markdown": place.full("tables/both.md"), "table": place.full("tables/both.json")}
    assert "| ours | 25.0 | 50.0 |" in place.read("tables/both.md").decode()

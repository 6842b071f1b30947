"""Fine-tunings against each other: what is better, by how much, and in what they differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.parts import comparison
from jobs.parts.comparison import COMPARISON, PICTURE, compare_finetunings, differing
from jobs.parts.evaluation import write_result
from pipelines.storage import Storage
from tests.jobs.test_scores import POOLED, predictions, scored


def write_arm(place: Storage, *, share_right: float, seeds: int, **fields: Any) -> str:
    """What a fine-tuning of several seeds leaves, of videos told with this share."""
    for seed in range(seeds):
        table = predictions(share_right, seed)
        result = {"corpus": "synthetic dfew", "seed": seed, **scored(table, POOLED), "runs": ["a/run"]} | fields
        write_result(place.child(f"seed{seed}"), result, table, POOLED)
    return place.uri


@pytest.fixture
def arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    described = {"metadata": {"config": {"seed": 3, "optimizer": {"epochs": 1}, "model": {"encoder": "nano"}}}}
    monkeypatch.setattr("cluster.checkpoint.describe_checkpoint", lambda uri: described)
    home = Storage(tmp_path)
    return {
        "scratch": write_arm(home.child("scratch"), share_right=0.2, seeds=5),
        "pretrained": write_arm(home.child("pretrained"), share_right=0.8, seeds=5),
    }


def test_the_better_arm_is_told_with_an_interval_and_drawn(arms: dict[str, str], tmp_path: Path) -> None:
    place = Storage(tmp_path / "comparison")
    result = compare_finetunings(arms, baseline="scratch", place=place)
    value, low, high = result["above_baseline"]["pretrained"]
    assert 0.2 < low < value < high and set(result["above_baseline"]) == {"pretrained"}
    means = [result["arms"][name]["headline"]["mean"] for name in ("pretrained", "scratch")]
    assert value == pytest.approx(means[0] - means[1], abs=1e-12)
    assert (result["arms"]["scratch"]["seeds"], result["differ_in"]) == (5, {})
    assert json.loads(place.read(COMPARISON))["above_baseline"] == result["above_baseline"]
    assert place.read(PICTURE).startswith(b"\x89PNG")


def test_fields_that_arms_do_not_share_are_listed_but_not_seeds_folds_or_where_they_ran() -> None:
    one = {"seed": 0, "folds": [1], "workers": {"num_workers": 1}, "init_from": None, "optimizer": {"epochs": 2}}
    other = {"seed": 1, "folds": [2], "workers": {"num_workers": 8}, "init_from": "a/run", "optimizer": {"epochs": 2}}
    assert differing({"a": one, "b": other}) == {"init_from": {"a": None, "b": "a/run"}}


def test_few_seeds_are_warned_of(
    arms: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: write_arm(Storage(tmp_path / f"few {name}"), share_right=0.5, seeds=2) for name in arms}
    monkeypatch.setattr(comparison.logger, "propagate", True)
    compare_finetunings(few, baseline="scratch", place=Storage(tmp_path / "few"))
    assert "fewer than 5 seeds" in caplog.text


def test_an_unfinished_arm_or_an_unknown_baseline_is_refused(arms: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished fine-tuning"):
        compare_finetunings(arms | {"x": str(tmp_path / "x")}, baseline="scratch", place=Storage(tmp_path))
    with pytest.raises(ValueError, match="baseline='none' is none of the arms scratch, pretrained"):
        compare_finetunings(arms, baseline="none", place=Storage(tmp_path))

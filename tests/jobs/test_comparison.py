"""Fine-tunings and heads against each other: what is better, by how much, and in what they differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.config import to_json
from jobs.parts import comparison
from jobs.parts.affect_scores import evaluate_tasks
from jobs.parts.comparison import COMPARISON, PICTURE, compare_results, differing, find_arm
from jobs.parts.evaluation import write_result
from jobs.parts.head_config import HeadConfig
from jobs.parts.postprocessing_config import PostprocessingConfig
from models.head_config import FeatureHeadConfig, FrameMlpConfig, TcnTransformerConfig
from pipelines.labels import ATTRIBUTES_TYPE, EvaluationProtocol
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
    result = compare_results(arms, baseline="scratch", place=place)
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
    compare_results(few, baseline="scratch", place=Storage(tmp_path / "few"))
    assert "fewer than 5 seeds" in caplog.text


def test_an_unfinished_arm_or_an_unknown_baseline_is_refused(arms: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no finished fine-tuning or head"):
        compare_results(arms | {"x": str(tmp_path / "x")}, baseline="scratch", place=Storage(tmp_path))
    with pytest.raises(ValueError, match="baseline='none' is none of the arms scratch, pretrained"):
        compare_results(arms, baseline="none", place=Storage(tmp_path))


FRAMES = EvaluationProtocol(
    "all", "affect", ("expr/Neutral", "expr/Anger", "va/valence", "va/arousal"), metric="affect"
)
NAMES = [f"cropped_aligned/video{n % 6}/{n:05}.jpg" for n in range(120)]


def frames(noise: float, seed: int) -> pa.Table:
    """Of six videos, told as well as there is little noise; every fifth has no expression."""
    rng, row = np.random.default_rng(seed), np.arange(len(NAMES))
    expression_NK = np.eye(2)[row // 6 % 2]
    expression_NK[row % 5 == 0] = np.nan
    target_NK = np.concatenate([expression_NK, np.sin(row[:, None] / (5, 9))], axis=1)
    score_NK = np.nan_to_num(target_NK, nan=0.5) + noise * rng.standard_normal(target_NK.shape)
    score_NK[:, :2] = np.exp(score_NK[:, :2]) / np.exp(score_NK[:, :2]).sum(1, keepdims=True)
    return pa.table(
        {
            "sample_id": row,
            "uri": NAMES,
            "subject": [name.split("/")[1] for name in NAMES],
            "part": ["test"] * len(row),
            "attributes": pa.array([[]] * len(row), ATTRIBUTES_TYPE),
            "target": target_NK.tolist(),
            "score": score_NK.tolist(),
            "clips": pa.array([1] * len(row), pa.int32()),
        }
    )


@pytest.fixture
def heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Addresses of the results of two heads of five seeds, a good one with smoothing and a bad one without."""
    home, recorded = Storage(tmp_path), {}
    for name, noise, head, filters in (
        ("temporal", 0.3, TcnTransformerConfig(), ("median:5",)),
        ("frame-wise", 1.5, FrameMlpConfig(), ()),
    ):
        config = HeadConfig(
            recipe=name,
            features=("a/store",),
            model=FeatureHeadConfig(head=head, task="affect", loss="affect"),
            postprocessing=PostprocessingConfig(smoothing=filters),
            validation_windows=len(name),
        )
        recorded[f"runs/{name}"] = {"metadata": {"config": {"job": HeadConfig.JOB, **to_json(config)}}}
        for seed in range(5):
            table, options = frames(noise, seed), {"setting": None, "cost": {"parameters": 9}, "unit": "frames"}
            scores = evaluate_tasks(table, FRAMES, expected=NAMES, evaluation="clean", **options)
            told = {"runs": [f"runs/{name}"], "postprocessing": {"expr": {"smoothing": list(filters)}}}
            result = {"corpus": "synthetic aff_wild2", "seed": seed, "folds": 1, **scores, **told}
            write_result(home.child("heads", name, f"seed{seed}"), result, table, FRAMES)
    monkeypatch.setattr("cluster.checkpoint.describe_checkpoint", recorded.get)
    return {name: find_arm(name, home) for name in ("temporal", "frame-wise")}


@pytest.mark.parametrize(("task", "metric", "count"), [("expr", "f1_macro", 96), ("va", "ccc", 120)])
def test_heads_of_several_tasks_are_compared_by_one_of_them(
    task: str, metric: str, count: int, heads: dict[str, str], tmp_path: Path
) -> None:
    result = compare_results(heads, baseline="frame-wise", place=Storage(tmp_path / "out"), task=task)
    value, low, high = result["above_baseline"]["temporal"]
    assert 0 < low < value < high
    assert (result["protocol"], result["metric"], result["videos"], result["unit"]) == (task, metric, count, "frames")
    assert result["arms"]["temporal"]["seeds"] == 5 and result["subjects"] == 6
    means = [result["arms"][name]["headline"]["mean"] for name in ("temporal", "frame-wise")]
    assert value == pytest.approx(means[0] - means[1], abs=1e-12)


def test_heads_differ_in_their_layers_and_in_what_became_of_their_scores(heads: dict[str, str], tmp_path: Path) -> None:
    result = compare_results(heads, baseline="frame-wise", place=Storage(tmp_path / "out"), task="expr")
    apart = result["differ_in"]
    assert apart["postprocessing.expr.smoothing"] == {"temporal": ["median:5"], "frame-wise": []}
    assert {name.split(".")[0] for name in apart} == {"model", "postprocessing"}


def test_which_of_several_tasks_has_to_be_said_and_only_then(heads: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of several tasks: say which, --task expr or va"):
        compare_results(heads, baseline="temporal", place=Storage(tmp_path))
    single = write_arm(Storage(tmp_path / "single"), share_right=0.5, seeds=1)
    with pytest.raises(ValueError, match="task=expr has no effect on protocol low"):
        compare_results({"single": single}, baseline="single", place=Storage(tmp_path), task="expr")


def test_an_arm_is_found_by_its_name_unless_there_is_none_or_one_of_each_job(tmp_path: Path) -> None:
    home = Storage(tmp_path)
    for folder in ("finetunings/tuned", "finetunings/both", "heads/both"):
        home.write(f"{folder}/metrics.json", b"{}")
    assert find_arm("tuned", home) == home.full("finetunings/tuned")
    with pytest.raises(ValueError, match="both has several results: .*finetunings/both, .*heads/both.*both=DIRECTORY"):
        find_arm("both", home)
    with pytest.raises(ValueError, match="other has no result in finetunings or heads"):
        find_arm("other", home)

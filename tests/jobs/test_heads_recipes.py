"""The recipes of heads on features: every row builds, fits the features of its paper and says what it reproduces."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest
import torch

from jobs.config import from_json, to_json
from jobs.parts.command_line import parse
from jobs.parts.head_config import HeadConfig
from jobs.parts.postprocessing import check_postprocessing
from jobs.recipes.frames import TASKS
from jobs.recipes.heads import RECIPES, for_task, frames_mlp, laptop, nano, netease_expr
from models.feature_head import FeatureHead, build
from models.head_config import FeatureSet, FrameMlpConfig, TransformerFusionConfig
from pipelines.corpora.aff_wild2 import AFFECT_CLASSES, ALL, OFFICIAL
from pipelines.corpora.aff_wild2_files import EXPRESSIONS

OF_PAPERS = [name for name in RECIPES if name not in ("nano", "frames_mlp")]
VISION = FeatureSet("vision", 768)
FEATURES = {
    "netease_au": (VISION,),
    "netease": (VISION, FeatureSet("hubert", 1024), FeatureSet("vggish", 128)),
    "emotic": (VISION, FeatureSet("eye_mouth", 768)),
}
"""Of the papers' recipes; vision alone for the others."""


def features_of(name: str) -> tuple[FeatureSet, ...]:
    return FEATURES.get(name) or FEATURES.get(name.split("_")[0]) or (VISION,)


def built(config: HeadConfig, features: tuple[FeatureSet, ...], classes: tuple[str, ...]) -> FeatureHead:
    """The head without numbers in its weights."""
    with torch.device("meta"):
        return build(replace(config.model, features=features, classes=classes))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_after_itself_fits_its_protocol_and_survives_json(name: str) -> None:
    config = RECIPES[name]()
    assert config.recipe == name == RECIPES[name].__name__
    assert from_json(HeadConfig, to_json(config)) == config
    protocol = OFFICIAL[config.corpus.protocol]
    assert (config.model.task, config.corpus.name, config.features) == (protocol.task, "aff_wild2", ())
    check_postprocessing(protocol, config.postprocessing, {})


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_row_of_a_paper_names_its_table_and_its_number_and_is_evaluated_as_the_paper_does(name: str) -> None:
    doc = " ".join(RECIPES[name].__doc__.split())
    assert re.search(r"(NetEase|CtyunAI|Emotic-MAE) Table \d", doc)
    assert re.search(r"(F1|CCC)( of valence)? (\d\d\.\d\d|\.\d{3,4})", doc)
    assert RECIPES[name]().evaluation == "paper"


@pytest.mark.parametrize("name", RECIPES)
def test_a_head_is_built_on_the_features_of_its_paper(name: str) -> None:
    config = RECIPES[name]()
    classes = OFFICIAL[config.corpus.protocol].classes
    assert built(config, features_of(name), classes).mlp.last.out_features == len(classes)


def test_no_two_recipes_learn_the_same() -> None:
    learned = [replace(recipe().scored(), recipe="") for recipe in RECIPES.values()]
    assert all(one != other for i, one in enumerate(learned) for other in learned[:i])


@pytest.mark.parametrize(
    ("paper", "rate", "batch", "window", "decay"),
    [
        ("netease", 1e-4, 32, (100, 100), 1e-5),
        ("ctyunai", 3e-5, 32, (300, 200), 1e-5),
        ("emotic", 1e-4, 64, (8, 8), 0),  # 512 frames
    ],
)
def test_rates_batches_and_windows_are_those_of_the_papers(
    paper: str, rate: float, batch: int, window: tuple[int, int], decay: float
) -> None:
    for name in (name for name in RECIPES if name.startswith(paper)):
        config = RECIPES[name]()
        optimizer = config.optimizer
        assert optimizer.base_lr * optimizer.global_batch / 256 == pytest.approx(rate)
        assert (optimizer.global_batch, optimizer.weight_decay) == (batch, decay)
        assert (config.window.length, config.window.stride) == window


def test_netease_has_four_layers_a_dropout_of_three_tenths_and_weights_by_frequency_but_for_values() -> None:
    head = netease_expr().model.head
    assert isinstance(head, TransformerFusionConfig) and (head.layers, head.dropout, head.projection) == (4, 0.3, ())
    weighting = {task: RECIPES[f"netease_{task}"]().class_weighting for task in ("expr", "au", "va")}
    assert weighting == {"expr": "balanced", "au": "balanced", "va": "none"}
    assert RECIPES["ctyunai_au"]().class_weighting == "none"


def test_scores_are_smoothed_by_the_papers_values() -> None:
    found = {name: RECIPES[name]().postprocessing.smoothing for name in RECIPES}
    assert found["netease_expr"] == found["netease_va"] == ("gaussian:25",) and found["netease_au"] == ("gaussian:5",)
    assert found["emotic_expr"] == ("majority:50",) and found["ctyunai_expr"] == ()


@pytest.mark.parametrize("protocol", [*TASKS, "au_folds", "va_folds"])
@pytest.mark.parametrize("name", ["netease_expr", "ctyunai_va", "nano"])
def test_any_head_is_had_of_any_task(name: str, protocol: str) -> None:
    config = for_task(RECIPES[name](), protocol)
    known = (OFFICIAL | {"all": ALL})[protocol.removesuffix("_folds")]
    assert (config.corpus.protocol, config.model.task) == (protocol, known.task)
    classes = {"all": AFFECT_CLASSES}.get(protocol, known.classes)
    assert built(config, features_of(name), classes).mlp.last.out_features == len(classes)


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_laptop_trains_a_small_head_of_the_same_kind_on_the_same_task(name: str) -> None:
    config = RECIPES[name]()
    small = laptop(config)
    assert type(small.model.head) is type(config.model.head) and small.model.task == config.model.task
    assert (small.evaluation, small.postprocessing, small.class_weighting) == (
        config.evaluation,
        config.postprocessing,
        config.class_weighting,
    )
    classes = OFFICIAL[config.corpus.protocol].classes
    narrow = tuple(replace(one, width=64) for one in features_of(name))
    heads = built(small, narrow, classes), built(config, features_of(name), classes)
    sizes = [sum(one.numel() for one in head.parameters()) for head in heads]
    assert sizes[0] < 0.2 * sizes[1]
    assert small.window.length <= 50 and small.window.stride <= small.window.length


def test_frames_by_themselves_have_the_budget_of_the_temporal_head() -> None:
    base, single = nano(), frames_mlp()
    assert isinstance(single.model.head, FrameMlpConfig)
    assert replace(single, recipe="nano", model=base.model) == base
    assert built(single, (VISION,), EXPRESSIONS).body is None


def test_the_job_reads_recipe_and_features_and_trains_nano_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def parsed(*words: str) -> HeadConfig:
        monkeypatch.setattr(sys, "argv", ["train_head.py", *words])
        return parse(RECIPES, default="nano", description="").config

    assert parsed() == nano()
    words = ["--corpus.protocol", "expr_folds", "--folds", "1", "3", "--features", "a", "s3://b/c", "--missing", "mask"]
    found = parsed("netease_expr", *words)
    assert (found.corpus.protocol, found.folds, found.features) == ("expr_folds", (1, 3), ("a", "s3://b/c"))
    chosen = ["--evaluation", "clean", "--postprocessing.smoothing", "--postprocessing.candidates", "none", "median:9"]
    assert parsed("netease_expr", *chosen).postprocessing.candidates == ("none", "median:9")
    assert found.missing == "mask"

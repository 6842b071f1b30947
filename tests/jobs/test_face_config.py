"""Which values of a pre-training on face images go together, and what its recipes take from the papers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from jobs.config import from_json, to_json
from jobs.parts.command_line import parse
from jobs.parts.face_config import FaceCorporaConfig, FacePretrainConfig
from jobs.recipes.faces import RECIPES, ctyunai_mae, netease_mae, netease_mae_normalized
from models.tokens import ClipGeometry
from pipelines.image_cleaning import CleaningConfig
from pipelines.masks import MaskConfig
from pipelines.resized_crop import ResizedCropConfig
from tests.jobs.tiny import tiny_faces

TWO = {"raf_db": "s3://bucket/raf", "celeba": "s3://bucket/celeba"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ()}, r"corpus.names=\(\) must be one or more different corpora"),
        ({"names": ("celeba", "celeba")}, "must be one or more different corpora"),
        ({"roots": {"raf_db": "x"}}, "corpus.roots lacks celeba: add --corpus.roots celeba ADDRESS, or leave them out"),
        ({"roots": {**TWO, "fer2013": "x"}}, "corpus.roots of fer2013 has no effect; add them to corpus.names"),
        ({"weights": {"imdb_wiki": 2.0}}, "corpus.weights of imdb_wiki has no effect; add them to corpus.names"),
        ({"weights": {"celeba": 0.0}}, r"corpus.weights=\{'celeba': 0.0\} must be positive"),
        ({"weights": {"celeba": float("inf")}}, "must be positive"),
        ({"weights": {"celeba": float("nan")}}, "must be positive"),
        ({"exclude": "list.txt"}, "corpus.exclude has no effect on synthetic twins; leave it, or give corpus.roots"),
        ({"roots": TWO, "images": 8}, "corpus.images=8 has no effect with roots"),
    ],
)
def test_corpora_that_do_not_go_together_are_refused_with_the_remedy(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FaceCorporaConfig(**{"names": ("raf_db", "celeba")} | fields)


def test_corpora_without_roots_are_their_twins_and_say_so() -> None:
    twins = FaceCorporaConfig(names=("raf_db", "celeba"), weights={"celeba": 0.25})
    own = replace(twins, roots=TWO, exclude="list.txt", cleaning=CleaningConfig(min_side=64))
    assert (twins.is_synthetic, twins.title, twins.layout) == (True, "synthetic raf_db+celeba", "raf_db+celeba")
    assert (own.is_synthetic, own.title, own.layout) == (False, "raf_db+celeba", "raf_db+celeba")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": ResizedCropConfig(size=80)}, "crop.size=80"),
        ({"mask": MaskConfig(policy="region_tube")}, "region_tube has no effect on single images; take random"),
        ({"mask": MaskConfig(policy="random", ratio=0.01)}, "ratio=0.01"),
        ({"clips_per_video": 0}, "clips_per_video=0"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(tiny_faces(), **changes)


def test_an_image_is_a_clip_of_one_frame() -> None:
    config = tiny_faces()
    assert config.sample().clip_shape == (1, 64, 64, 3) and config.sample().clip.frames == 1
    assert config.sample().visible_shape == (1, 4), "of 16 tokens a quarter is shown"
    two = replace(
        config.model, geometry=ClipGeometry(frames=2, height=64, width=64, tubelet=1), encoder="video_vit_nano"
    )
    with pytest.raises(ValueError, match="model.geometry.frames=2: an image is a clip of one frame"):
        replace(config, model=two)


def test_corpora_and_their_weights_decide_what_is_learned() -> None:
    base = tiny_faces(corpus=FaceCorporaConfig(names=("raf_db", "celeba")))
    others = [
        replace(base, corpus=replace(base.corpus, **changes))
        for changes in (
            {"names": ("celeba", "raf_db")},
            {"weights": {"celeba": 0.5}},
            {"cleaning": CleaningConfig(min_side=32)},
        )
    ]
    assert all(other.learning() != base.learning() for other in others)
    assert replace(base, stop_at_step=3).learning() == base.learning()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_after_itself_says_what_it_reproduces_and_survives_json(name: str) -> None:
    recipe = RECIPES[name]
    config, doc = recipe(), " ".join(recipe.__doc__.split())
    assert config.recipe == name == recipe.__name__
    assert from_json(FacePretrainConfig, to_json(config)) == config
    assert f"`python jobs/pretrain_face_images.py {name}" in doc
    assert name == "nano" or re.search(r"Cost: about \d+ h", doc)


def test_the_papers_numbers_stand_in_the_recipes() -> None:
    netease, ctyunai = netease_mae(), ctyunai_mae()
    for config, rate, batch, epochs in ((netease, 2.4e-3, 4096, 800), (ctyunai, 5e-4, 1024, 500)):
        optimizer = config.optimizer
        assert (optimizer.global_batch, optimizer.epochs) == (batch, epochs)
        assert optimizer.base_lr * batch / 256 == pytest.approx(rate)
        assert (config.model.encoder, config.crop.size) == ("face_vit_base", 224)
        assert (config.mask.policy, config.mask.ratio) == ("random", 0.75)
        assert (config.model.target, config.model.loss_tokens) == ("pixels", "all"), "L2 of the complete image"
    assert netease.corpus.names == ("affectnet", "casia_webface", "celeba", "imdb_wiki")
    assert ctyunai.corpus.names == ("affectnet", "raf_db", "fer2013", "fer_plus")


def test_a_recipe_of_maes_own_target_differs_in_nothing_else() -> None:
    plain, own = netease_mae(), netease_mae_normalized()
    assert (own.model.target, own.model.loss_tokens) == ("image_mae", "masked")
    model = replace(own.model, target=plain.model.target, loss_tokens=plain.model.loss_tokens)
    assert replace(own, recipe=plain.recipe, model=model) == plain


def test_roots_and_weights_are_given_as_pairs_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "nano --corpus.names raf_db celeba --corpus.roots raf_db /a celeba /b --corpus.weights celeba 0.25"
    monkeypatch.setattr("sys.argv", ["job.py", *words.split()])
    corpus = parse(RECIPES, default="nano", description="").config.corpus
    assert corpus.roots == {"raf_db": "/a", "celeba": "/b"} and corpus.weights == {"celeba": 0.25}

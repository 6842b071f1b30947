"""The comparison of arms: who is trained on what, what is read and predicted, and what counts as a difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.config import WorkersConfig
from jobs.parts import ablation, takes
from jobs.parts.ablation import _count, ablate, comparable_views, probe
from jobs.parts.ablation_config import ARMS, BASELINE, UNTRAINED, AblationConfig
from jobs.parts.ablation_report import draw_scores, show
from jobs.parts.ablation_scores import ABLATION_METRICS, describe
from jobs.parts.command_line import Command
from jobs.parts.intervals import differences, statistics_by_subject
from jobs.parts.mead_config import MeadCorpusConfig
from jobs.parts.transfer_config import TransferConfig
from jobs.parts.view_features import ViewTable, read_views, unit_features, view_table
from jobs.recipes.mead_ablation import RECIPES
from models.weights import build_model
from pipelines.au_masks import AUMaskConfig
from pipelines.corpora.mead import EMOTIONS, VIEWS
from pipelines.storage import Storage
from pipelines.synthetic.config import MeadConfig
from pipelines.take_reader import read_held_out
from pipelines.take_stream import TakeChoice, take_rows
from pipelines.takes import take_table
from tests.pipelines import take_corpus

SUBJECTS, TAKES = 6, 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> take_corpus.TakeCorpus:
    config = MeadConfig(actors=SUBJECTS, takes_per_actor=TAKES, min_seconds=0.4, max_seconds=0.5, size=64)
    return take_corpus.render(tmp_path_factory.mktemp("takes"), config)


def tiny(seeds: int = 2) -> AblationConfig:
    config = RECIPES["nano"]()
    sample = take_corpus.SAMPLE
    model = replace(config.pretrain.model, geometry=sample.geometry)
    return replace(
        config, seeds=seeds, pretrain=replace(config.pretrain, model=model, clip=sample.clip, align=sample.align)
    )


def random_counts(share_right: float, *, runs: int = 3, subjects: int = 12, seed: int = 0) -> np.ndarray:
    """Counts of runs that tell `share_right` of the videos, four per subject, emotion and view."""
    rng = np.random.default_rng(seed)
    labels, view, subject, _ = (
        axis.ravel() for axis in np.meshgrid(range(len(EMOTIONS)), range(len(VIEWS)), range(subjects), range(4))
    )
    guesses = rng.integers(0, len(EMOTIONS), (runs, len(labels)))
    told = np.where(rng.random((runs, len(labels))) < share_right, labels, guesses)
    return np.stack([counted(predicted, labels, view, subject) for predicted in told])


def counted(predicted_N: np.ndarray, labels_N: np.ndarray, view_N: np.ndarray, subject_N: np.ndarray) -> np.ndarray:
    one_hot_KK = np.eye(labels_N.max() + 1)
    return statistics_by_subject("classes", one_hot_KK[labels_N], one_hot_KK[predicted_N], subject_N, view_N)


@pytest.mark.parametrize("recipe", RECIPES)
def test_arms_differ_in_masks_and_targets_and_nothing_else(recipe):
    config = RECIPES[recipe]()
    runs = list(config.runs())
    assert len(runs) == len(ARMS) * config.seeds == 20
    for arm, seed, run in runs:
        assert {"target_views": run.target_views, "keep": run.mask.keep} == ARMS[arm] and run.seed == seed
        mask = replace(run.mask, keep="unit", dilation=config.pretrain.mask.dilation)
        assert replace(run, seed=0, mask=mask, target_views="other") == config.pretrain


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"seed": 3}, "seed=3"),
        ({"target_views": "any"}, "target_views=any"),
        ({"mask": AUMaskConfig(keep="nothing")}, "mask.keep=nothing"),
        ({"stop_at_step": 2}, "stop_at_step"),
        ({"overfit": 2}, "overfit"),
        ({"init_from": "run"}, "init_from"),
        ({"choice": TakeChoice(without_fold=0)}, "without_fold"),
        ({"transfer": TransferConfig("crema_d")}, "transfer has no effect"),
    ],
)
def test_values_that_would_spoil_the_comparison_are_refused(changed, problem):
    config = RECIPES["nano"]()
    with pytest.raises(ValueError, match=problem):
        replace(config, pretrain=replace(config.pretrain, **changed))


def test_only_masks_that_keep_a_unit_are_dilated():
    config = RECIPES["nano"]()
    mask = replace(config.pretrain.mask, dilation="square")
    runs = replace(config, seeds=1, pretrain=replace(config.pretrain, mask=mask)).runs()
    assert [run.mask.dilation == "square" for _, _, run in runs] == [False, True, False, True]


def test_a_better_arm_lies_above_the_baseline_and_an_equal_one_does_not():
    counts = {
        BASELINE: random_counts(0.5),
        "better": random_counts(0.6, seed=1),
        "equal": random_counts(0.5, seed=2),
    }
    found = differences(counts, BASELINE, ABLATION_METRICS)
    assert set(found) == {"better", "equal"}
    for metric in ("f1", "uar"):
        apart, low, high = found["better"][metric]
        assert 0 < low < apart < high and apart == pytest.approx(0.1 * 7 / 8, abs=0.03)
        apart, low, high = found["equal"][metric]
        assert low < 0 < high


def test_an_interval_knows_that_seeds_differ():
    steady = {BASELINE: random_counts(0.5, runs=1).repeat(4, 0), "arm": random_counts(0.5, runs=1, seed=1).repeat(4, 0)}
    strewn = dict(steady, arm=np.concatenate([random_counts(share, runs=1) for share in (0.3, 0.4, 0.6, 0.7)]))
    widths = [
        np.subtract(*differences(counts, BASELINE, ABLATION_METRICS)["arm"]["uar"][:0:-1])
        for counts in (steady, strewn)
    ]
    assert widths[1] > 2 * widths[0]


def test_a_headline_is_the_mean_of_the_views_and_of_the_runs():
    found = describe(random_counts(0.7), list(VIEWS))
    for metric in ("f1", "uar"):
        assert found[metric] == pytest.approx(np.mean([found["views"][view][metric] for view in VIEWS]))
        assert found[metric] == pytest.approx(np.mean(found[f"{metric}_runs"])) and len(found[f"{metric}_runs"]) == 3


def test_what_a_corpus_lacks_is_not_scored():
    emotion, view, subject = (axis.ravel() for axis in np.meshgrid([0, 4], [2, 5], range(SUBJECTS), indexing="ij"))
    counts = _count(np.eye(5)[emotion], ViewTable([], view, emotion, subject, subject % 2))
    assert counts.shape == (SUBJECTS, 2, 2, 2) and describe(counts[None], ["x", "y"])["f1"] == 1.0


def test_takes_that_only_some_arms_can_learn_from_are_named_before_any_is_trained(corpus):
    catalog = corpus.catalog
    assert len(comparable_views(tiny(), catalog).videos) == SUBJECTS * TAKES * len(VIEWS)
    uris = np.array(catalog.table["uri"].to_pylist())
    take = uris[0].split("/", 3)[3]
    alone = uris[[uri.startswith("M001/") and uri.endswith(take) for uri in uris]]
    status = ["empty" if uri in alone[1:] else "ok" for uri in uris]
    field = catalog.table.schema.field("status")
    table = catalog.table.set_column(catalog.table.schema.get_field_index("status"), field, [status])
    with pytest.raises(ValueError, match=f"1 takes have a single view.*{alone[0]}"):
        comparable_views(tiny(), replace(catalog, table=table))


def test_every_view_of_every_take_is_read_as_the_held_out_loss_reads_it(corpus):
    sample, annotations = tiny().pretrain.sample(), corpus.annotations()
    table = view_table(corpus.catalog, take_table(corpus.catalog).table)
    assert len(table.videos) == SUBJECTS * TAKES * len(VIEWS) == len({video.uri for video in table.videos})
    clips = np.concatenate(list(read_views(table, corpus.catalog, annotations, sample)))
    assert clips.shape == (len(table.videos), *sample.clip_shape)
    for video, view, emotion, subject, _ in zip(*table, strict=True):
        assert video.uri.startswith(f"{subject}/video/{VIEWS[view]}/{EMOTIONS[emotion]}/")

    same = replace(sample, target_views="same")
    rows, _ = take_rows(corpus.catalog, "dev", TakeChoice(), same)
    batch = read_held_out(rows, corpus.storage, annotations, same, positions_B=range(3))
    for take, view, clip in zip(batch["sample_id_B"], batch["input_view_B"], batch["clip_BTHWC"], strict=True):
        assert np.array_equal(clips[take * len(VIEWS) + view], clip)


def test_a_video_that_cannot_be_read_ends_the_evaluation_by_name(corpus):
    table = view_table(corpus.catalog, take_table(corpus.catalog).table)
    changed = table._replace(videos=[table.videos[0]._replace(digest="of other bytes"), *table.videos[1:]])

    def clips() -> Iterator[np.ndarray]:
        return read_views(changed, corpus.catalog, corpus.annotations(), tiny().pretrain.sample())

    with pytest.raises(ValueError, match=table.videos[0].uri):
        next(clips())


def test_a_video_without_a_face_has_no_units(corpus):
    table = view_table(corpus.catalog, take_table(corpus.catalog).table)
    blind = corpus.annotations(faceless=frozenset([table.videos[3].uri]))
    units = unit_features(table, blind)
    assert not units[3].any() and units[table.emotion_N != EMOTIONS.index("neutral")].any()


def test_two_arms_of_the_same_weights_do_not_differ_and_the_chart_is_drawn(corpus, capsys):
    config = tiny(seeds=1)
    encoders = {}
    for seed in range(config.seeds):
        torch.manual_seed(seed)
        encoder = build_model(config.pretrain.model).encoder.eval()
        encoders |= {(UNTRAINED, seed): encoder, (BASELINE, seed): encoder}
    table = comparable_views(config, corpus.catalog)
    result = probe(config, encoders, table, corpus.catalog, corpus.annotations())
    assert list(result["arms"]) == [UNTRAINED, BASELINE, "annotated action units"]
    assert result["arms"][UNTRAINED] == result["arms"][BASELINE]
    assert result["above_videomae"][UNTRAINED] == {"f1": [0.0, 0.0, 0.0], "uar": [0.0, 0.0, 0.0]}
    assert (result["subjects"], result["videos"]) == (SUBJECTS, SUBJECTS * TAKES * len(VIEWS))
    assert draw_scores(result).startswith(b"\x89PNG")
    show(result)
    assert "random init" in capsys.readouterr().err


def test_an_arm_that_is_asked_to_stop_ends_the_comparison_to_be_gone_on_with(corpus, tmp_path, monkeypatch, capsys):
    trained: list[str] = []

    def train(config, work, name, directory):
        trained.append(name)
        return {"is_finished": len(trained) == 1, "steps": 3}

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(ablation, "ray_session", nullcontext)
    monkeypatch.setattr(takes, "prepare_takes", lambda *_: (corpus.storage.uri, corpus.catalog, corpus.annotations()))
    ablate(Command(tiny(seeds=1), name="stopped", home=str(tmp_path)))
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(trained) == 2 and not result["is_finished"]
    assert list(result["runs"].values()) == [Storage(str(tmp_path)).child("runs", trained[0]).uri]


@pytest.mark.soak
def test_a_finished_comparison_is_found_again_and_its_untrained_encoders_are_those_the_arms_began_with(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    base = tiny(seeds=1)
    pretrain = replace(
        base.pretrain,
        corpus=MeadCorpusConfig(actors=6, takes_per_actor=2),
        passes_per_epoch=1,
        optimizer=replace(base.pretrain.optimizer, base_lr=1e-30, min_lr=0.0, weight_decay=0.0),
        workers=WorkersConfig(num_workers=1, cpus_per_worker=0.5),
        held_out_clips=1,
    )
    command = Command(replace(base, pretrain=pretrain), name="tiny", home=str(tmp_path))
    ablate(command)
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(first["runs"]) == len(ARMS) and Storage(first["picture"]).uri.endswith("scores.png")
    assert first["arms"]["RA"] == first["arms"][UNTRAINED], "nothing was learned at such a rate"
    ablate(command)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == first
    with pytest.raises(ValueError, match="other seeds"):
        ablate(replace(command, config=replace(command.config, seeds=2)))

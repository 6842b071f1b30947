"""Probes tell what is in the features, of subjects that they have not seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.probe_training import AttentiveProbe, LinearProbe, train_and_score
from models.probes import ProbeConfig, _best_rate, fit_predict, predict_by_folds

SUBJECTS, EACH, CLASSES, WIDTH = 8, 12, 3, 10
LINEAR, NEIGHBOURS = ProbeConfig(steps=50), ProbeConfig(kind="knn")


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(CLASSES), SUBJECTS * EACH // CLASSES)
    subjects = np.repeat(np.arange(SUBJECTS), EACH)
    return labels, subjects, subjects % 4, rng.normal(size=(len(labels), WIDTH))


def told(features, labels, subjects, folds, config=LINEAR):
    target = np.eye(CLASSES)[labels]
    return predict_by_folds(features, target, subjects, folds, config, task="classes", seed=0).argmax(1)


@pytest.mark.parametrize("config", [LINEAR, NEIGHBOURS], ids=["linear", "knn"])
def test_classes_that_lie_apart_are_told_of_new_subjects(data, config):
    labels, subjects, folds, noise = data
    features = noise + 4 * np.eye(WIDTH)[labels]
    assert np.mean(told(features, labels, subjects, folds, config) == labels) > 0.95


def test_a_linear_probe_minds_neither_shift_nor_scale_of_a_feature(data):
    labels, subjects, folds, noise = data
    features = noise + 4 * np.eye(WIDTH)[labels]
    changed = features * 10.0 ** np.arange(-2, WIDTH - 2) + 10 * np.arange(WIDTH)
    assert np.mean(told(changed, labels, subjects, folds) == labels) > 0.95


def test_what_tells_only_the_known_subjects_apart_is_worth_nothing(data):
    labels, subjects, folds, _ = data
    by_subject = np.random.default_rng(1).permuted(np.tile(np.arange(CLASSES), (SUBJECTS, 1)), axis=1)
    features = np.eye(SUBJECTS * CLASSES)[subjects * CLASSES + by_subject[subjects, labels]]
    assert np.mean(told(features, labels, subjects, folds) == labels) < 0.6


def test_every_sample_is_predicted_without_its_own_fold(data):
    labels, subjects, folds, noise = data
    features = noise + 4 * np.eye(WIDTH)[labels]
    swapped = np.where(folds == 2, (labels + 1) % CLASSES, labels)
    predicted = told(features, swapped, subjects, folds)
    assert np.mean(predicted[folds == 2] == labels[folds == 2]) > 0.95


def test_a_subject_in_two_folds_and_too_few_subjects_are_refused(data):
    labels, subjects, folds, noise = data
    with pytest.raises(ValueError, match="subjects 0 are in several folds"):
        told(noise, labels, subjects, np.where(np.arange(len(labels)) == 0, 3, folds))
    with pytest.raises(ValueError, match="leaves 2 subjects"):
        told(noise, labels, subjects, (subjects >= 2).astype(int))
    with pytest.raises(ValueError, match="2 training subjects"):
        fit_predict(noise, np.eye(CLASSES)[labels], subjects % 2, noise, LINEAR, task="classes", seed=0)


def test_an_attentive_probe_finds_the_token_that_tells(data):
    labels, subjects, _, _ = data
    rng = np.random.default_rng(3)
    tokens = rng.normal(size=(len(labels), 16, WIDTH))
    place = rng.integers(0, 16, len(labels))
    tokens[np.arange(len(labels)), place] = 5 * np.eye(WIDTH)[labels] + 5 * np.eye(WIDTH)[-1]
    known, config = subjects < 5, ProbeConfig(kind="attentive", heads=2)
    arguments = tokens[known], np.eye(CLASSES)[labels[known]], subjects[known], tokens[~known]
    score = fit_predict(*arguments, config, task="classes", seed=0)
    assert np.mean(score.argmax(1) == labels[~known]) > 0.95


@pytest.mark.parametrize(
    "config",
    [ProbeConfig(steps=40), NEIGHBOURS, ProbeConfig(kind="attentive", steps=40, heads=1)],
    ids=lambda config: config.kind,
)
@pytest.mark.parametrize("task", ["classes", "multi_label", "regression"])
def test_scores_are_what_the_task_asks_for_and_the_same_for_the_same_seed(data, config, task):
    labels, subjects, _, noise = data
    truth = noise[:, :CLASSES]
    target = {
        "classes": np.eye(CLASSES)[labels],
        "multi_label": (truth > 0).astype(float),
        "regression": 9 * truth + 50,
    }
    features = np.concatenate([noise, 4 * np.eye(CLASSES)[labels]], axis=1)
    features = features[:, None] if config.kind == "attentive" else features
    arguments = features, target[task], subjects, features[::5], config
    torch.manual_seed(0)
    state = torch.get_rng_state()
    score = fit_predict(*arguments, task=task, seed=1)
    assert torch.equal(torch.get_rng_state(), state), "the run that probes draws on as if it did not"
    assert score.shape == (len(features[::5]), CLASSES) and score.dtype == np.float32
    assert np.array_equal(score, fit_predict(*arguments, task=task, seed=1))
    if task == "classes":
        assert np.allclose(score.sum(1), 1) and np.mean(score.argmax(1) == labels[::5]) > 0.9
    elif task == "multi_label":
        assert score.min() >= 0 and score.max() <= 1 and np.mean((score > 0.5) == target[task][::5]) > 0.7
    else:
        close = [np.corrcoef(score[:, k], target[task][::5, k])[0, 1] for k in range(CLASSES)]
        assert min(close) > 0.7 and score.mean() == pytest.approx(50, abs=5)


def test_shares_of_votes_are_learned_as_shares():
    target = np.tile([[0.7, 0.3, 0.0]], (60, 1))
    noise = np.random.default_rng(0).normal(size=(60, 4))
    score = fit_predict(noise, target, np.arange(60), noise, ProbeConfig(steps=20), task="classes", seed=0)
    assert score.mean(0) == pytest.approx([0.7, 0.3, 0.0], abs=0.05)


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_rates_side_by_side_learn_what_each_learns_alone(kind):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, *([5] if kind == "attentive" else []), 6, generator=generator)
    target = torch.eye(CLASSES)[torch.arange(30) % CLASSES]
    rates = (0.03, 0.3, 1.0)

    def trained(some):
        if kind == "linear":
            probe = LinearProbe(some, 6, CLASSES)
        else:
            probe = AttentiveProbe(some, 6, CLASSES, heads=2, generator=torch.Generator().manual_seed(1))
        return train_and_score(probe, x, target, x, task="classes", steps=20)

    together = trained(rates)
    for rate, score in zip(rates, together, strict=True):
        torch.testing.assert_close(trained((rate,))[0], score, atol=1e-4, rtol=1e-4)
    assert (together[0] - together[2]).abs().max() > 0.1


def test_a_step_is_one_of_adam_at_the_rate_told():
    x, target = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)), torch.eye(3)[torch.arange(30) % 3]
    layer = torch.nn.Linear(6, 3)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    normed = (x - x.mean(0)) / (x.std(0, correction=0) + 1e-5) / 6**0.5
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(normed), target).backward()
        optimizer.step()
        schedule.step()
    probe = train_and_score(LinearProbe((0.1, 0.3), 6, 3), x, target, x, task="classes", steps=10)
    torch.testing.assert_close(probe[1], layer(normed).softmax(-1), atol=1e-4, rtol=1e-4)


def test_the_rate_is_chosen_by_subjects_that_are_held_out(data):
    labels, subjects, _, noise = data
    features = torch.tensor(noise + 4 * np.eye(WIDTH)[labels], dtype=torch.float32)
    config = ProbeConfig(learning_rates=(1e-9, 0.3), steps=30)
    target = torch.eye(CLASSES)[labels]
    assert _best_rate(features, target, subjects, config, task="classes", seed=0) == 0.3


def test_fewer_samples_than_neighbours_all_vote():
    features, target = np.eye(3), np.eye(3)
    score = fit_predict(features, target, np.arange(3), features, NEIGHBOURS, task="classes", seed=0)
    weight = np.exp(np.eye(3) / 0.07)
    assert score == pytest.approx(weight / weight.sum(1, keepdims=True), abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"steps": 0}, "steps=0"),
        ({"learning_rates": ()}, "learning_rates"),
        ({"kind": "knn", "steps": 5}, "steps has no effect on a probe of kind=knn"),
        ({"neighbours": 5}, "neighbours has no effect on a probe of kind=linear"),
        ({"heads": 2}, "heads has no effect"),
    ],
)
def test_options_that_are_wrong_or_without_effect_are_refused(changed, problem):
    with pytest.raises(ValueError, match=problem):
        ProbeConfig(**changed)


def test_features_of_another_shape_or_not_finite_are_refused(data):
    labels, subjects, _, noise = data
    for features in (noise[:, None], np.full_like(noise, np.nan)):
        with pytest.raises(ValueError, match="reads 2 axes of finite numbers"):
            fit_predict(features, np.eye(CLASSES)[labels], subjects, features, LINEAR, task="classes", seed=0)

"""Smoothing agrees with its definition, keeps what probabilities are, and is chosen by a metric."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax

from models.smoothing import (
    EMOTIC,
    NETEASE,
    AverageFilter,
    GaussianFilter,
    MajorityVote,
    MedianFilter,
    choose,
    read_filters,
    smooth,
)

ROOT = Path(__file__).parents[2]
LENGTHS = (1, 2, 3, 7, 60)
WINDOWS = (2, 3, 4, 10, 25)


def shares(frames: int, *, seed: int = 0, classes: int = 4) -> np.ndarray:
    return softmax(3 * np.random.default_rng(seed).normal(size=(frames, classes)), axis=1)


def seen(values_NK: np.ndarray, before: int, after: int) -> np.ndarray:
    """What lies around every frame, [N, before + 1 + after, K], the video mirrored beyond its ends, again and again."""
    frames = len(values_NK)
    index_NW = np.arange(frames)[:, None] + np.arange(-before, after + 1)
    index_NW %= 2 * frames
    return values_NK[np.where(index_NW < frames, index_NW, 2 * frames - 1 - index_NW)]


def window_seen(values_NK: np.ndarray, window: int) -> np.ndarray:
    return seen(values_NK, window // 2, window - window // 2 - 1)


@pytest.mark.parametrize("sigma", [0.7, 5, 25])
def test_a_gaussian_filter_is_the_mean_weighed_by_a_gaussian(sigma):
    radius = int(4 * sigma + 0.5)
    weight_W = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    for frames in LENGTHS:
        score_NK = np.random.default_rng(frames).normal(size=(frames, 3))
        expected = np.einsum("w,nwk->nk", weight_W / weight_W.sum(), seen(score_NK, radius, radius))
        np.testing.assert_allclose(smooth(score_NK, [GaussianFilter(sigma)], "regression"), expected, atol=1e-12)


@pytest.mark.parametrize("window", WINDOWS)
def test_an_average_filter_is_the_mean_of_a_window(window):
    for frames in LENGTHS:
        score_NK = np.random.default_rng(frames).normal(size=(frames, 3))
        expected = window_seen(score_NK, window).mean(1)
        np.testing.assert_allclose(smooth(score_NK, [AverageFilter(window)], "regression"), expected, atol=1e-12)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_median_filter_is_the_median_of_a_window_the_upper_of_two(window):
    for frames in LENGTHS:
        score_NK = np.random.default_rng(frames).normal(size=(frames, 3))
        expected = np.sort(window_seen(score_NK, window), axis=1)[:, window // 2]
        np.testing.assert_array_equal(smooth(score_NK, [MedianFilter(window)], "regression"), expected)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_vote_gives_every_frame_the_class_of_most_in_its_window(window):
    for frames in LENGTHS:
        score_NK = shares(frames, seed=frames)
        votes_NK = window_seen(np.eye(4)[score_NK.argmax(1)], window).sum(1)
        mean_NK = window_seen(score_NK, window).mean(1)
        # Means are below 1, so they decide between equal votes alone.
        expected = np.eye(4)[(votes_NK + 0.5 * mean_NK).argmax(1)]
        np.testing.assert_array_equal(smooth(score_NK, [MajorityVote(window)], "classes"), expected)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_vote_on_several_labels_is_one_on_each(window):
    for frames in LENGTHS:
        score_NK = np.random.default_rng(frames).random((frames, 3))
        share_NK = window_seen((score_NK >= 0.5).astype(float), window).mean(1)
        mean_NK = window_seen(score_NK, window).mean(1)
        expected = np.where(share_NK == 0.5, mean_NK >= 0.5, share_NK > 0.5)
        np.testing.assert_array_equal(smooth(score_NK, [MajorityVote(window)], "multi_label"), expected)


def test_a_blink_of_another_class_is_voted_down_at_the_ends_too():
    score_NK = np.repeat([[0.9, 0.1]], 100, axis=0)
    score_NK[[0, 1, 30, 99]] = 0.2, 0.8
    assert smooth(score_NK, [MajorityVote(50)], "classes")[:, 0].tolist() == [1] * 100


CHAINS = [
    *(("gaussian:5",), ("median:10",), ("average:10",), ("majority:6",)),
    *(("median:10", "gaussian:5"), ("majority:6", "average:10"), ("majority:2", "median:3")),
]


@pytest.mark.parametrize("words", CHAINS)
def test_probabilities_of_classes_stay_probabilities(words):
    for seed in range(5):
        found = smooth(shares(80, seed=seed, classes=8), read_filters(words), "classes")
        assert found.dtype == np.float64 and found.min() >= 0
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


@pytest.mark.parametrize("words", CHAINS)
def test_probabilities_of_labels_stay_between_0_and_1(words):
    score_NK = np.where(np.random.default_rng(0).random((80, 12)) < 0.5, 0.0, 1.0)
    found = smooth(score_NK, read_filters(words), "multi_label")
    assert -1e-12 <= found.min() and found.max() <= 1 + 1e-12


def test_where_every_median_is_zero_the_scores_stay():
    score_NK = np.eye(3)[np.arange(9) % 3]
    np.testing.assert_array_equal(smooth(score_NK, [MedianFilter(3)], "classes")[1:-1], score_NK[1:-1])


def test_without_a_filter_scores_come_back_as_they_are():
    score_NK = shares(5).astype(np.float32)
    assert smooth(score_NK, (), "classes") is score_NK


def test_the_filters_of_a_chain_follow_each_other():
    score_NK = np.random.default_rng(3).normal(size=(40, 2))
    first, second = read_filters(("median:5", "gaussian:2"))
    step_by_step = smooth(smooth(score_NK, [first], "regression"), [second], "regression")
    np.testing.assert_array_equal(smooth(score_NK, [first, second], "regression"), step_by_step)
    assert not np.allclose(smooth(score_NK, [second, first], "regression"), step_by_step)


def test_scores_that_are_smoothed_are_left_as_they_were():
    score_NK = shares(30)
    copy = score_NK.copy()
    for words in CHAINS:
        smooth(score_NK, read_filters(words), "classes")
    np.testing.assert_array_equal(score_NK, copy)


def test_half_precision_is_smoothed_in_double():
    score_NK = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float16)
    expected = smooth(score_NK.astype(np.float64), [AverageFilter(10)], "regression")
    np.testing.assert_array_equal(smooth(score_NK, [AverageFilter(10)], "regression"), expected)


@pytest.mark.parametrize(
    ("score_NK", "task", "words"),
    [
        ([[0.5, np.nan]], "regression", "fill missing frames"),
        ([[2.0, -1.0]], "classes", "softmax"),
        ([[0.9, 0.9]], "classes", "softmax"),
        ([[1.4, 0.2]], "multi_label", "sigmoid"),
        ([[0.5, 0.5]], "affect", "several tasks"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(score_NK, task, words):
    with pytest.raises(ValueError, match=words):
        smooth(np.array(score_NK), [AverageFilter(2)], task)


def test_values_are_not_voted_on():
    with pytest.raises(ValueError, match="votes on labels"):
        smooth(np.zeros((4, 2)), [MajorityVote(2)], "regression")


def test_the_values_of_netease_stand_as_printed():
    printed = {"gaussian": (5, 25, 25), "median": (10, 25, 50), "average": (10, 25, 50)}
    found = {row: tuple(read_filters(chains[task]) for task in ("au", "expr", "va")) for row, chains in NETEASE.items()}
    assert found.pop("none") == ((), (), ())
    kinds = {"gaussian": GaussianFilter, "median": MedianFilter, "average": AverageFilter}
    assert found == {row: tuple((kinds[row](number),) for number in numbers) for row, numbers in printed.items()}
    assert read_filters(EMOTIC) == (MajorityVote(50),)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("mean:3", "there are gaussian, median, average, majority"),
        ("median", "say a number of frames, as in median:10"),
        ("median:2.5", "say a number of frames"),
        ("median:1", "at least 2 frames"),
        ("gaussian:0", "positive number"),
        ("gaussian:nan", "positive number"),
        ("gaussian:inf", "positive number"),
    ],
)
def test_a_filter_that_is_none_is_refused(word, told):
    with pytest.raises(ValueError, match=told) as error:
        read_filters([word])
    assert word in str(error.value)


def flickering(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two videos of lasting expressions, a third of them without annotation, and noisy probabilities of them."""
    rng = np.random.default_rng(seed)
    targets, scores = [], []
    for frames in (200, 300):
        target_NK = np.eye(3)[np.repeat(rng.integers(0, 3, frames // 50), 50)]
        scores.append(softmax(2 * target_NK + 2 * rng.normal(size=target_NK.shape), axis=1))
        target_NK[rng.random(frames) < 0.3] = np.nan
        targets.append(target_NK)
    return scores, targets


def test_the_chain_that_scores_best_is_chosen():
    scores, targets = flickering(0)
    candidates = [read_filters(words) for words in ((), ("average:10",), ("average:400",))]
    assert choose(candidates, scores, targets, task="classes", metric="f1_macro") == 1


def test_of_equally_good_chains_the_shortest_is_chosen_then_the_first():
    target_NK = np.repeat(np.eye(2), 50, axis=0)
    score_NK = 0.1 + 0.8 * target_NK
    words = [("median:5", "median:3"), ("median:3",), ("median:5",)]
    columns = [score_NK], [target_NK]
    assert choose([read_filters(w) for w in words], *columns, task="classes", metric="accuracy") == 1
    assert choose([*(read_filters(w) for w in words), ()], *columns, task="classes", metric="accuracy") == 3


def test_of_errors_the_smallest_is_best():
    target_NK = np.sin(np.arange(400) / 60)[:, None]
    score_NK = target_NK + 0.5 * np.random.default_rng(0).normal(size=target_NK.shape)
    candidates = [(), read_filters(["gaussian:10"])]
    assert choose(candidates, [score_NK], [target_NK], task="regression", metric="mae") == 1
    assert choose(candidates, [score_NK], [target_NK], task="regression", metric="ccc") == 1


def test_videos_are_smoothed_one_by_one_and_scored_together():
    """Smoothed across their border, two constant videos would be blurred; scored one by one, their CCC is 0."""
    targets = [np.full((20, 1), -1.0), np.full((20, 1), 1.0)]
    scores = [targets[0] + 0.1 * np.random.default_rng(0).normal(size=(20, 1)), targets[1].copy()]
    assert choose([(), read_filters(["average:20"])], scores, targets, task="regression", metric="ccc") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "ccc"}, "metric=ccc is none of task=classes"),
        ({"candidates": []}, "no chain"),
        ({"target_VNK": [np.full((4, 2), np.nan)]}, "no frame of the validation videos is annotated"),
    ],
)
def test_there_must_be_something_to_choose_from_and_by(change, words):
    known = {"candidates": [()], "score_VNK": [shares(4, classes=2)], "target_VNK": [np.eye(2)[[0, 1, 0, 1]]]}
    with pytest.raises(ValueError, match=words):
        choose(**(known | {"task": "classes", "metric": "accuracy"} | change))


def test_sigmoids_of_single_precision_are_probabilities():
    score_NK = expit(np.random.default_rng(0).normal(size=(10, 12)).astype(np.float32) * 30)
    assert smooth(score_NK, [GaussianFilter(5)], "multi_label").shape == (10, 12)


def test_configs_are_made_without_scipy():
    code = "import sys; from models.smoothing import read_filters; read_filters(['median:3']); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in run.stdout.split()} & {"scipy", "torch"}

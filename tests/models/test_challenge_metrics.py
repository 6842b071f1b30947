"""The challenges' scores agree with scikit-learn, scipy and plain definitions in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import f1_score

from models.challenge_metrics import best_thresholds, challenge_score, multi_task_score

FRAMES = 300


def expressions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of 8 expressions of which the last never occurs; a quarter without annotation."""
    rng = np.random.default_rng(seed)
    target_NK = np.eye(8)[rng.integers(0, 7, FRAMES)]
    score_NK = rng.random((FRAMES, 8)) + 0.5 * target_NK
    target_NK[rng.random(FRAMES) < 0.25] = np.nan
    return target_NK, score_NK / score_NK.sum(1, keepdims=True)


def units(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of 12 units, of which the last never occurs; in a quarter of them a random one is not annotated."""
    rng = np.random.default_rng(seed)
    target_NK = (rng.random((FRAMES, 12)) < np.linspace(0.6, 0, 12)).astype(float)
    score_NK = np.clip(0.4 * target_NK + 0.7 * rng.random((FRAMES, 12)), 0, 1)
    target_NK[np.flatnonzero(rng.random(FRAMES) < 0.25), rng.integers(12)] = np.nan
    return target_NK, score_NK


def values(seed: int, dimensions: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target_NK = np.cumsum(rng.normal(size=(FRAMES, dimensions)), axis=0) / 20
    score_NK = 0.7 * target_NK + 0.3 * rng.normal(size=target_NK.shape) + 0.1
    target_NK[rng.random(FRAMES) < 0.25] = np.nan
    return target_NK, score_NK


def known(target_NK: np.ndarray, score_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = [i for i, row in enumerate(target_NK) if not any(np.isnan(number) for number in row)]
    return target_NK[rows], score_NK[rows]


def ccc(true_N: np.ndarray, told_N: np.ndarray) -> float:
    covariance = np.cov(true_N, told_N, bias=True)
    return 2 * covariance[0, 1] / (covariance.trace() + (true_N.mean() - told_N.mean()) ** 2)


@pytest.mark.parametrize("seed", range(10))
def test_the_score_of_expressions_is_their_mean_f1(seed):
    target_NK, score_NK = expressions(seed)
    true_MK, told_MK = known(target_NK, score_NK)
    labels = true_MK.argmax(1), told_MK.argmax(1)
    found = challenge_score("expr", target_NK, score_NK)
    every = {"labels": range(8), "zero_division": 0}
    np.testing.assert_allclose(found.part_K, f1_score(*labels, average=None, **every), atol=1e-12)
    assert found.score == pytest.approx(f1_score(*labels, average="macro", **every), abs=1e-12)
    assert (found.frames, found.threshold_K) == (len(true_MK), None)


@pytest.mark.parametrize("seed", range(10))
def test_the_score_of_units_is_their_mean_f1_from_the_threshold_on(seed):
    target_NK, score_NK = units(seed)
    true_MK, told_MK = known(target_NK, score_NK)
    for threshold_K in (None, np.random.default_rng(seed).random(12)):
        expected = f1_score(
            true_MK, told_MK >= (0.5 if threshold_K is None else threshold_K), average=None, zero_division=0
        )
        found = challenge_score("au", target_NK, score_NK, threshold_K=threshold_K)
        np.testing.assert_allclose(found.part_K, expected, atol=1e-12)
        assert found.score == pytest.approx(expected.mean(), abs=1e-12)
        assert found.threshold_K.tolist() == ([0.5] * 12 if threshold_K is None else threshold_K.tolist())


@pytest.mark.parametrize("seed", range(10))
def test_the_score_of_valence_and_arousal_is_the_mean_of_two_ccc(seed):
    target_NK, score_NK = values(seed)
    true_MK, told_MK = known(target_NK, score_NK)
    expected = [ccc(true_MK[:, k], told_MK[:, k]) for k in range(2)]
    found = challenge_score("va", target_NK, score_NK)
    np.testing.assert_allclose(found.part_K, expected, atol=1e-12)
    assert found.score == pytest.approx(0.5 * sum(expected), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_the_score_of_reactions_is_the_mean_pcc(seed):
    target_NK, score_NK = values(seed, 7)
    true_MK, told_MK = known(target_NK, score_NK)
    expected = [pearsonr(true_MK[:, k], told_MK[:, k]).statistic for k in range(7)]
    found = challenge_score("eri", target_NK, score_NK)
    np.testing.assert_allclose(found.part_K, expected, atol=1e-12)
    assert found.score == pytest.approx(np.mean(expected), abs=1e-12)


def test_the_multi_task_score_is_the_sum_of_three():
    scores = {
        "au": challenge_score("au", *units(0)),
        "va": challenge_score("va", *values(0)),
        "expr": challenge_score("expr", *expressions(0)),
    }
    assert multi_task_score(scores) == pytest.approx(sum(one.score for one in scores.values()), abs=1e-12)
    with pytest.raises(ValueError, match="given: au, va"):
        multi_task_score({name: scores[name] for name in ("au", "va")})


def test_one_unit_without_annotation_leaves_the_frame_out():
    target_NK, score_NK = np.ones((3, 12)), np.ones((3, 12))
    target_NK[1, 5], score_NK[1] = np.nan, 0
    found = challenge_score("au", target_NK, score_NK)
    assert (found.score, found.frames) == (1, 2)


def every_f1(is_there_N: np.ndarray, score_N: np.ndarray) -> dict[float, float]:
    """F1 of every threshold that tells something else, by threshold."""
    return {
        threshold: f1_score(is_there_N, score_N >= threshold, zero_division=0)
        for threshold in [*np.unique(score_N), 2.0]
    }


@pytest.mark.parametrize("seed", range(30))
def test_no_threshold_has_a_larger_f1_than_the_one_that_is_found(seed):
    rng = np.random.default_rng(seed)
    target_N1 = (rng.random((40, 1)) < 0.3).astype(float)
    # Rounded scores are often equal, and some of them are 0, 0.5 or 1.
    score_N1 = np.round(np.clip(0.3 * target_N1 + rng.random((40, 1)) - 0.1, 0, 1), 1 + seed % 3)
    (threshold,) = best_thresholds(target_N1, score_N1)
    reached = f1_score(target_N1[:, 0], score_N1[:, 0] >= threshold, zero_division=0)
    assert reached == pytest.approx(max(every_f1(target_N1[:, 0], score_N1[:, 0]).values()), abs=1e-12)
    assert 0 <= threshold <= 1


@pytest.mark.parametrize(
    ("target_N", "score_N", "expected"),
    [
        ([1, 1, 0, 0], [0.9, 0.8, 0.1, 0.2], 0.5),  # among those that tell the same
        ([1, 1, 0, 0], [0.9, 0.8, 0.7, 0.2], 0.75),  # the middle
        ([1, 1, 0, 0], [0.4, 0.3, 0.1, 0.2], 0.25),
        ([0, 0, 0, 0], [0.4, 0.3, 0.1, 0.2], 0.5),  # never there
        ([1, 1, 1, 1], [0.4, 0.3, 0.1, 0.2], 0.05),  # always there
        ([1, 1, 1, 1], [0.4, 0.3, 0.0, 0.2], 0.0),
        ([1, 0, 1, 1], [1.0, 0.9, 0.2, 0.7], 0.1),  # 6 / 7
        ([1, 0, 0, 1, 0], [0.84, 0.8, 0.7, 0.2, 0.1], 0.82),  # 2 / 3, as with 0.15, which is further from 0.5
        ([1, 0], [np.nextafter(0.7, 1), 0.7], np.nextafter(0.7, 1)),  # nothing lies between
    ],
)
def test_of_equal_thresholds_that_near_to_a_half_is_found(target_N, score_N, expected):
    assert best_thresholds(np.array([target_N]).T, np.array([score_N]).T)[0] == pytest.approx(expected, abs=1e-15)


def test_thresholds_are_found_for_each_unit_over_annotated_frames():
    target_NK, score_NK = units(0)
    found_K = best_thresholds(target_NK, score_NK)
    true_MK, told_MK = known(target_NK, score_NK)
    assert found_K.tolist() == [best_thresholds(true_MK[:, [k]], told_MK[:, [k]])[0] for k in range(12)]
    best = challenge_score("au", target_NK, score_NK, threshold_K=found_K)
    assert np.all(best.part_K >= challenge_score("au", target_NK, score_NK).part_K)
    assert best.score > challenge_score("au", target_NK, score_NK).score


def test_scores_of_single_precision_are_told_apart_as_they_were_when_the_threshold_was_found():
    target_N1 = np.array([[1.0], [0.0]])
    score_N1 = np.array([[np.nextafter(np.float32(0.7), np.float32(1))], [0.7]], np.float32)
    threshold_K = best_thresholds(target_N1, score_N1)
    assert challenge_score("au", target_N1, score_N1, threshold_K=threshold_K).score == 1


def test_what_cannot_be_scored_is_refused():
    target_NK, score_NK = values(0)
    with pytest.raises(ValueError, match="none of 300 frames"):
        challenge_score("va", np.full_like(target_NK, np.nan), score_NK)
    with pytest.raises(ValueError, match="none of 300 frames"):
        best_thresholds(np.full_like(target_NK, np.nan), score_NK)
    with pytest.raises(ValueError, match="no effect on challenge=va"):
        challenge_score("va", target_NK, score_NK, threshold_K=np.full(2, 0.5))
    score_NK[[3, 7], 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 frames have scores that are not finite"):
        challenge_score("va", target_NK, score_NK)

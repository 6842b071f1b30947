"""Videos one by one: what is told of each is what it would be told of it alone."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from models.challenge_metrics import challenge_score
from models.video_diagnosis import diagnose


def mixed(num_videos: int = 3, frames: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Names of videos whose frames are dealt out at random, and whether each frame has a picture."""
    rng = np.random.default_rng(0)
    names = np.array([f"video_{v}" for v in range(num_videos)])
    return rng.permutation(np.repeat(names, frames)), rng.random(num_videos * frames) < 0.8


def longest(is_wrong: np.ndarray) -> int:
    return max((len(list(run)) for wrong, run in groupby(is_wrong) if wrong), default=0)


def changes(label_N: np.ndarray) -> int:
    return sum(before != after for before, after in zip(label_N, label_N[1:], strict=False))


def test_expressions_are_scored_by_those_that_occur_in_a_video():
    rng = np.random.default_rng(1)
    video_N, present_N = mixed()
    label_N, told_N = rng.integers(0, 3, len(video_N)), rng.integers(0, 8, len(video_N))
    target_NK, annotated_N = np.eye(8)[label_N], rng.random(len(video_N)) < 0.7
    target_NK[~annotated_N] = np.nan
    found = diagnose("expr", target_NK, np.eye(8)[told_N], video_N, present_N)
    assert [one.video for one in found] == ["video_0", "video_1", "video_2"]
    for one in found:
        own = video_N == one.video
        true, told = label_N[own & annotated_N], told_N[own & annotated_N]
        assert (one.frames, one.annotated) == (60, len(true))
        assert one.missing == pytest.approx(1 - present_N[own].mean())
        f1_K = f1_score(true, told, labels=range(8), average=None, zero_division=0)
        assert one.part_K == (*(pytest.approx(f1) for f1 in f1_K[:3]), *[None] * 5)
        assert one.score == pytest.approx(f1_K[:3].mean())
        assert one.accuracy == pytest.approx(accuracy_score(true, told))
        assert one.longest_error == longest(true != told) > 1
        assert (one.changes, one.changes_told) == (changes(true), changes(told))
        assert one.distance_K is None and one.bias_K is None


def test_units_are_scored_by_those_that_occur_and_each_of_them_errs_by_itself():
    rng = np.random.default_rng(2)
    video_N, present_N = mixed()
    target_NK = np.where(rng.random((len(video_N), 4)) < (0.5, 0.3, 0.1, 0), 1.0, 0.0)
    score_NK, threshold_K = rng.random(target_NK.shape), np.array([0.2, 0.5, 0.8, 0.9])
    for one in diagnose("au", target_NK, score_NK, video_N, present_N, threshold_K=threshold_K):
        true, told = target_NK[video_N == one.video] == 1, (score_NK >= threshold_K)[video_N == one.video]
        f1_K = f1_score(true, told, average=None, zero_division=0)
        assert one.part_K == (*(pytest.approx(f1) for f1 in f1_K[:3]), None)
        assert one.score == pytest.approx(f1_K[:3].mean())
        assert one.accuracy == pytest.approx((true == told).mean())
        assert one.longest_error == max(longest(wrong) for wrong in (true != told).T)
        assert one.changes_told == sum(changes(label) for label in told.T)
        assert one.changes == sum(changes(label) for label in true.T)


def test_action_units_are_there_from_a_half_on_unless_thresholds_are_given():
    target_NK = np.array([[1.0, 0.0], [0.0, 1.0]])
    (found,) = diagnose("au", target_NK, np.array([[0.5, 0.4], [0.4, 0.5]]), np.zeros(2, str), np.ones(2, bool))
    assert (found.score, found.accuracy, found.longest_error) == (1, 1, 0)


def test_values_are_scored_by_those_that_vary():
    rng = np.random.default_rng(3)
    video_N, present_N = mixed()
    target_NK = rng.normal(size=(len(video_N), 2))
    target_NK[video_N == "video_1", 1] = 0.25
    score_NK = target_NK + rng.normal(size=target_NK.shape) + (0.1, -0.2)
    for one in diagnose("va", target_NK, score_NK, video_N, present_N):
        own = video_N == one.video
        alone = challenge_score("va", target_NK[own], score_NK[own])
        varies = 1 if one.video == "video_1" else 2
        expected = [*map(pytest.approx, alone.part_K[:varies]), *[None] * (2 - varies)]
        assert list(one.part_K) == expected
        assert one.score == pytest.approx(alone.part_K[:varies].mean())
        apart_NK = score_NK[own] - target_NK[own]
        assert one.distance_K == pytest.approx(np.abs(apart_NK).mean(0)) and one.bias_K == pytest.approx(
            apart_NK.mean(0)
        )
        assert one.accuracy is one.longest_error is one.changes is one.changes_told is None


def test_of_a_video_without_annotation_its_frames_are_told():
    target_NK = np.array([[np.nan, np.nan], [0.5, 0.5], [0.2, 0.5]])
    present_N = np.array([False, True, True])
    nothing, something = diagnose("va", target_NK, np.zeros((3, 2)), np.array(["a", "b", "b"]), present_N)
    assert (nothing.frames, nothing.annotated, nothing.missing) == (1, 0, 1)
    assert nothing.part_K == (None, None) and nothing.score is nothing.distance_K is None
    assert (something.annotated, something.missing, something.score) == (2, 0, 0)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 frames have scores that are not finite"):
        diagnose("va", np.zeros((2, 2)), np.array([[0, np.nan], [0, 0]]), np.zeros(2, str), np.ones(2, bool))

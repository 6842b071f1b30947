"""What a face did is told without its pixels, and whatever hides the face has no influence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models import au_sequence
from models.au_sequence import Sequences, fit_predict

STEPS, NUMBERS, CLASSES, VIDEOS = 8, 6, 3, 60


@pytest.fixture(scope="module")
def data() -> tuple[Sequences, np.ndarray]:
    """Class 0 rises, class 1 falls and class 2 stays: no step alone tells, nor does the mean."""
    rng = np.random.default_rng(0)
    label_N = np.arange(VIDEOS) % CLASSES
    slope_NS = np.array([1.0, -1.0, 0.0])[label_N, None] * np.linspace(-1, 1, STEPS)
    x_NSF = 0.2 * rng.normal(size=(VIDEOS, STEPS, NUMBERS)) + rng.normal(size=(VIDEOS, 1, NUMBERS))
    x_NSF[..., 0] += 2 * slope_NS
    return Sequences(x_NSF.astype(np.float32), rng.random((VIDEOS, STEPS)) < 0.9), label_N


@pytest.fixture
def soon_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not matter how much is learned."""
    monkeypatch.setattr(au_sequence, "_MOST_STEPS", 6)


def scores(data: tuple[Sequences, np.ndarray], test: Sequences, *, seed: int = 0) -> np.ndarray:
    sequences, label_N = data
    return fit_predict(sequences, np.eye(CLASSES)[label_N], test, task="classes", seed=seed)


def halves(data: tuple[Sequences, np.ndarray]) -> tuple[tuple[Sequences, np.ndarray], Sequences, np.ndarray]:
    sequences, label_N = data
    known, unknown = np.arange(VIDEOS) < 42, np.arange(VIDEOS) >= 42
    return (sequences.take(known), label_N[known]), sequences.take(unknown), label_N[unknown]


def test_movements_are_told_of_new_videos(data):
    train, test, label_M = halves(data)
    assert np.mean(scores(train, test).argmax(1) == label_M) > 0.85


def test_what_is_written_where_no_face_is_shown_changes_nothing(data, soon_done):
    (sequences, label_N), test, _ = halves(data)
    noisy = [
        one._replace(x_NSF=np.where(one.valid_NS[..., None], one.x_NSF, np.float32(1e6))) for one in (sequences, test)
    ]
    assert np.array_equal(scores((noisy[0], label_N), noisy[1]), scores((sequences, label_N), test))


def test_a_video_without_a_face_is_given_the_shares_of_the_training_videos(data):
    sequences, label_N = data
    rare = np.flatnonzero((label_N != 2) | (np.arange(VIDEOS) < 6))
    train = sequences.take(rare), label_N[rare]
    hidden = sequences.take(np.arange(4))._replace(valid_NS=np.zeros((4, STEPS), bool))
    score_MK = scores(train, hidden)
    assert np.ptp(score_MK, axis=0).max() < 1e-6
    assert score_MK.sum(1) == pytest.approx(1, abs=1e-5)
    assert score_MK[0] == pytest.approx(np.bincount(train[1]) / len(rare), abs=0.25)


def test_a_seed_gives_the_same_scores_and_leaves_the_generator_as_it_was(data, soon_done):
    train, test, _ = halves(data)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = scores(train, test, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    assert np.array_equal(scores(train, test, seed=1), first)
    assert not np.array_equal(scores(train, test, seed=2), first)


def test_several_labels_are_probabilities_and_values_keep_their_scale(data):
    sequences, label_N = data
    slope_N1 = np.array([1.0, -1.0, 0.0])[label_N, None]
    train = sequences, np.concatenate([slope_N1 > 0, slope_N1 < 0], axis=1).astype(float)
    share_NK = fit_predict(*train, sequences, task="multi_label", seed=0)
    assert share_NK.min() >= 0 and share_NK.max() <= 1
    assert ((share_NK > 0.5) == train[1]).mean() > 0.9
    value_NK = fit_predict(sequences, 100 + 10 * slope_N1, sequences, task="regression", seed=0)
    assert np.abs(value_NK - 100 - 10 * slope_N1).mean() < 3
    assert {share_NK.dtype, value_NK.dtype} == {np.dtype(np.float32)}


def test_numbers_that_are_not_finite_and_videos_without_any_face_are_refused(data):
    sequences, label_N = data
    with pytest.raises(ValueError, match="not finite"):
        scores(data, sequences._replace(x_NSF=np.full_like(sequences.x_NSF, np.nan)))
    with pytest.raises(ValueError, match="none of the 60 training videos shows a face"):
        scores((sequences._replace(valid_NS=np.zeros_like(sequences.valid_NS)), label_N), sequences)

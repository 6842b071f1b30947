from __future__ import annotations

import numpy as np
import pytest

from pipelines.action_units import ACTION_UNITS, FEATURES, Baseline, active_units, baseline_of, features, score
from pipelines.landmarks import flip_landmarks
from tests.pipelines.head_samples import acted, head, pulse, turned

FRAMES = 60
ACTS = slice(20, 35)


def scores(landmarks_T68C: np.ndarray) -> np.ndarray:
    features_TF = features(landmarks_T68C)
    return score(features_TF, baseline_of([features_TF]))


def shaken(landmarks_T68C: np.ndarray, seed: int = 0) -> np.ndarray:
    """Every frame at another place, in another size and direction of the picture."""
    rng = np.random.default_rng(seed)
    frames = []
    for landmarks_68C in landmarks_T68C:
        angle, size = rng.uniform(-np.pi, np.pi), rng.uniform(20, 300)
        moved_68C = size * landmarks_68C
        moved_68C[:, :2] = moved_68C[:, :2] @ np.array(
            ((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle)))
        )
        moved_68C[:, :2] += rng.uniform(-500, 500, 2)
        frames.append(moved_68C)
    return np.stack(frames)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_a_movement_activates_its_unit_while_it_lasts(unit: int, dimensions: int) -> None:
    track = scores(acted(unit, pulse(FRAMES, ACTS.start, ACTS.stop))[..., :dimensions])[:, ACTION_UNITS.index(unit)]
    assert (track[ACTS] >= 1).all()
    assert track[: ACTS.start - 2].max() == 0 and track[ACTS.stop + 2 :].max() == 0


@pytest.mark.parametrize("unit", [1, 2, 5, 12, 25, 26, 45])
def test_a_stronger_movement_scores_higher(unit: int) -> None:
    weak, strong = (
        scores(acted(unit, size * pulse(FRAMES, 20, 35)))[27, ACTION_UNITS.index(unit)] for size in (0.35, 0.8)
    )
    assert 0 < weak < strong <= 5


def test_a_face_at_rest_with_noise_shows_nothing() -> None:
    rng = np.random.default_rng(0)
    still = head() + rng.normal(0, 0.003, (300, 68, 3))
    track = scores(still)
    assert not active_units(track, np.ones(300, bool)).any()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_place_size_and_direction_of_the_face_do_not_matter(dimensions: int) -> None:
    track = acted(12, pulse(FRAMES, 20, 35))[..., :dimensions]
    np.testing.assert_allclose(scores(shaken(track)), scores(track), atol=1e-4)


def test_turning_the_head_does_not_matter_where_depth_is_known() -> None:
    track = acted(26, pulse(FRAMES, 20, 35))
    rng = np.random.default_rng(0)
    moving = np.stack([turned(face, *rng.uniform(-25, 25, 3)) for face in track])
    np.testing.assert_allclose(scores(moving), scores(track), atol=1e-4)


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_a_mirrored_face_scores_the_same(unit: int) -> None:
    rng = np.random.default_rng(unit)
    track = 90 * acted(unit, pulse(FRAMES, 20, 35)) + rng.normal(0, 1, (FRAMES, 68, 3))
    np.testing.assert_allclose(scores(flip_landmarks(track, 224)), scores(track), atol=1e-4)


def test_a_peak_of_two_frames_is_no_action() -> None:
    mouth = ACTION_UNITS.index(45)
    assert scores(acted(45, pulse(FRAMES, 20, 22)))[:, mouth].max() == 0
    assert scores(acted(45, pulse(FRAMES, 20, 23)))[:, mouth].max() >= 1


def test_frames_without_a_face_score_nothing_and_change_nothing_else() -> None:
    track = acted(12, pulse(FRAMES, 20, 35))
    whole = scores(track)
    track[40:50] = np.nan
    broken = scores(track)
    assert (broken[40:50] == 0).all()
    np.testing.assert_allclose(np.delete(broken, np.s_[40:50], 0), np.delete(whole, np.s_[40:50], 0), atol=1e-4)
    assert np.isnan(features(track)[40:50]).all()


def test_a_face_that_is_never_found_scores_nothing() -> None:
    lost = features(np.full((9, 68, 3), np.nan))
    assert (score(lost, baseline_of([features(head()[None])])) == 0).all()


def test_turned_heads_need_half_as_much_again() -> None:
    features_TF = features(acted(12, pulse(FRAMES, 20, 35)))
    rest = baseline_of([features_TF])
    ahead, away = score(features_TF, rest), score(features_TF, rest, np.ones(FRAMES, bool))
    np.testing.assert_allclose(away[27], ahead[27] / 1.5, rtol=1e-5)


def test_an_expression_held_throughout_shows_against_another_clip_at_rest() -> None:
    smiling = features(acted(12, np.ones(FRAMES)))
    rest = baseline_of([features(np.repeat(head()[None], 50, 0))])
    assert score(smiling, rest)[:, ACTION_UNITS.index(12)].min() >= 1
    assert scores(acted(12, np.ones(FRAMES)))[:, ACTION_UNITS.index(12)].max() == 0


def test_a_baseline_leaves_out_frames_that_do_not_count() -> None:
    good, bad = np.ones((5, len(FEATURES))), np.full((9, len(FEATURES)), 100.0)
    lost = np.full((9, len(FEATURES)), np.nan)
    rest = baseline_of([good, bad, lost], [np.ones(5, bool), np.zeros(9, bool), np.ones(9, bool)])
    np.testing.assert_array_equal(rest.values, np.ones(len(FEATURES), np.float32))


def test_a_baseline_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        baseline_of([np.full((3, len(FEATURES)), np.nan)])
    with pytest.raises(ValueError, match="17 finite numbers"):
        Baseline(np.zeros(16))


def test_a_unit_is_active_in_a_tenth_of_the_frames_and_in_two() -> None:
    shown = np.zeros((40, 18), np.float32)
    shown[:4, 0], shown[:3, 1] = 1.0, 5.0
    valid = np.ones(40, bool)
    np.testing.assert_array_equal(np.flatnonzero(active_units(shown, valid)), [0])
    np.testing.assert_array_equal(np.flatnonzero(active_units(shown[:8], valid[:8])), [0, 1])
    assert not active_units(shown[:1], valid[:1]).any(), "one frame is not two"
    valid[0] = False
    assert not active_units(shown, valid).any()


def test_a_clip_may_show_nothing() -> None:
    assert not active_units(np.zeros((16, 18)), np.ones(16, bool)).any()

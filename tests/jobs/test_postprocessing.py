"""Scores are smoothed within a video, and what is chosen is chosen on validation videos."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.parts.postprocessing import Validated, check_postprocessing, move_threshold, postprocess
from jobs.parts.postprocessing_config import PostprocessingConfig
from models.smoothing import read_filters, smooth
from pipelines.corpora.aff_wild2 import ALL, OFFICIAL

NOTHING = Validated({}, {})
TASKS = {"expr": (slice(0, 8), "classes"), "au": (slice(8, 20), "multi_label"), "va": (slice(20, 22), "regression")}


def scores(frames: int, seed: int = 0) -> np.ndarray:
    """Of all tasks [N, 22]: probabilities of classes, of units, and values."""
    rng = np.random.default_rng(seed)
    share_NK = rng.dirichlet(np.ones(8), frames)
    parts = [share_NK, rng.uniform(0, 1, (frames, 12)), rng.uniform(-1, 1, (frames, 2))]
    return np.concatenate(parts, axis=1).astype(np.float32)


def flickering(frames: int = 60) -> Validated:
    """A validation video of which every fifth frame is told wrong; its values are told right, and jump."""
    label_N = np.arange(frames) // 20
    told_N = np.where(np.arange(frames) % 5 == 2, 7, label_N)
    value_N2 = np.where(np.arange(frames) % 2, 0.9, -0.9)[:, None] * (1.0, 0.8)
    unit_NK = np.tile((np.arange(frames) % 3 == 0)[:, None], (1, 12)).astype(np.float64)
    target_NK = np.concatenate([np.eye(8)[label_N], unit_NK, value_N2], axis=1)
    score_NK = np.concatenate([0.2 / 8 + 0.8 * np.eye(8)[told_N], 0.1 + 0.2 * unit_NK, value_N2], axis=1)
    target_NK[-1] = np.nan  # and its last frame is annotated by nobody
    return Validated({"val": score_NK.astype(np.float32)}, {"val": target_NK.astype(np.float32)})


TARGETS = flickering().targets


def test_without_any_wish_scores_stay_as_they_are_and_the_threshold_is_said() -> None:
    given = {"a": scores(9), "b": scores(4, seed=1)}
    told, chosen = postprocess(given, NOTHING, ALL, PostprocessingConfig())
    half = dict.fromkeys(OFFICIAL["au"].classes, 0.5)
    assert chosen == {"expr": {"smoothing": []}, "au": {"smoothing": [], "thresholds": half}, "va": {"smoothing": []}}
    assert told.keys() == given.keys() and all(np.array_equal(told[video], given[video]) for video in given)


def test_every_video_is_smoothed_by_itself_and_every_task_by_its_own_filters() -> None:
    config = PostprocessingConfig(smoothing=("expr/median:3", "gaussian:1", "va/average:4"))
    given = {"a": scores(9), "b": scores(4, seed=1)}
    told, chosen = postprocess(given, NOTHING, ALL, config)
    assert {task: one["smoothing"] for task, one in chosen.items()} == {
        "expr": ["median:3", "gaussian:1"],
        "au": ["gaussian:1"],
        "va": ["gaussian:1", "average:4"],
    }
    for video, score_NK in given.items():
        for task, (columns, kind) in TASKS.items():
            expected = smooth(score_NK[:, columns], read_filters(chosen[task]["smoothing"]), kind)
            np.testing.assert_array_equal(told[video][:, columns], expected)
        alone, _ = postprocess({video: score_NK}, NOTHING, ALL, config)
        np.testing.assert_array_equal(alone[video], told[video])


def test_of_several_chains_each_task_gets_what_is_best_on_the_validation_videos() -> None:
    config = PostprocessingConfig(candidates=("none", "median:5", "au/average:30"))
    given = {"test": scores(30)}
    told, chosen = postprocess(given, flickering(), ALL, config)
    assert chosen["expr"]["smoothing"] == ["median:5"], "which outvotes the frames that are wrong"
    assert chosen["va"]["smoothing"] == [], "for these values do jump"
    expected = smooth(given["test"][:, :8], read_filters(["median:5"]), "classes")
    np.testing.assert_array_equal(told["test"][:, :8], expected)
    np.testing.assert_array_equal(told["test"][:, 20:], given["test"][:, 20:])


def test_the_threshold_of_a_unit_is_that_of_the_validation_videos_moved_to_a_half() -> None:
    config = PostprocessingConfig(thresholds="validation")
    given = {"test": scores(200)}
    told, chosen = postprocess(given, flickering(), ALL, config)
    thresholds = chosen["au"]["thresholds"]
    assert list(thresholds) == list(OFFICIAL["au"].classes) and "thresholds" not in chosen["expr"]
    threshold_K = np.array(list(thresholds.values()))
    assert ((0.1 < threshold_K) & (threshold_K <= 0.3)).all(), "between the scores of .1 and .3"
    np.testing.assert_array_equal(told["test"][:, 8:20] >= 0.5, given["test"][:, 8:20] >= threshold_K)
    np.testing.assert_array_equal(told["test"][:, :8], given["test"][:, :8])


def test_nothing_can_be_chosen_without_a_frame_that_is_annotated() -> None:
    bare = Validated({"val": scores(5)}, {"val": np.full((5, 22), np.nan)})
    for config in (
        PostprocessingConfig(candidates=("none", "median:5")),
        PostprocessingConfig(thresholds="validation"),
    ):
        with pytest.raises(ValueError, match="annotated"):
            postprocess({"test": scores(5)}, bare, ALL, config)


@pytest.mark.parametrize("threshold", [0.0, 1e-7, 0.03, 0.5, 0.77, 1 - 1e-7, 1.0])
def test_moving_a_threshold_keeps_the_order_and_what_is_told_also_in_single_precision(threshold: float) -> None:
    near = [threshold, np.nextafter(np.float32(threshold), np.float32(2)), np.nextafter(np.float32(threshold), -1)]
    score_N1 = np.clip(np.sort([0, 1, *near, *np.random.default_rng(0).uniform(0, 1, 500)]), 0, 1)[:, None]
    moved_N1 = move_threshold(score_N1, np.array([threshold]))
    assert moved_N1.min() >= 0 and moved_N1.max() <= 1 and (np.diff(moved_N1[:, 0]) >= 0).all()
    for dtype in (np.float64, np.float32):
        np.testing.assert_array_equal(moved_N1.astype(dtype) >= 0.5, score_N1 >= threshold)
    if threshold == 0.5:
        np.testing.assert_allclose(moved_N1, score_N1, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": ("median:5",), "candidates": ("none",)}, "exclude each other; give one"),
        ({"smoothing": ("mean:5",)}, "there are gaussian, median"),
        ({"candidates": ("none", "median:5+gaussian:0")}, "smoothing by 'gaussian:0'"),
        ({"smoothing": ("face/median:5",)}, r"filters are for expr, au, va .* not \['face'\]"),
    ],
)
def test_filters_that_are_none_are_refused(options: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PostprocessingConfig(**options)


@pytest.mark.parametrize("options", [{"candidates": ("none", "median:5")}, {"thresholds": "validation"}])
def test_nothing_is_chosen_where_validation_is_the_test(options: dict[str, object]) -> None:
    config = PostprocessingConfig(**options)
    config.check("clean")
    with pytest.raises(ValueError, match="say evaluation=clean"):
        config.check("paper")
    PostprocessingConfig(smoothing=("median:5",)).check("paper")


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("expr", {"smoothing": ("au/median:5",)}, "filters for au have no effect on protocol expr, which is of expr"),
        ("va", {"thresholds": "validation"}, "has no action units; leave it at half"),
        ("va", {"smoothing": ("majority:50",)}, "majority:50 votes on labels"),
        ("all", {"candidates": ("none", "majority:50")}, "majority:50 votes on labels"),
    ],
)
def test_what_a_protocol_cannot_use_is_told_before_anything_is_trained(
    protocol: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_postprocessing((OFFICIAL | {"all": ALL})[protocol], PostprocessingConfig(**options), TARGETS)


def test_what_a_protocol_can_use_is_not_refused() -> None:
    for protocol in (*OFFICIAL.values(), ALL):
        check_postprocessing(protocol, PostprocessingConfig(smoothing=("median:5", "gaussian:3")), {})
    votes = PostprocessingConfig(smoothing=("expr/majority:50", "au/majority:10"), thresholds="validation")
    check_postprocessing(ALL, votes, TARGETS)


def test_what_is_chosen_needs_validation_videos_that_are_annotated_for_its_task() -> None:
    target_NK = TARGETS["val"].copy()
    target_NK[:, 20:] = np.nan
    no_values = {"val": target_NK}
    check_postprocessing(ALL, PostprocessingConfig(thresholds="validation"), no_values)
    check_postprocessing(ALL, PostprocessingConfig(candidates=("none", "expr/median:5", "au/median:9")), no_values)
    with pytest.raises(ValueError, match="the 1 validation videos is annotated for va: .* --validation-share"):
        check_postprocessing(ALL, PostprocessingConfig(candidates=("none", "median:5")), no_values)
    target_NK[:, 8:20] = np.nan
    with pytest.raises(ValueError, match="is annotated for au"):
        check_postprocessing(ALL, PostprocessingConfig(thresholds="validation"), no_values)

"""Frame indices: spans, short videos, seconds, and the two places a clip can start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.clips import (
    ClipConfig,
    Span,
    central_frame_indices,
    frame_indices,
    too_short,
    uniform_frame_indices,
)
from pipelines.quarantine import Reason, SampleError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_training_clip_is_a_window_of_evenly_spaced_frames_inside_the_video():
    for seed in range(200):
        indices = frame_indices(190, 25.0, ClipConfig(), rng(seed))
        assert indices.dtype == np.int64 and len(indices) == 16
        assert np.all(np.diff(indices) == 4) and indices[0] >= 0 and indices[-1] < 190


def test_every_window_that_fits_is_drawn_and_no_other():
    starts = {int(frame_indices(70, 25.0, ClipConfig(), rng(seed))[0]) for seed in range(300)}
    assert starts == set(range(7))  # 70 - 16 x 4 = 6 is the last start, as in VideoMAE


@pytest.mark.parametrize(
    ("span", "starts"),
    [
        (Span(0, 100), range(37)),
        (Span(20, 90), range(20, 27)),
        (Span(20, 84), [20]),
        (Span(30, 60), range(31)),
        (Span(70, 75), range(11, 37)),
        (Span(95, 100), [36]),
    ],
)
def test_a_clip_lies_within_a_span_or_holds_as_much_of_it_as_it_can(span, starts):
    drawn = {int(frame_indices(100, 25.0, ClipConfig(), rng(seed), span=span)[0]) for seed in range(400)}
    assert drawn == set(starts)
    central = central_frame_indices(100, 25.0, ClipConfig(), span=span)
    assert len(set(central)) == 16
    assert abs(central[0] + central[-1] + 1 - sum(span)) <= 1 or central[-1] == 99


def test_a_span_does_not_change_what_becomes_of_a_short_video():
    for config in (ClipConfig(), ClipConfig(short="loop")):
        expected = frame_indices(30, 25.0, config, rng())
        assert np.array_equal(frame_indices(30, 25.0, config, rng(), span=Span(12, 20)), expected)
        assert np.array_equal(central_frame_indices(30, 25.0, config, span=Span(12, 20)), expected)


@pytest.mark.parametrize("num_frames", [61, 62, 63, 64])
def test_a_video_that_just_holds_the_clip_is_not_short(num_frames):
    expected = np.arange(16) * 4
    assert np.array_equal(frame_indices(num_frames, 25.0, ClipConfig(short="drop"), rng()), expected)


def test_a_short_video_repeats_its_last_reached_frame_or_starts_again_or_is_dropped():
    pad = frame_indices(30, 25.0, ClipConfig(), rng())
    assert pad.tolist() == [0, 4, 8, 12, 16, 20, 24, 28] + [28] * 8
    loop = frame_indices(30, 25.0, ClipConfig(short="loop"), rng())
    assert loop.tolist() == [i * 4 % 30 for i in range(16)]
    with pytest.raises(SampleError) as caught:
        frame_indices(60, 25.0, ClipConfig(short="drop"), rng())
    assert caught.value.reason is Reason.too_short and "61" in caught.value.detail


@pytest.mark.parametrize("config", [ClipConfig(short="drop"), ClipConfig(short="drop", sampling="seconds")])
def test_what_the_policy_drops_is_known_before_it_is_read(config):
    frames, rates = (values.ravel() for values in np.meshgrid(np.arange(1, 140), [12.5, 23.976, 25.0, 29.97, 50.0]))
    for num_frames, fps, dropped in zip(frames, rates, too_short(frames, rates, config), strict=True):
        try:
            frame_indices(int(num_frames), fps, config, rng())
        except SampleError as error:
            assert dropped and error.reason is Reason.too_short
        else:
            assert not dropped
    assert not too_short(frames, rates, replace(config, short="loop")).any()


def test_one_frame_is_enough_to_pad_and_none_is_an_error():
    assert frame_indices(1, 25.0, ClipConfig(), rng()).tolist() == [0] * 16
    with pytest.raises(SampleError) as caught:
        frame_indices(0, 25.0, ClipConfig(), rng())
    assert caught.value.reason is Reason.empty


@pytest.mark.parametrize("fps", [12.5, 15.0, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94])
def test_sampling_in_seconds_spans_the_same_time_at_every_frame_rate(fps):
    config = ClipConfig(sampling="seconds")
    indices = frame_indices(int(20 * fps), fps, config, rng(4))
    times = (indices - indices[0]) / fps
    assert np.all(np.abs(times - np.arange(16) * 4 / 25) < 1.0 / fps + 1e-9)


def test_sampling_in_seconds_at_the_nominal_rate_is_sampling_in_frames():
    in_frames = frame_indices(190, 25.0, ClipConfig(), rng(8))
    assert np.array_equal(frame_indices(190, 25.0, ClipConfig(sampling="seconds"), rng(8)), in_frames)
    assert np.array_equal(frame_indices(190, 50.0, ClipConfig(), rng(8)), in_frames)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_sampling_in_seconds_without_a_frame_rate_rejects_the_sample(fps):
    with pytest.raises(SampleError) as caught:
        frame_indices(190, fps, ClipConfig(sampling="seconds"), rng())
    assert caught.value.reason is Reason.timestamps


def test_the_evaluation_clip_lies_in_the_middle():
    indices = central_frame_indices(191, 25.0, ClipConfig())
    assert indices[0] == 65 and 190 - indices[-1] == 65
    assert central_frame_indices(10, 25.0, ClipConfig()).tolist() == [0, 4] + [8] * 14


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"frames": 0}, "frames"), ({"stride": 0}, "stride"), ({"nominal_fps": 30.0}, "no effect")],
)
def test_a_config_that_cannot_work_is_refused(fields, word):
    with pytest.raises(ValueError, match=word):
        ClipConfig(**fields)


@pytest.mark.parametrize("clips", [2, 3, 7])
def test_test_clips_are_the_windows_of_videomae_each_once(clips):
    config = ClipConfig(frames=8, stride=3)
    for num_frames in range(2, 120):
        every = list(range(0, num_frames, 3))
        every += [every[-1]] * (8 - len(every))
        starts = sorted({int(k * (len(every) - 8) / (clips - 1)) for k in range(clips)})
        found = uniform_frame_indices(num_frames, 25.0, config, clips)
        assert [indices.tolist() for indices in found] == [every[start : start + 8] for start in starts]
        assert all(indices.dtype == np.int64 for indices in found)


def test_a_single_test_clip_is_the_central_one():
    (found,) = uniform_frame_indices(190, 25.0, ClipConfig(), 1)
    assert np.array_equal(found, central_frame_indices(190, 25.0, ClipConfig()))
    with pytest.raises(ValueError, match="clips=0"):
        uniform_frame_indices(190, 25.0, ClipConfig(), 0)


@pytest.mark.parametrize("config", [ClipConfig(), ClipConfig(sampling="seconds")])
def test_test_clips_lie_within_a_span_or_hold_as_much_of_it_as_one_can(config):
    first, last = uniform_frame_indices(400, 25.0, config, 2, span=Span(100, 300))
    assert first[0] == 100 and 296 <= last[-1] < 300
    (only,) = uniform_frame_indices(400, 25.0, config, 2, span=Span(100, 120))
    assert np.array_equal(only, central_frame_indices(400, 25.0, config, span=Span(100, 120)))


def test_test_clips_in_seconds_reach_the_end_of_the_video_and_differ():
    config = ClipConfig(sampling="seconds")
    for fps in (7.5, 29.97, 60.0):
        found = uniform_frame_indices(500, fps, config, 5)
        assert len({indices.tobytes() for indices in found}) == len(found) == 5
        assert found[0][0] == 0 and 500 - fps * 4 / 25 <= found[-1][-1] + 1 <= 500


def test_test_clips_of_a_video_that_is_too_short_are_padded_looped_or_refused():
    (padded,) = uniform_frame_indices(20, 25.0, ClipConfig(), 2)
    assert padded.tolist() == [0, 4, 8, 12, *[16] * 12]
    (looped,) = uniform_frame_indices(20, 25.0, ClipConfig(short="loop"), 2)
    assert looped.tolist() == [0, 4, 8, 12, 16] * 3 + [0]
    with pytest.raises(SampleError) as caught:
        uniform_frame_indices(20, 25.0, ClipConfig(short="drop"), 2)
    assert caught.value.reason is Reason.too_short

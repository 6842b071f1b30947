"""The timeline of a video shows what is true and what is predicted, and where."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from jobs.parts.affect_pictures import FrameTrack, draw_timeline
from models.challenge_metrics import Challenge

FRAMES = 90
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
ANGER, SADNESS, INK, SURE, FADED = (209, 73, 91), (31, 111, 180), (34, 34, 34), (8, 48, 107), (119, 119, 119)


def tracks(frames: int = FRAMES) -> dict[Challenge, FrameTrack]:
    """A video that is angry and then sad, told the other way round; a unit that is there and told with certainty."""
    label_N = np.where(np.arange(frames) < frames // 2, 1, 5)
    unit_NK = np.zeros((frames, 12))
    unit_NK[: frames // 3, 3] = 1
    wave_N2 = np.sin(np.arange(frames) / 10)[:, None] * (0.8, 0.5)
    return {
        "expr": FrameTrack(EXPRESSIONS, np.eye(8)[label_N], np.eye(8)[6 - label_N]),
        "au": FrameTrack(tuple(f"AU{k}" for k in range(12)), unit_NK, unit_NK),
        "va": FrameTrack(("valence", "arousal"), wave_N2, 0.5 * wave_N2),
    }


def drawn(chosen: dict[Challenge, FrameTrack], present_N: np.ndarray | None = None) -> np.ndarray:
    frames = len(next(iter(chosen.values())).target_NK)
    present_N = np.ones(frames, bool) if present_N is None else present_N
    image = Image.open(BytesIO(draw_timeline("video", chosen, present_N, fps=30)))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(int)


def found(pixels_HW3: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(pixels_HW3 - colour) < 3).all(-1)


def test_bands_of_expressions_stand_over_each_other_the_truth_above() -> None:
    pixels = drawn({"expr": tracks()["expr"]})
    # Below the legend, which has every colour once.
    half = pixels.shape[1] // 2
    bands = {
        name: found(pixels, colour)[:, :half].sum(1) > 300 for name, colour in (("true", ANGER), ("told", SADNESS))
    }
    assert bands["true"].sum() > 25 and bands["told"].sum() > 25
    assert np.flatnonzero(bands["true"]).max() < np.flatnonzero(bands["told"]).min()


def test_a_unit_is_drawn_for_as_long_as_it_is_there_and_predicted_below() -> None:
    track = tracks()["au"]
    longer_NK = np.maximum(track.target_NK, np.roll(track.target_NK, 30, axis=0))
    pixels, longer = drawn({"au": track}), drawn({"au": replace(track, target_NK=longer_NK, score_NK=longer_NK)})
    for colour in (INK, SURE):
        # Labels and the legend are in other rows or narrow.
        third, two_thirds = found(pixels, colour).sum(1).max(), found(longer, colour).sum(1).max()
        assert third > 350 and two_thirds == pytest.approx(2 * third, abs=20)
    true, told = (np.flatnonzero(found(pixels, colour).sum(1) > 300) for colour in (INK, SURE))
    assert 0 < told.min() - true.max() < 5


def test_a_unit_below_its_threshold_is_not_drawn_as_predicted() -> None:
    track = tracks()["au"]
    unsure = replace(track, score_NK=0.7 * track.score_NK)
    blue = [
        found(drawn({"au": one})[60:], (158, 202, 225)).sum()  # the colour of a probability at its threshold
        for one in (replace(unsure, threshold_K=np.full(12, 0.7)), replace(unsure, threshold_K=np.full(12, 0.71)))
    ]
    assert blue[0] > 1000 > blue[1]


def test_frames_without_a_face_are_marked() -> None:
    present_N = np.ones(FRAMES, bool)
    present_N[30:60] = False
    marked = [found(drawn({"va": tracks()["va"]}, present), FADED).sum() for present in (None, present_N)]
    assert marked[1] - marked[0] > 1000


def test_where_nothing_is_annotated_the_truth_is_white() -> None:
    whole = tracks()["expr"]
    target_NK = whole.target_NK.copy()
    target_NK[:20] = np.nan
    shown = [found(drawn({"expr": track}), ANGER).sum() for track in (whole, replace(whole, target_NK=target_NK))]
    nothing = replace(whole, target_NK=np.full_like(target_NK, np.nan))
    assert shown[0] > shown[1] > found(drawn({"expr": nothing}), ANGER).sum() > 0


@pytest.mark.parametrize("frames", [1, 5000])
def test_videos_of_any_length_have_pictures_of_one_size(frames: int) -> None:
    assert drawn(tracks(frames)).shape == drawn(tracks()).shape


def test_tasks_that_are_not_given_take_no_room() -> None:
    all_of_them, some = drawn(tracks()), drawn({"expr": tracks()["expr"]})
    assert some.shape[1] == all_of_them.shape[1] and some.shape[0] < 0.4 * all_of_them.shape[0]


def test_what_cannot_be_drawn_is_refused() -> None:
    present_N, track = np.ones(FRAMES, bool), tracks()["expr"]
    with pytest.raises(ValueError, match="given: none"):
        draw_timeline("video", {}, present_N, fps=30)
    with pytest.raises(ValueError, match="given: eri"):
        draw_timeline("video", {"eri": track}, present_N, fps=30)
    many = FrameTrack(tuple("abcdefghi"), np.eye(9)[np.zeros(FRAMES, int)], np.eye(9)[np.zeros(FRAMES, int)])
    with pytest.raises(ValueError, match="9 classes cannot be told apart"):
        draw_timeline("video", {"expr": many}, present_N, fps=30)

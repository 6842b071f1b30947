from __future__ import annotations

import re

import numpy as np
import pytest

from pipelines.submission import SubmissionError, check_submission, write_submission

FRAMES = {"video7_left": 3, "10-60-1280x720": 2}
AU_ROW = "0,1,0,0,1,0,0,0,0,0,1,1"
WRITTEN = {
    "expr": "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n"
    "video7_left/00001.jpg,4\nvideo7_left/00002.jpg,0\nvideo7_left/00003.jpg,7\n"
    "10-60-1280x720/00001.jpg,1\n10-60-1280x720/00002.jpg,2\n",
    "au": "image_location,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26\n"
    f"video7_left/00001.jpg,{AU_ROW}\nvideo7_left/00002.jpg,{AU_ROW}\nvideo7_left/00003.jpg,{AU_ROW}\n"
    f"10-60-1280x720/00001.jpg,{AU_ROW}\n10-60-1280x720/00002.jpg,{AU_ROW}\n",
    "va": "image_location,valence,arousal\n"
    "video7_left/00001.jpg,0.250000,-0.100000\nvideo7_left/00002.jpg,1.000000,-1.000000\n"
    "video7_left/00003.jpg,0.000000,0.333333\n"
    "10-60-1280x720/00001.jpg,0.000000,0.000000\n10-60-1280x720/00002.jpg,0.000000,0.000000\n",
}
"""As the example files of the competitions have it."""


def predictions(task: str) -> dict[str, np.ndarray]:
    if task == "expr":
        scores_58 = np.eye(8)[[4, 0, 7, 1, 2]] * 0.5 + 0.1
        return {"video7_left": scores_58[:3], "10-60-1280x720": scores_58[3:]}
    if task == "au":
        marks_12 = np.array([float(mark) for mark in AU_ROW.split(",")])
        return {video: np.tile(marks_12, (frames, 1)) for video, frames in FRAMES.items()}
    return {"video7_left": np.array([(0.25, -0.1), (1, -1), (0, 1 / 3)]), "10-60-1280x720": np.zeros((2, 2))}


@pytest.mark.parametrize("task", WRITTEN)
def test_the_file_has_the_published_form_and_is_accepted(task: str) -> None:
    data = write_submission(task, predictions(task))
    assert data.decode() == WRITTEN[task]
    check_submission(task, data, FRAMES)


def test_frames_beyond_99999_have_six_digits() -> None:
    data = write_submission("va", {"long": np.zeros((100_001, 2))})
    assert data.splitlines()[-1] == b"long/100001.jpg,0.000000,0.000000"
    check_submission("va", data, {"long": 100_001})


def test_the_first_of_equal_classes_counts() -> None:
    assert b"v/00001.jpg,0\n" in write_submission("expr", {"v": np.full((1, 8), 0.125)})


def test_tiny_values_are_written_without_an_exponent() -> None:
    data = write_submission("va", {"v": np.array([(1e-9, -1e-9)])})
    assert b"e-" not in data
    check_submission("va", data, {"v": 1})


@pytest.mark.parametrize(
    ("task", "value_NK", "said"),
    [
        ("expr", np.zeros((3, 7)), r"shape \(3, 7\), not \[frames, 8\]"),
        ("va", np.zeros((0, 2)), r"shape \(0, 2\)"),
        ("va", np.zeros(3), r"shape \(3,\)"),
        ("va", np.array([(0, 0), (0, -1.5)]), "reach -1.5"),
        ("va", np.array([(0, 0), (np.nan, 0)]), "not finite in frame 2"),
        ("au", np.full((1, 12), 0.5), "apply a threshold"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_name_of_the_video(task: str, value_NK: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=f"predictions of 'v7' .*{said}"):
        write_submission(task, {"v7": value_NK})


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        ("expr", ("Neutral,Anger", "Anger,Neutral"), "line 1 is"),
        ("va", ("image_location", "image"), "line 1 is"),
        ("expr", ("00002.jpg,0", "00002.jpg,8"), "line 3: '8' is not one class"),
        ("expr", ("00002.jpg,0", "00002.jpg,-1"), "line 3: '-1'"),
        ("expr", ("00002.jpg,0", "00002.jpg,0.5"), "line 3: '0.5'"),
        ("va", ("1.000000,-1.000000", "1.000001,-1.000000"), "line 3: '1.000001,-1.000000' is not two numbers"),
        ("va", ("1.000000,-1.000000", "nan,-1.000000"), "line 3: 'nan"),
        ("va", ("0.000000,0.333333", "0.000000"), "line 4: '0.000000' is not two"),
        ("au", (f"00003.jpg,{AU_ROW}", f"00003.jpg,{AU_ROW},1"), "line 4: .* is not 12 marks"),
        ("au", (f"00003.jpg,{AU_ROW}", "00003.jpg,2" + AU_ROW[1:]), "line 4: '2,1"),
        (
            "expr",
            ("video7_left/00002.jpg,0\n", ""),
            "line 3: 'video7_left/00003.jpg' stands where frame 2 of 'video7_left'",
        ),
        ("expr", ("00002.jpg", "00001.jpg"), "line 3: 'video7_left/00001.jpg' stands where frame 2"),
        ("expr", ("left/00003.jpg", "left/3.jpg"), "line 4: 'video7_left/3.jpg' stands where frame 3"),
        ("expr", ("left/00003.jpg", "left/00003.png"), "line 4: 'video7_left/00003.png'"),
        ("expr", ("10-60-1280x720/00001", "video9/00001"), "line 5: 'video9/00001.jpg' stands where frame 1 of '10-60"),
        ("expr", ("10-60-1280x720/00002.jpg,2\n", ""), "ends with line 5, frame 2 of '10-60-1280x720' is due"),
        ("expr", ("00002.jpg,2\n", "00002.jpg,2"), "line 6, the last, has no end"),
        ("expr", ("00002.jpg,2\n", "00002.jpg,2\n\n"), "line 7: '' comes after the last"),
        ("expr", ("00002.jpg,2\n", "00002.jpg,2\nvideo9/00001.jpg,1\n"), "line 7: 'video9/00001.jpg' comes after"),
        ("expr", ("00002.jpg,0", "00002.jpg,é"), "line 3 is no plain text"),
    ],
)
def test_every_fault_of_a_file_is_named_with_its_line(task: str, change: tuple[str, str], said: str) -> None:
    assert change[0] in WRITTEN[task]
    with pytest.raises(SubmissionError, match=said):
        check_submission(task, WRITTEN[task].replace(*change).encode(), FRAMES)


def test_videos_come_in_the_order_of_the_list() -> None:
    with pytest.raises(SubmissionError, match="line 2: 'video7_left/00001.jpg' stands where frame 1 of '10-60"):
        check_submission("expr", WRITTEN["expr"].encode(), dict(reversed(FRAMES.items())))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(SubmissionError, match=re.escape("has no end")):
        check_submission("va", b"", FRAMES)

"""Submissions to the ABAW challenges on Aff-Wild2: text files with one row per frame of every test video.

As the example files of the fifth and sixth competition have it: a line of names, then `<video>/<NNNNN>.jpg,...` with
frames counted from 1 in five digits or more, also of frames without an image:

    expr   image_location,Neutral,Anger,...,Other     video/00001.jpg,4             the index of one class
    au     image_location,AU1,AU2,...,AU26            video/00001.jpg,0,1,...,0     a mark for each of 12 units
    va     image_location,valence,arousal             video/00001.jpg,0.25,-0.1     two values from -1 to 1

`check_submission` reads what `write_submission` writes, and shares none of its code: it holds the description above.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping

import numpy as np

from pipelines.corpora.aff_wild2_files import DIMENSIONS, EXPRESSIONS, UNITS, TaskName

_COLUMNS: dict[TaskName, tuple[str, ...]] = {"expr": EXPRESSIONS, "au": UNITS, "va": DIMENSIONS}


class SubmissionError(ValueError):
    """A file that an organiser would not accept; names the line."""


def write_submission(task: TaskName, predictions: Mapping[str, np.ndarray]) -> bytes:
    """The file of a task, videos in their order.

    Args:
        predictions: of every test video an array [N, K], a row for each of its frames from the first to the last: of
            `expr` scores of 8 classes, of which the largest counts, the first of several equal ones; of `au` marks 0
            or 1 (thresholds are for others to choose); of `va` values from -1 to 1.

    Raises ValueError, naming the video, for an array of another shape and for numbers that cannot be meant.
    """
    columns = _COLUMNS[task]
    text = io.StringIO()
    text.write(",".join(("image_location", *columns)) + "\n")
    for video, value_NK in predictions.items():
        value_NK = np.asarray(value_NK, np.float64)
        if value_NK.ndim != 2 or value_NK.shape[1] != len(columns) or not len(value_NK):
            raise ValueError(f"predictions of {video!r} have the shape {value_NK.shape}, not [frames, {len(columns)}]")
        if problem := _problem(task, value_NK):
            raise ValueError(f"predictions of {video!r} {problem}")
        for frame, row in enumerate(_rows(task, value_NK), start=1):
            text.write(f"{video}/{frame:05d}.jpg,{row}\n")
    return text.getvalue().encode()


def _problem(task: TaskName, value_NK: np.ndarray) -> str | None:
    if not np.isfinite(value_NK).all():
        return f"are not finite in frame {1 + int(np.argmin(np.isfinite(value_NK).all(1)))}"
    if task == "au" and not np.isin(value_NK, (0, 1)).all():
        return "are not 0 and 1 alone; apply a threshold to the scores"
    if task == "va" and np.abs(value_NK).max() > 1:
        return f"reach {value_NK.flat[np.abs(value_NK).argmax()]:g}; values lie from -1 to 1"
    return None


def _rows(task: TaskName, value_NK: np.ndarray) -> Iterator[str]:
    if task == "expr":
        return (str(index) for index in value_NK.argmax(1).tolist())
    pattern = "%d" if task == "au" else "%.6f"
    return (",".join(pattern % value for value in row) for row in value_NK.tolist())


_HEADERS = {
    "expr": "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "au": "image_location,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
    "va": "image_location,valence,arousal",
}
_NUMBER = r"-?(?:1(?:\.0+)?|0(?:\.\d+)?)"  # from -1 to 1, without an exponent
_VALUES = {"expr": "[0-7]", "au": "[01](?:,[01]){11}", "va": f"{_NUMBER},{_NUMBER}"}
_MEANT = {"expr": "one class from 0 to 7", "au": "12 marks 0 or 1", "va": "two numbers from -1 to 1"}


def check_submission(task: TaskName, data: bytes, num_frames: Mapping[str, int]) -> None:
    """Raises SubmissionError, naming the line, unless `data` is a complete file of the task.

    Args:
        num_frames: the frames of each test video; the file has the videos in this order, every frame once, ascending.
    """
    lines = _lines(data)
    if lines[0] != _HEADERS[task]:
        raise SubmissionError(f"line 1 is {lines[0]!r}, not {_HEADERS[task]!r}")
    asked = ((video, frame + 1) for video, count in num_frames.items() for frame in range(count))
    for number, line in enumerate(lines[1:], start=2):
        image, _, values = line.partition(",")
        wanted = next(asked, None)
        if wanted is None:
            raise SubmissionError(f"line {number}: {image!r} comes after the last frame of the last test video")
        if image != f"{wanted[0]}/{str(wanted[1]).zfill(5)}.jpg":
            raise SubmissionError(
                f"line {number}: {image!r} stands where frame {wanted[1]} of {wanted[0]!r} is due; every frame of the "
                "test videos comes once, in order"
            )
        if not re.fullmatch(_VALUES[task], values):
            raise SubmissionError(f"line {number}: {values!r} is not {_MEANT[task]}")
    if (wanted := next(asked, None)) is not None:
        raise SubmissionError(f"the file ends with line {len(lines)}, frame {wanted[1]} of {wanted[0]!r} is due")


def _lines(data: bytes) -> list[str]:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        line = len(data[: error.start + 1].splitlines())
        raise SubmissionError(f"line {line} is no plain text: {error}") from None
    if not text.endswith("\n"):
        raise SubmissionError(f"line {max(1, len(text.splitlines()))}, the last, has no end; was the file cut off?")
    return text[:-1].split("\n")

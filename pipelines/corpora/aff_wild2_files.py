"""The annotation files of Aff-Wild2, and the lists and examples of the test sets of its challenges.

Where they lie, below the root of the corpus or one of the folders ROOTS:

    {VA_Estimation,EXPR_Classification,AU_Detection}_Challenge/{Train_Set,Validation_Set}/<video>.txt
    training_set_annotations.txt, validation_set_annotations.txt           several tasks at once
    names_of_videos_in_each_test_set/<challenge>_test_set_release.txt      a video per line
    test_set_examples/<challenge>_{VA,EXPR,AU}_test_set_example.txt        a row per frame to be predicted

EXPR_Classification is EXPR_Recognition in some editions, an example a sample in others. The files of a task begin with
one line of names; the line after it is of frame 1. Not annotated: -1 for an expression or unit, -5 for valence and
arousal. A row is left out as a whole, where one unit or one of the two dimensions is not annotated, as in the code of
all participants that is public.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from pipelines.corpora.lists import read_text, unique
from pipelines.frame_labels import VideoLabels
from pipelines.labels import listed

if TYPE_CHECKING:
    from pipelines.storage import Storage

TaskName = Literal["expr", "au", "va"]
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
UNITS = tuple(f"AU{unit}" for unit in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26))
DIMENSIONS = ("valence", "arousal")
NO_CODE, NO_VALUE = -1, -5
"""What stands where an expression or unit, a valence or arousal is not annotated."""
PARTS = {"Train_Set": "train", "Validation_Set": "test"}
"""Our names of the official sets. What is tested on is the validation set: nobody has the labels of the test sets."""
ROOTS = (
    *("", "annotations", "Annotations", "Third ABAW Annotations", "Third_ABAW_Annotations", "5th_ABAW_Annotations"),
    *("5th ABAW Annotations", "6th_ABAW_Annotations", "6th ABAW Annotations"),
)
"""Folders in which releases have the annotations."""
TEST_LISTS, EXAMPLES = "names_of_videos_in_each_test_set", "test_set_examples"
FORMER_FOLDERS = ("AU_Set", "EXPR_Set", "VA_Set")
_FORMER = "of the editions of 2020 and 2021, with 7 expressions or 8 action units; get annotations from 2022 on"
MTL_FILES = {"training_set_annotations.txt": "train", "validation_set_annotations.txt": "test"}
MTL_HEADER = ("image", "valence", "arousal", "expression")
"""How the first line begins; `aus` or the names of the units follow."""

_IMAGE = re.compile(r"(?P<video>[^/]+)/(?P<frame>\d{5,})\.jpg")


def expression_targets(code_N1: np.ndarray) -> np.ndarray:
    """Shares [N, 8] of class indices [N, 1]."""
    code_N = code_N1[:, 0].astype(np.int64)
    target_NK = np.eye(len(EXPRESSIONS), dtype=np.float32)[code_N]
    target_NK[code_N == NO_CODE] = np.nan
    return target_NK


def unit_targets(code_NK: np.ndarray) -> np.ndarray:
    return np.where((code_NK == NO_CODE).any(1, keepdims=True), np.nan, code_NK).astype(np.float32)


def dimension_targets(value_NK: np.ndarray) -> np.ndarray:
    return np.where((value_NK == NO_VALUE).any(1, keepdims=True), np.nan, value_NK).astype(np.float32)


class Task(NamedTuple):
    """How the files of a task look."""

    folders: tuple[str, ...]
    header: tuple[str, ...]
    columns: int
    may_be: str
    """What numbers are allowed, for messages."""
    is_allowed: Callable[[np.ndarray], np.ndarray]
    targets: Callable[[np.ndarray], np.ndarray]
    called: str
    """How names of lists and examples of the test set call it, as a regular expression."""


TASKS: dict[TaskName, Task] = {
    "expr": Task(
        ("EXPR_Classification_Challenge", "EXPR_Recognition_Challenge"),
        EXPRESSIONS,
        1,
        f"an expression from 0 to {len(EXPRESSIONS) - 1} or {NO_CODE}",
        lambda code: np.isin(code, (NO_CODE, *range(len(EXPRESSIONS)))),
        expression_targets,
        "expr|expression_.*",
    ),
    "au": Task(
        ("AU_Detection_Challenge",),
        UNITS,
        len(UNITS),
        f"0, 1 or {NO_CODE}",
        lambda code: np.isin(code, (NO_CODE, 0, 1)),
        unit_targets,
        "au|action_unit_.*",
    ),
    "va": Task(
        ("VA_Estimation_Challenge",),
        DIMENSIONS,
        len(DIMENSIONS),
        f"a value from -1 to 1 or {NO_VALUE}",
        lambda value: (np.abs(value) <= 1) | (value == NO_VALUE),
        dimension_targets,
        "va|valence_.*",
    ),
}


def find_root(storage: Storage) -> str:
    """The folder of ROOTS that has annotations of a task. Raises ValueError where none has."""
    folders = [folder for task in TASKS.values() for folder in task.folders]
    for root in ROOTS:
        if any(_has_files(storage, _below(root, folder)) for folder in folders):
            return root
        if former := [place for folder in FORMER_FOLDERS if _has_files(storage, place := _below(root, folder))]:
            raise ValueError(f"{', '.join(former)} in {storage.uri} are {_FORMER}")
    raise ValueError(
        f"{storage.uri} has no annotations: none of {', '.join(folders)} lies below it or below one of the folders "
        f"{', '.join(filter(None, ROOTS))}"
    )


def read_task(storage: Storage, root: str, name: TaskName) -> dict[str, VideoLabels]:
    """By video; empty where the task has no files. Raises ValueError, naming file and line."""
    task, found = TASKS[name], {}
    folder = next((folder for folder in task.folders if _has_files(storage, _below(root, folder))), None)
    if folder is None:
        return {}
    for official, part in PARTS.items():
        files = _texts(storage, _below(root, folder, official))
        if not files:
            raise ValueError(f"{_below(root, folder, official)} in {storage.uri} has no file; {folder} has others")
        for video, file in files.items():
            if video in found:
                raise ValueError(f"{file} and {found[video].source} are of one video; it cannot be in both sets")
            found[video] = VideoLabels(_read_video(storage, file, task), part, file)
    return found


def _read_video(storage: Storage, file: str, task: Task) -> np.ndarray:
    header, *lines = read_text(storage, file).rstrip().splitlines() or [""]
    _check_header(file, header, task)
    if not lines:
        raise ValueError(f"{file} has no line for any frame")
    value_NK = _numbers(file, lines, task.columns)
    _check_values(file, task, value_NK)
    return task.targets(value_NK)


def read_mtl(storage: Storage, root: str) -> dict[str, VideoLabels]:
    """By video, the targets of expression, units and dimensions side by side, NaN where a frame is in no row; empty
    where there are no files of several tasks. Raises ValueError, naming file and line."""
    place = next((at for at in ("", root) if any(storage.exists(_below(at, file)) for file in MTL_FILES)), None)
    found: dict[str, VideoLabels] = {}
    for file, part in MTL_FILES.items() if place is not None else ():
        source = _below(place, file)
        videos = _read_mtl_file(storage, source)
        if twice := sorted(found.keys() & videos.keys()):
            raise ValueError(f"{source}: the videos {listed(twice)} are in the training set too")
        found |= {video: VideoLabels(target_NK, part, source) for video, target_NK in videos.items()}
    return found


def _read_mtl_file(storage: Storage, source: str) -> dict[str, np.ndarray]:
    header, *lines = read_text(storage, source).rstrip().splitlines() or [""]
    if tuple(header.replace(" ", "").split(",")[: len(MTL_HEADER)]) != MTL_HEADER:
        raise ValueError(f"{source}, line 1: {header!r} does not begin with {','.join(MTL_HEADER)}")
    images, _, numbers = zip(*(line.partition(",") for line in lines), strict=True) if lines else ((), (), ())
    place_N = [_IMAGE.fullmatch(image.strip()) for image in images]
    if None in place_N:
        row = place_N.index(None)
        raise ValueError(f"{source}, line {row + 2}: {images[row]!r} is not <video>/<number of five digits>.jpg")
    value_NK = _numbers(source, numbers, len(DIMENSIONS) + 1 + len(UNITS))
    parts = {"va": value_NK[:, :2], "expr": value_NK[:, 2:3], "au": value_NK[:, 3:]}
    for name, part_NK in parts.items():
        _check_values(source, TASKS[name], part_NK)
    target_NK = np.concatenate([task.targets(parts[name]) for name, task in TASKS.items()], axis=1)
    return _sequences(source, [(match["video"], int(match["frame"])) for match in place_N], target_NK)


def _sequences(source: str, place_N: Sequence[tuple[str, int]], target_NK: np.ndarray) -> dict[str, np.ndarray]:
    rows: dict[str, dict[int, int]] = {}
    for row, (video, frame) in enumerate(place_N):
        if frame < 1 or rows.setdefault(video, {}).setdefault(frame, row) != row:
            raise ValueError(f"{source}, line {row + 2}: frame {frame} of {video}; each counts once, from 1")
    sequences = {}
    for video, row_of in rows.items():
        sequences[video] = np.full((max(row_of), target_NK.shape[1]), np.nan, np.float32)
        sequences[video][np.array(list(row_of)) - 1] = target_NK[list(row_of.values())]
    return sequences


def read_test_list(storage: Storage, root: str, name: TaskName) -> list[str] | None:
    """The test videos of a task in the order of their list; None where there is no list."""
    file = _find(storage, root, TEST_LISTS, rf"({TASKS[name].called})_test_set_release\.txt")
    if file is None:
        return None
    lines = (line.strip() for line in read_text(storage, file).splitlines())
    return list(unique(((line.removesuffix(".txt"), None) for line in lines if line), source=file))


def read_example(storage: Storage, root: str, name: TaskName) -> dict[str, int]:
    """Frames of the test videos of a task by the example of a submission; empty where there is none. Raises ValueError,
    naming the line, unless it has the frames of a video from the first to the last."""
    file = _find(storage, root, EXAMPLES, rf"(.*_)?({TASKS[name].called})_test_set_(example|sample)\.txt")
    frames: dict[str, int] = {}
    for number, line in enumerate(read_text(storage, file).rstrip().splitlines()[1:] if file else (), start=2):
        match = _IMAGE.fullmatch(line.partition(",")[0].strip())
        if match is None or int(match["frame"]) != frames.get(match["video"], 0) + 1:
            raise ValueError(f"{file}, line {number}: {line!r} is not the next frame of a video, from 00001.jpg on")
        frames[match["video"]] = int(match["frame"])
    return frames


def _find(storage: Storage, root: str, folder: str, pattern: str) -> str | None:
    names = [item.name for at in dict.fromkeys(("", root)) for item in storage.list(_below(at, folder))]
    matching = [name for name in names if re.fullmatch(pattern, PurePosixPath(name).name, re.IGNORECASE)]
    if len(matching) > 1:
        raise ValueError(f"{', '.join(matching)} are lists of one task; keep one of them")
    return matching[0] if matching else None


def _has_files(storage: Storage, folder: str) -> bool:
    return next(iter(storage.list(folder)), None) is not None


def _texts(storage: Storage, folder: str) -> dict[str, str]:
    """Names of the files right in a folder, by video."""
    paths = (PurePosixPath(item.name) for item in storage.list(folder))
    return {path.stem: str(path) for path in paths if path.suffix == ".txt" and not path.name.startswith(".")}


def _below(*parts: str) -> str:
    return "/".join(filter(None, parts))


def _check_header(file: str, header: str, task: Task) -> None:
    names = tuple(name.strip() for name in header.split(","))
    if names == task.header:
        return
    if names and set(names) & {*EXPRESSIONS[:-1], "AU20", *UNITS} and len(names) < len(task.header):
        raise ValueError(f"{file}, line 1: {header!r} is {_FORMER}: {','.join(task.header)}")
    raise ValueError(f"{file}, line 1: {header!r} is not the line of names {','.join(task.header)}")


def _numbers(file: str, lines: Sequence[str], columns: int) -> np.ndarray:
    """float64 [lines, columns] of numbers between commas; `lines` begin with the second one of the file."""
    try:
        value_NK = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        value_NK = None
    if value_NK is None or value_NK.shape != (len(lines), columns):
        row = next((row for row, line in enumerate(lines) if not _is_row(line, columns)), 0)
        raise ValueError(f"{file}, line {row + 2}: {lines[row]!r} is not {columns} numbers with commas between them")
    return value_NK


def _is_row(line: str, columns: int) -> bool:
    try:
        return len([float(number) for number in line.split(",")]) == columns
    except ValueError:
        return False


def _check_values(file: str, task: Task, value_NK: np.ndarray) -> None:
    for row, column in np.argwhere(~task.is_allowed(value_NK))[:1]:
        raise ValueError(f"{file}, line {row + 2}: {value_NK[row, column]:g} is not {task.may_be}")

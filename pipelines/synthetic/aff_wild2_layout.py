"""Who is in which set of the twin of Aff-Wild2, and the files of labels, lists and examples that come with it.

    6th_ABAW_Annotations/<task>_Challenge/{Train_Set,Validation_Set}/<video>.txt
    {training,validation}_set_annotations.txt         every third image, of its own sets
    names_of_videos_in_each_test_set/<challenge>_test_set_release.txt
    test_set_examples/CVPR_6th_ABAW_<task>_test_set_example.txt

As in the corpus a video may be learned from under one task and tested on under another, or have no labels of one; faces
are not found in some frames, and some frames are not annotated.

Shape letters: T frames, 12 units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipelines.corpora.aff_wild2_files import (
    EXAMPLES,
    EXPRESSIONS,
    MTL_HEADER,
    NO_CODE,
    NO_VALUE,
    TASKS,
    TEST_LISTS,
    UNITS,
    TaskName,
)
from pipelines.synthetic.config import AffWild2Config

ROOT = "6th_ABAW_Annotations"
Set = Literal["Train_Set", "Validation_Set", "test", ""]
"""Official names, the test set, or none."""
_FOLDERS: dict[TaskName, str] = {name: task.folders[-1] for name, task in TASKS.items()}
_CHALLENGES: dict[TaskName, str] = {
    "expr": "Expression_Recognition_Challenge",
    "au": "Action_Unit_Detection_Challenge",
    "va": "Valence_Arousal_Estimation_Challenge",
}
_EXAMPLE_NAMES: dict[TaskName, str] = {"expr": "Expr", "au": "AU", "va": "VA"}
_MTL_STEP = 3
_SECONDS_OF_EXPRESSION = 1.67


class Video(NamedTuple):
    """One person of a recording."""

    name: str
    """Of the folder of images."""
    recording: str
    """Name of the video file without suffix."""
    person: int
    sets: dict[str, Set]
    """By task, and "mtl"."""
    expressions: tuple[str, ...]
    """In the order in which they are shown."""


@dataclass(frozen=True)
class Truth:
    """What is known of the frames of a video."""

    expression_T: np.ndarray
    marks_TK: np.ndarray
    affect_T2: np.ndarray
    has_image_T: np.ndarray
    unsure: Mapping[TaskName, np.ndarray]
    """Frames that a task does not annotate, bool [T]."""


def list_videos(config: AffWild2Config) -> list[Video]:
    """People in their order: first those of the test set, then those of the validation set, then all others."""
    sizes = (max(2, config.videos // 6), max(3, config.videos // 6))
    starts = (0, sizes[0], sum(sizes), config.videos)
    order: list[Set] = ["test"] * sizes[0] + ["Validation_Set"] * sizes[1]
    order += ["Train_Set"] * (config.videos - len(order))
    sets = _swapped(order, test=starts[0], validation=starts[1], train=starts[2])
    shown = [deck for start, stop in zip(starts[:-1], starts[1:], strict=True) for deck in _dealt(config, start, stop)]
    names = _names(config)
    return [
        Video(*names[person], person, {task: of_task[person] for task, of_task in sets.items()}, shown[person])
        for person in range(config.videos)
    ]


def _names(config: AffWild2Config) -> list[tuple[str, str]]:
    names = [f"video{person + 1}" for person in range(config.videos - 2)]
    both = f"{config.videos}-25-{2 * config.size}x{config.size}"
    return [(name, name) for name in names] + [(f"{both}_left", both), (f"{both}_right", both)]


def _swapped(order: list[Set], *, test: int, validation: int, train: int) -> dict[str, list[Set]]:
    """The sets of each task: those of expressions, with some videos changing places."""
    sets = {name: list(order) for name in (*TASKS, "mtl")}
    swaps = {
        "au": [(validation, train)],
        "va": [(validation + 1, train + 1), (test, train + 2)],
        "mtl": [(validation + 2, train + 4)],
    }
    for name, pairs in swaps.items():
        for a, b in pairs:
            sets[name][a], sets[name][b] = sets[name][b], sets[name][a]
    sets["au"][train + 3] = ""
    return sets


def _dealt(config: AffWild2Config, start: int, stop: int) -> Iterator[tuple[str, ...]]:
    """Expressions of the people from `start` to `stop`: all eight in random order before any comes again."""
    rng = np.random.default_rng(np.random.SeedSequence((config.seed, start), spawn_key=(104,)))
    count = max(1, round(config.seconds / _SECONDS_OF_EXPRESSION))
    cards: list[str] = []
    for _ in range(start, stop):
        while len(cards) < count:
            cards += [str(name) for name in rng.permutation(EXPRESSIONS)]
        yield tuple(cards[:count])
        cards = cards[count:]


def draw_gaps(rng: np.random.Generator, person: int, frames: int) -> tuple[np.ndarray, dict[TaskName, np.ndarray]]:
    """Frames with an image, and the frames that each task leaves out, bool [T]."""
    has_image_T = ~_bursts(rng, frames, count=int(rng.integers(0, 3)))
    if person % 5 == 1:
        has_image_T[0] = False
    if person % 5 == 2:
        has_image_T[-2:] = False
    return has_image_T, {name: _bursts(rng, frames, count=int(rng.integers(0, 2))) for name in TASKS}


def _bursts(rng: np.random.Generator, frames: int, *, count: int) -> np.ndarray:
    is_in_T = np.zeros(frames, bool)
    for _ in range(count):
        start = int(rng.integers(0, frames - 6))
        is_in_T[start : start + int(rng.integers(2, 7))] = True
    return is_in_T


def annotation_files(videos: Sequence[Video], truth: Mapping[str, Truth]) -> dict[str, str]:
    """All text files by name; `truth` by the name of the video."""
    files = {}
    for name, task in TASKS.items():
        for video in videos:
            if video.sets[name] not in ("", "test"):
                rows = [",".join(task.header), *_rows(name, truth[video.name])]
                files[f"{ROOT}/{_FOLDERS[name]}/{video.sets[name]}/{video.name}.txt"] = "\n".join(rows) + "\n"
        hidden = [video.name for video in videos if video.sets[name] == "test"]
        files[f"{TEST_LISTS}/{_CHALLENGES[name]}_test_set_release.txt"] = "\n".join(hidden) + "\n"
        example = [",".join(("image_location", *task.header))]
        for video in hidden:
            example += [f"{video}/{frame + 1:05d}.jpg" for frame in range(len(truth[video].expression_T))]
        files[f"{EXAMPLES}/CVPR_6th_ABAW_{_EXAMPLE_NAMES[name]}_test_set_example.txt"] = "\n".join(example) + "\n"
    for file, wanted in (("training", "Train_Set"), ("validation", "Validation_Set")):
        rows = [row for video in videos if video.sets["mtl"] == wanted for row in _mtl_rows(video, truth[video.name])]
        files[f"{file}_set_annotations.txt"] = "\n".join([",".join((*MTL_HEADER, "aus")), *rows]) + "\n"
    return files


def _rows(name: TaskName, truth: Truth) -> list[str]:
    """One per frame. Of the units one alone is not annotated where the gap begins, all of them after it."""
    is_unsure_T = truth.unsure[name]
    if name == "va":
        value_T2 = np.where(is_unsure_T[:, None], NO_VALUE, truth.affect_T2)
        return [",".join(f"{value:z.3f}" for value in row) for row in value_T2.tolist()]
    if name == "expr":
        return [str(code) for code in np.where(is_unsure_T, NO_CODE, truth.expression_T).tolist()]
    is_unsure_TK = np.repeat(is_unsure_T[:, None], len(UNITS), axis=1)
    is_unsure_TK[np.diff(is_unsure_T, prepend=False) & is_unsure_T, 1:] = False
    return [",".join(map(str, row)) for row in np.where(is_unsure_TK, NO_CODE, truth.marks_TK).tolist()]


def _mtl_rows(video: Video, truth: Truth) -> Iterator[str]:
    columns = [_rows(name, truth) for name in ("va", "expr", "au")]
    for frame in np.flatnonzero(truth.has_image_T)[::_MTL_STEP]:
        yield ",".join((f"{video.name}/{frame + 1:05d}.jpg", *(column[frame] for column in columns)))

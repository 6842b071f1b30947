"""A user's own videos and one table that labels them: labels.csv or labels.parquet in the root.

A line is a video. `path` is its file below the root, or the folder of its frames. What it is labelled with is one of

    label                   the name of a class
    class:NAME, ...         per class the share of the votes, from 0 to 1, adding up to 1
    mark:NAME, ...          per class 0 or 1, any number of them
    value:NAME, ...         numbers to predict

and who learns from it one of

    split                   train, validation or test
    fold                    1, 2, ... each once the test set, the others are learned from
    subject (alone)         five folds are made, with each person in one

`subject` names the person, also beside split or fold, and nobody may be in two parts; without it every video counts as
a person of its own. All other columns are attributes, by which results are told apart; an empty cell is not known.

Classes are in the order of their names or columns, unless a classes.txt in the root lists them, one per line. Videos
without a line stay in the catalog without a label. A line whose video is not there is an error, unless an exclusion
list names its path or its subject.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from pipelines.corpora import folder
from pipelines.corpora.layout import place_of
from pipelines.corpora.lists import read_text, replaced
from pipelines.corpora.registry import Labelled, Labels
from pipelines.corpora.table_file import LabelFile, Line, read_label_file
from pipelines.frame_folder import is_image
from pipelines.labels import (
    FIXED_PARTS,
    EvaluationProtocol,
    Label,
    Task,
    check_files,
    check_subjects,
    listed,
    one_hot,
    with_labels,
)
from pipelines.storage import check_name
from pipelines.takes import subject_folds

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.storage import Storage

LAYOUT = "labels.csv or labels.parquet, and **/<video>.mp4 (or mov, avi, mkv, webm, m4v) or **/<video>/<frame>.jpg"
CLASSES = "classes.txt"
FOLDS = 5
PROTOCOL = "labels"


class _Kind(NamedTuple):
    task: Task
    metric: str


_KINDS = {
    "label": _Kind("classes", "uar"),
    "class:": _Kind("classes", "uar"),
    "mark:": _Kind("multi_label", "multi_label_f1"),
    "value:": _Kind("regression", "ccc"),
}
_SUM_TOLERANCE = 1e-4  # of pipelines.labels.check_labels


def parse(name: str) -> Labels | None:
    uri, frames = place_of(name)
    return Labels("all", uri, uri, frames) if frames or folder.parse(name) else None


def settle(table: pa.Table) -> pa.Table:
    counts = Counter(table["uri"].to_pylist())
    if mixed := sorted(uri for uri, count in counts.items() if count > 1):
        raise ValueError(f"frames lie between other videos in {listed(mixed)}; give the frames folders of their own")
    return table


def label(table: pa.Table, storage: Storage, withdrawn: Collection[str]) -> Labelled:
    file = read_label_file(storage)
    lines = _by_path(file)
    _check_paths(lines, set(table["uri"].to_pylist()) | set(withdrawn))
    check_files(lines, table, withdrawn, source=file.name)
    kind, columns = _labelling(file)
    classes, targets = _targets(file, kind, columns, _read_classes(storage))
    folds, parts = _parts(file)
    protocol = EvaluationProtocol(PROTOCOL, _KINDS[kind].task, classes, folds, _KINDS[kind].metric)
    told = dict(zip(lines, (Label(PROTOCOL, *of_line) for of_line in zip(targets, parts, strict=True)), strict=True))
    known = {"path", "subject", "split", "fold", *columns}
    labels, attributes, subjects, splits = [], [], [], []
    for row in table.select(["uri", "subject", "split"]).to_pylist():
        line = lines.get(row["uri"])
        cells = line.cells if line else {}
        labels.append([told[row["uri"]]] if line else [])
        attributes.append({name: value for name, value in cells.items() if value and name not in known})
        subjects.append(cells.get("subject", row["subject"]))
        splits.append(cells.get("split", row["split"]))
    labelled = with_labels(replaced(table, subject=subjects, split=splits), labels, attributes)
    check_subjects(labelled, protocol)
    return Labelled(labelled, (protocol,))


def _by_path(file: LabelFile) -> dict[str, Line]:
    if "path" not in file.columns:
        raise ValueError(f"{file.name} has no column path, only {', '.join(file.columns)}; add it")
    lines: dict[str, Line] = {}
    for line in file.lines:
        path = line.text("path").rstrip("/")
        try:
            check_name(path)
        except ValueError as error:
            raise ValueError(f"{line.where}, column path: {error}") from None
        if path in lines:
            raise ValueError(f"{line.where} names {path!r} again, after {lines[path].where}; keep one of them")
        lines[path] = line
    return lines


def _check_paths(lines: dict[str, Line], there: Collection[str]) -> None:
    for path, line in lines.items():
        if path in there:
            continue
        if is_image(path):
            raise ValueError(
                f"{line.where}: {path!r} is one image; write the folder that holds all frames of the video"
            )
        if PurePosixPath(path).suffix and parse(path) is None:
            raise ValueError(f"{line.where}: {path!r} is no file that is read; there are {LAYOUT}")


def _labelling(file: LabelFile) -> tuple[str, tuple[str, ...]]:
    """The kind of label, a key of _KINDS, and its columns."""
    found = {
        kind: tuple(name for name in file.columns if (name.startswith(kind) if kind.endswith(":") else name == kind))
        for kind in _KINDS
    }
    kinds = [kind for kind, columns in found.items() if columns]
    if len(kinds) != 1:
        raise ValueError(
            f"{file.name} has the columns {', '.join(file.columns)}; it needs one kind of label: label (the name of a "
            "class), class:NAME (shares of votes), mark:NAME (0 or 1) or value:NAME (numbers)"
        )
    return kinds[0], found[kinds[0]]


def _read_classes(storage: Storage) -> tuple[str, ...] | None:
    if not storage.exists(CLASSES):
        return None
    names = (line.strip() for line in read_text(storage, CLASSES).splitlines())
    return tuple(name for name in names if name)


def _targets(
    file: LabelFile, kind: str, columns: Sequence[str], ordered: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
    """The names of the classes, and a target for each line."""
    if kind == "label":
        found = [line.text("label") for line in file.lines]
        classes = ordered or tuple(sorted(set(found)))
        for line, name in zip(file.lines, found, strict=True):
            if name not in classes:
                raise ValueError(f"{line.where}: label {name!r} is not in {CLASSES}: {', '.join(classes)}")
        return classes, [one_hot(classes.index(name), classes) for name in found]
    names = tuple(column.removeprefix(kind) for column in columns)
    if ordered and set(ordered) != set(names):
        raise ValueError(f"{CLASSES} lists {', '.join(ordered)}, {file.name} has columns for {', '.join(names)}")
    classes = ordered or names
    targets = [tuple(line.number(kind + name) for name in classes) for line in file.lines]
    for line, target in zip(file.lines, targets, strict=True):
        if kind == "mark:" and not set(target) <= {0, 1}:
            raise ValueError(f"{line.where}: the columns mark: are {target}; each must be 0 or 1")
        if kind == "class:" and (min(target) < 0 or abs(sum(target) - 1) > _SUM_TOLERANCE):
            raise ValueError(
                f"{line.where}: the columns class: are {target}, together {sum(target):g}; shares must not be negative "
                "and add up to 1: divide votes by how many there are"
            )
    return classes, targets


def _parts(file: LabelFile) -> tuple[int, list[str]]:
    """The number of folds, 0 where the parts are fixed, and the part of each line."""
    subjects = [line.text("subject") for line in file.lines] if "subject" in file.columns else []
    if "split" in file.columns and "fold" in file.columns:
        raise ValueError(f"{file.name} has the columns split and fold; keep one of them")
    if "split" in file.columns:
        for line in file.lines:
            if line.cells["split"] not in FIXED_PARTS:
                raise ValueError(f"{line.where}: split is {line.cells['split']!r}; write {', '.join(FIXED_PARTS)}")
        return 0, [line.cells["split"] for line in file.lines]
    if "fold" in file.columns:
        numbers = [line.number("fold") for line in file.lines]
        used = sorted(set(numbers))
        if len(used) < 2 or used != list(range(1, len(used) + 1)):
            shown = listed([f"{number:g}" for number in used])
            raise ValueError(f"{file.name}: the folds are {shown}; number them 1, 2, ... without a gap, at least two")
        return len(used), [str(int(number)) for number in numbers]
    if not subjects:
        raise ValueError(
            f"{file.name} does not say what to learn from; add a column subject (the person: {FOLDS} folds are then "
            f"made), split ({', '.join(FIXED_PARTS)}) or fold (1, 2, ...)"
        )
    if (people := len(set(subjects))) < FOLDS:
        raise ValueError(f"{file.name} has {people} subjects, too few for {FOLDS} folds; add a column split or fold")
    fold_of = subject_folds(subjects, folds=FOLDS)
    return FOLDS, [str(fold_of[subject] + 1) for subject in subjects]

"""The lists that come with corpora: reading them below the root, and checking one against the other."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pipelines.labels import listed, one_hot
from pipelines.storage import ObjectMissing, Storage

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_READ_AT_ONCE, _READ_AHEAD = 16, 1024


class Assigned(NamedTuple):
    """What the lists of a corpus say of a clip."""

    label: str
    part: str


def read_text(storage: Storage, name: str) -> str:
    """Raises ValueError for a list that is not there or is no UTF-8 text."""
    try:
        return storage.read(name).decode("utf-8-sig")
    except ObjectMissing as error:
        raise ValueError(
            f"{name} is missing in {storage.uri}; it comes with the corpus and says what to learn"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no UTF-8 text: {error}") from error


def read_all(storage: Storage, names: Sequence[str]) -> Iterator[bytes]:
    """Many small files in their order, several at once. Raises ValueError for one that is not there."""
    try:
        with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="lists") as pool:
            for start in range(0, len(names), _READ_AHEAD):
                yield from pool.map(storage.read, names[start : start + _READ_AHEAD])
    except ObjectMissing as error:
        raise ValueError(f"a label is missing: {error}; complete the corpus, or take all labels away") from error


def read_csv(storage: Storage, name: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header. Raises ValueError for missing columns and for rows that end early."""
    reader = csv.DictReader(read_text(storage, name).splitlines(), skipinitialspace=True)
    if lacking := sorted(set(columns) - set(reader.fieldnames or ())):
        raise ValueError(f"{name} has no columns {', '.join(lacking)}; it has {', '.join(reader.fieldnames or ())}")
    rows = []
    for row in reader:
        if any(row[column] is None for column in columns):
            raise ValueError(f"{name}, line {reader.line_num}: fewer than {len(reader.fieldnames or ())} columns")
        rows.append({column: row[column].strip() for column in columns})
    return rows


def read_pairs(storage: Storage, name: str) -> dict[str, str]:
    """Label of each clip in a list without header, a clip, a space and its label per line. Raises ValueError."""
    lines = [line.split() for line in read_text(storage, name).splitlines() if line.strip()]
    if wrong := [" ".join(line) for line in lines if len(line) != 2]:
        raise ValueError(f"{name}: {wrong[0]!r} is not a clip, a space and its label")
    return unique(((clip, label) for clip, label in lines), source=name)


def unique(pairs: Iterable[tuple[str, T]], *, source: str) -> dict[str, T]:
    """The pairs by their clip. Raises ValueError naming clips that come twice, and for no pair at all."""
    found: dict[str, T] = {}
    repeated = []
    for clip, value in pairs:
        if clip in found:
            repeated.append(clip)
        found[clip] = value
    if repeated:
        raise ValueError(f"{source} lists {listed(sorted(set(repeated)))} more than once")
    if not found:
        raise ValueError(f"{source} is empty")
    return found


def merge_folds(sets: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], *, source: str) -> dict[str, Assigned]:
    """Label and fold, "1" to the number of sets, of every clip; a set is the labels of its train and its test list.

    Raises ValueError unless every clip is tested in one set, is in the train list of all others, and has one label.
    """
    merged: dict[str, Assigned] = {}
    for fold, (_, test) in enumerate(sets, 1):
        if twice := sorted(merged.keys() & test.keys()):
            raise ValueError(
                f"{source}: {listed(twice)} are in the test lists of set {merged[twice[0]].part} and {fold}"
            )
        merged |= {clip: Assigned(label, str(fold)) for clip, label in test.items()}
    for fold, (train, test) in enumerate(sets, 1):
        if both := sorted(train.keys() & test.keys()):
            raise ValueError(f"{source}: {listed(both)} are in the train and the test list of set {fold}")
        if odd := sorted(train.keys() ^ (merged.keys() - test.keys())):
            raise ValueError(f"{source}: the train list of set {fold} is not all that other sets test: {listed(odd)}")
        if changed := sorted(clip for clip, label in train.items() if label != merged[clip].label):
            raise ValueError(f"{source}: {listed(changed)} have another label in the train list of set {fold}")
    return merged


def merge_parts(parts: Mapping[str, Mapping[str, str]], *, source: str) -> dict[str, Assigned]:
    """Label and part of every clip, from the list of each part. Raises ValueError for a clip in several."""
    merged: dict[str, Assigned] = {}
    for part, labels in parts.items():
        if twice := sorted(merged.keys() & labels.keys()):
            raise ValueError(f"{source}: {listed(twice)} are in the lists of {merged[twice[0]].part} and {part}")
        merged |= {clip: Assigned(label, part) for clip, label in labels.items()}
    return merged


def class_target(label: str, classes: Sequence[str], *, source: str) -> tuple[float, ...]:
    """The target of a clip by the name of its class. Raises ValueError for a name that is none."""
    if label not in classes:
        raise ValueError(f"{source} has the unknown class {label!r}; there are {', '.join(classes)}")
    return one_hot(classes.index(label), classes)


def replaced(table: pa.Table, **columns: Sequence[str]) -> pa.Table:
    """The table with other values in some of its columns of text."""
    import pyarrow as pa

    for name, values in columns.items():
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    return table

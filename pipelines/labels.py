"""What the videos of a corpus are labelled with: protocols, and the columns `labels` and `attributes` of a catalog.

A protocol is one way to use a corpus: which of its videos, what is told about them, and which are learned from. A
corpus may have several (DFEW's single labels and MAURA's reading of it, MEAD's low and high intensity). Whatever the
task, a target is one number per class: 1 at the class and 0 elsewhere, the shares of the annotators' votes, a mark for
each of several labels, or the values of a regression. The names of the classes, in the order of those numbers, are part
of the catalog and of every checkpoint trained on it. The task `affect` is several of these at once, one beside the
other; where a sample has no label of one of them, its numbers are NaN.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Task = Literal["classes", "multi_label", "regression", "affect"]
FIXED_PARTS = ("train", "validation", "test")

LABELS_TYPE = pa.list_(
    pa.struct([("protocol", pa.string()), ("target", pa.list_(pa.float32())), ("part", pa.string())])
)
ATTRIBUTES_TYPE = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))
_NAMED = 5  # offenders that a message lists


@dataclass(frozen=True)
class EvaluationProtocol:
    """One way to use a corpus."""

    name: str
    task: Task
    classes: tuple[str, ...]
    """In the order of a target's numbers; of a regression the names of its dimensions."""
    folds: int = 0
    """Parts are "1" to this number, each the test set once; 0: they are train, test and maybe validation."""
    metric: str = "uar"
    """The headline of the papers: a name in models.metrics."""
    group_by: str | None = None
    """Attribute over whose values the headline is averaged, each weighing the same (MEAD's views)."""
    official: int | None = None
    """Videos that the corpus is said to have under this protocol."""

    def __post_init__(self) -> None:
        if len(self.classes) < (1 if self.task == "regression" else 2) or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes={self.classes} of protocol {self.name!r} must be several different names")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds={self.folds} of protocol {self.name!r} must be 0 or at least 2")

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(str(fold + 1) for fold in range(self.folds)) if self.folds else FIXED_PARTS


class Label(NamedTuple):
    """What one protocol says of a video."""

    protocol: str
    target: tuple[float, ...]
    part: str


def one_hot(index: int, classes: Sequence[str]) -> tuple[float, ...]:
    """The target of a video of one class. Raises ValueError for an index that is none of a class."""
    if not 0 <= index < len(classes):
        raise ValueError(f"class index {index} must lie in [0, {len(classes)}): {', '.join(classes)}")
    return tuple(float(k == index) for k in range(len(classes)))


def with_labels(
    table: pa.Table, labels: Sequence[Iterable[Label]], attributes: Sequence[Mapping[str, str]] | None = None
) -> pa.Table:
    """The table with the columns labels and attributes, one entry per row; none where a protocol leaves a video out."""
    told = [[label._asdict() for label in of_video] for of_video in labels]
    known = attributes if attributes is not None else [{}] * table.num_rows
    pairs = [[{"name": name, "value": value} for name, value in sorted(of_video.items())] for of_video in known]
    for name, column in (("labels", pa.array(told, LABELS_TYPE)), ("attributes", pa.array(pairs, ATTRIBUTES_TYPE))):
        if name in table.column_names:
            table = table.drop_columns(name)
        table = table.append_column(name, column)
    return table


def label_rows(column: pa.ChunkedArray, protocol: EvaluationProtocol) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that a protocol labels (int64 [N], ascending), their targets (float32 [N, K]) and parts (str [N])."""
    lists = column.combine_chunks()
    flat, row_L = lists.flatten(), pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    chosen = pc.equal(pc.struct_field(flat, "protocol"), protocol.name)
    row_N = row_L[chosen.to_numpy(zero_copy_only=False)]
    targets = pc.struct_field(flat, "target").filter(chosen)
    target_NK = pc.list_flatten(targets).to_numpy(zero_copy_only=False).reshape(len(row_N), len(protocol.classes))
    return row_N.astype(np.int64), target_NK.astype(np.float32), _strings(pc.struct_field(flat, "part").filter(chosen))


def attribute_values(column: pa.ChunkedArray, name: str) -> list[str]:
    """The value of an attribute in every row, "" where it is not known."""
    lists = column.combine_chunks()
    pairs = lists.flatten()
    chosen = pc.equal(pc.struct_field(pairs, "name"), name)
    rows = pc.list_parent_indices(lists).filter(chosen)
    places = pc.index_in(pa.array(np.arange(len(lists))), value_set=rows)
    return pc.fill_null(pc.struct_field(pairs, "value").filter(chosen).take(places), "").to_pylist()


def _strings(column: pa.Array) -> np.ndarray:
    """str [N]; of millions of values there are few different ones."""
    coded = column.dictionary_encode()
    return np.array(coded.dictionary.to_pylist(), dtype=np.str_)[coded.indices.to_numpy()]


def check_labels(table: pa.Table, protocols: Sequence[EvaluationProtocol]) -> None:
    """Raises ValueError, naming the video, for a label of an unknown protocol, of another number of classes, with a
    value that is none, in an unknown part, or given twice; and for a protocol without any video. NaN is a value of the
    task affect alone, and not of a whole target."""
    column = table["labels"].combine_chunks()
    flat = column.flatten()
    if not protocols and not len(flat):
        return
    row_L = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    names = pa.array([protocol.name for protocol in protocols], pa.string())
    which_L = pc.fill_null(pc.index_in(pc.struct_field(flat, "protocol"), value_set=names), -1).to_numpy()
    repeated = [row_N[1:][np.diff(row_N) == 0] for row_N in (row_L[which_L == i] for i in range(len(protocols)))]
    wrong = np.concatenate([row_L[which_L < 0], *repeated])
    if len(wrong):
        row = table.select(["uri", "labels"]).slice(int(wrong.min()), 1).to_pylist()[0]
        found = [label["protocol"] for label in row["labels"]]
        raise ValueError(
            f"{row['uri']!r} has labels of the protocols {found}, the corpus has each of {names.to_pylist()} once"
        )
    for i, protocol in enumerate(protocols):
        of_protocol = np.flatnonzero(which_L == i)
        if (problem := _problem(flat.take(pa.array(of_protocol)), protocol)) is not None:
            uri = table["uri"][int(row_L[of_protocol[problem[0]]])].as_py()
            raise ValueError(f"{uri!r}, protocol {protocol.name}: {problem[1]}")
    if empty := [protocol.name for i, protocol in enumerate(protocols) if not (which_L == i).any()]:
        raise ValueError(f"no video has a label of the protocols {', '.join(empty)}")


def _problem(labels: pa.StructArray, protocol: EvaluationProtocol) -> tuple[int, str] | None:
    """The first of the labels of a protocol that cannot be meant, and why."""
    targets, parts = pc.struct_field(labels, "target"), pc.struct_field(labels, "part")
    strange_N = ~pc.is_in(parts, value_set=pa.array(protocol.parts)).to_numpy(zero_copy_only=False)
    if strange_N.any():
        first = int(np.argmax(strange_N))
        return first, f"part {parts[first].as_py()!r} is none of {', '.join(protocol.parts)}"
    count_N = pc.fill_null(pc.list_value_length(targets), 0).to_numpy()
    other_N = count_N != len(protocol.classes)
    if other_N.any():
        first = int(np.argmax(other_N))
        return first, f"{count_N[first]} numbers for {len(protocol.classes)} classes"
    values = targets.flatten()
    target_NK = values.to_numpy(zero_copy_only=False).reshape(len(labels), len(protocol.classes))
    if values.null_count:
        return int(np.argmax(values.is_null().to_numpy(zero_copy_only=False))) // target_NK.shape[1], "an empty number"
    for wrong_N, rule in _rules(target_NK, protocol.task):
        if wrong_N.any():
            first = int(np.argmax(wrong_N))
            return first, f"target {target_NK[first].tolist()} {rule}"
    return None


def _rules(target_NK: np.ndarray, task: Task) -> Iterator[tuple[np.ndarray, str]]:
    """Which targets break a rule, and the rule."""
    if task == "affect":
        yield np.isinf(target_NK).any(1), "is not finite"
        yield np.isnan(target_NK).all(1), "says nothing: leave the label out"
        return
    yield ~np.isfinite(target_NK).all(1), "is not finite"
    if task == "classes":
        off_N = abs(target_NK.sum(1, dtype=np.float64) - 1) > 1e-4
        yield (target_NK < 0).any(1) | off_N, "must be shares that add up to 1"
    if task == "multi_label":
        yield ~np.isin(target_NK, (0, 1)).all(1), "must be zeros and ones"


def check_subjects(table: pa.Table, protocol: EvaluationProtocol) -> None:
    """Raises ValueError naming people who are in several parts: what is measured on them would be memory."""
    row_N, _, part_N = label_rows(table["labels"], protocol)
    subject_N = np.array(table["subject"].to_pylist(), dtype=np.str_)[row_N]
    parts: dict[str, set[str]] = {}
    for subject, part in zip(subject_N.tolist(), part_N.tolist(), strict=True):
        parts.setdefault(subject, set()).add(part)
    if shared := sorted(subject for subject, found in parts.items() if len(found) > 1):
        raise ValueError(
            f"{len(shared)} subjects are in several parts of protocol {protocol.name}: {listed(shared)}; keep each "
            "person in one"
        )


def check_files(wanted: Collection[str], table: pa.Table, withdrawn: Collection[str], *, source: str) -> None:
    """Raises ValueError naming videos that a list (`source`) labels and that are neither there nor `withdrawn`."""
    missing = sorted(set(wanted) - set(table["uri"].to_pylist()) - set(withdrawn))
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(wanted)} videos that {source} labels are not there: {listed(missing)}; "
            "complete the corpus, or name them in the exclusion list, which every result then carries"
        )


def listed(names: Sequence[str]) -> str:
    """The first few, for a message."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")

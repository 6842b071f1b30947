"""What the videos of a corpus are labelled with: protocols, and the columns `labels` and `attributes` of a catalog.

A protocol is one way to use a corpus: which of its videos, what is told about them, and which are learned from. A
corpus may have several (DFEW's single labels and MAURA's reading of it, MEAD's low and high intensity). Whatever the
task, a target is one number per class: 1 at the class and 0 elsewhere, the shares of the annotators' votes, a mark for
each of several labels, or the values of a regression. The names of the classes, in the order of those numbers, are part
of the catalog and of every checkpoint trained on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Task = Literal["classes", "multi_label", "regression"]
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
    flat = pc.list_flatten(column).combine_chunks() if column.num_chunks else pa.array([], LABELS_TYPE.value_type)
    row_L = pc.list_parent_indices(column.combine_chunks()).to_numpy(zero_copy_only=False)
    chosen = pc.equal(pc.struct_field(flat, "protocol"), protocol.name)
    row_N = row_L[chosen.to_numpy(zero_copy_only=False)]
    targets = pc.struct_field(flat, "target").filter(chosen)
    target_NK = pc.list_flatten(targets).to_numpy(zero_copy_only=False).reshape(len(row_N), -1)
    part_N = np.array(pc.struct_field(flat, "part").filter(chosen).to_pylist(), dtype=np.str_)
    return row_N.astype(np.int64), target_NK.astype(np.float32), part_N


def attribute_values(column: pa.ChunkedArray, name: str) -> list[str]:
    """The value of an attribute in every row, "" where it is not known."""
    return [next((a["value"] for a in row if a["name"] == name), "") for row in column.to_pylist()]


def check_labels(table: pa.Table, protocols: Sequence[EvaluationProtocol]) -> None:
    """Raises ValueError, naming the video, for a label of an unknown protocol, of another number of classes, with a
    value that is none, in an unknown part, or given twice; and for a protocol without any video."""
    if not protocols and not pc.sum(pc.list_value_length(table["labels"])).as_py():
        return  # a million videos without labels
    known = {protocol.name: protocol for protocol in protocols}
    counts = dict.fromkeys(known, 0)
    for uri, labels in zip(table["uri"].to_pylist(), table["labels"].to_pylist(), strict=True):
        names = [label["protocol"] for label in labels]
        if len(set(names)) < len(names) or not set(names) <= set(known):
            raise ValueError(f"{uri!r} has labels of the protocols {names}, the corpus has each of {list(known)} once")
        for label in labels:
            protocol = known[label["protocol"]]
            problem = _problem(label, protocol)
            if problem:
                raise ValueError(f"{uri!r}, protocol {protocol.name}: {problem}")
            counts[protocol.name] += 1
    if empty := [name for name, count in counts.items() if not count]:
        raise ValueError(f"no video has a label of the protocols {', '.join(empty)}")


def _problem(label: dict, protocol: EvaluationProtocol) -> str | None:
    target = np.array(label["target"], np.float64)
    if label["part"] not in protocol.parts:
        return f"part {label['part']!r} is none of {', '.join(protocol.parts)}"
    if len(target) != len(protocol.classes):
        return f"{len(target)} numbers for {len(protocol.classes)} classes"
    if not np.isfinite(target).all():
        return f"target {label['target']} is not finite"
    if protocol.task == "classes" and (target.min() < 0 or abs(target.sum() - 1) > 1e-4):
        return f"target {label['target']} must be shares that add up to 1"
    if protocol.task == "multi_label" and not np.isin(target, (0, 1)).all():
        return f"target {label['target']} must be zeros and ones"
    return None


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

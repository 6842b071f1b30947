"""Several tasks at once, each scored by itself: expressions, action units, valence and arousal of one model.

The sum of their headlines is the score of the multi-task challenge (Kollias, CVPR workshops 2022): mean CCC, plus macro
F1 of the expressions, plus mean F1 of the units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.parts.scores import check_complete, evaluate
from pipelines.labels import EvaluationProtocol, Task

if TYPE_CHECKING:
    import pyarrow as pa

SCORE = "affect"
_KINDS: dict[str, tuple[Task, str]] = {
    "expr": ("classes", "f1_macro"),
    "au": ("multi_label", "multi_label_f1"),
    "va": ("regression", "ccc"),
}


def task_columns(protocol: EvaluationProtocol) -> dict[str, tuple[EvaluationProtocol, slice]]:
    """By name of a task (expr, au, va) what it is by itself, and its columns in a target of all. A protocol of one task
    is that task, of all columns."""
    if protocol.task != "affect":
        name = next(name for name, (task, _) in _KINDS.items() if task == protocol.task)
        return {name: (protocol, slice(0, len(protocol.classes)))}
    names = [label.partition("/")[0] for label in protocol.classes]
    found = {}
    for name in dict.fromkeys(names):
        columns = slice(names.index(name), names.index(name) + names.count(name))
        task, metric = _KINDS[name]
        classes = tuple(label.partition("/")[2] for label in protocol.classes[columns])
        found[name] = (replace(protocol, name=name, task=task, classes=classes, metric=metric), columns)
    return found


def has_task(target_NK: np.ndarray, columns: slice) -> np.ndarray:
    """Rows that have a target of a task, bool [N]."""
    return ~np.isnan(target_NK[:, columns]).any(1)


def evaluate_tasks(
    table: pa.Table, protocol: EvaluationProtocol, *, expected: Sequence[str], **options: Any
) -> dict[str, Any]:
    """`scores.evaluate`; of several tasks at once "tasks" holds that of each, over the rows that have it, and their
    scores are named TASK/METRIC. Raises ValueError as that, and for a task that no row has."""
    if protocol.task != "affect":
        return evaluate(table, protocol, expected=expected, **options)
    check_complete(expected, table["uri"].to_pylist())
    tasks = {}
    for name, (single, columns) in task_columns(protocol).items():
        rows = narrowed(table, columns)
        if not rows.num_rows:
            raise ValueError(
                f"none of {table.num_rows} rows is annotated for {name} of protocol {protocol.name}: complete the "
                f"corpus, or choose a protocol without {name}"
            )
        tasks[name] = evaluate(rows, single, expected=rows["uri"].to_pylist(), **options)
    first = next(iter(tasks.values()))
    named = {
        key: {f"{name}/{inner}": value for name, one in tasks.items() for inner, value in (one[key] or {}).items()}
        for key in ("metrics", "metrics_interval_95", "per_class")
    }
    shared = ("evaluation", "setting", "unit", "clips_per_video", "intervals_over", *options["cost"])
    return {
        **{name: first[name] for name in shared},
        "protocol": protocol.name,
        "task": protocol.task,
        "videos": table.num_rows,
        "official_videos": protocol.official,
        "subjects": len(set(table["subject"].to_pylist())),
        "metric": SCORE,
        "headline": sum(one["headline"] for one in tasks.values()),
        "headline_interval_95": None,
        "averaged_over": None,
        "per_part": {},
        "per_attribute": {},
        **named,
        "tasks": tasks,
    }


def narrowed(table: pa.Table, columns: slice) -> pa.Table:
    """The rows that have a target of one task, with its numbers alone."""
    import pyarrow as pa

    numbers = {name: np.array(table[name].to_pylist(), np.float32)[:, columns] for name in ("target", "score")}
    rows = np.flatnonzero(has_task(numbers["target"], slice(None)))
    chosen = table.take(pa.array(rows)).drop_columns([name for name in ("votes",) if name in table.column_names])
    for name, value_NK in numbers.items():
        index = chosen.schema.get_field_index(name)
        chosen = chosen.set_column(index, name, pa.array(value_NK[rows].tolist(), pa.list_(pa.float32())))
    return chosen

"""From predictions to what is reported: metrics, per class, per part, per group of people, with intervals.

Predictions are a table of one row per video: sample_id, uri, subject, part, attributes, target and score (one number
per class), clips (how many were averaged); for V-F1 also votes (how many clips are given each class). The parts of a
k-fold evaluation are pooled before anything is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from jobs.parts.intervals import headlines, intervals, statistics_by_subject
from models.metrics import METRICS, PER_CLASS, Metric, macro_f1, majority, statistics
from pipelines.labels import EvaluationProtocol, attribute_values, listed

if TYPE_CHECKING:
    import pyarrow as pa

Evaluation = Literal["paper", "clean"]
"""paper: the test set doubles as validation set, the last epoch is scored; clean: validation by held-out subjects."""
Setting = Literal["transductive", "inductive"]
"""Whether pre-training saw the test subjects, without labels, or not."""
V_F1 = "v_f1"
"""Macro F1 of the class that most clips of a video are given, instead of their mean score (MFA)."""
_MOST_VALUES = 20
_UNKNOWN = "unknown"


class Predictions(NamedTuple):
    """What is scored, one entry per row, in the order of uris."""

    uri_N: np.ndarray
    subject_N: np.ndarray
    part_N: np.ndarray
    target_NK: np.ndarray
    score_NK: np.ndarray
    vote_NK: np.ndarray | None
    """Clips that are given each class."""
    attributes: dict[str, np.ndarray]
    """Values by name, "" where one is not known."""


def check_complete(expected: Sequence[str], found: Sequence[str]) -> None:
    """Raises ValueError, naming videos, unless each that is expected was found once and nothing else was."""
    counts, wanted = Counter(found), set(expected)
    problems = {
        "have no prediction": [uri for uri in expected if uri not in counts],
        "were predicted several times": [uri for uri, count in counts.items() if count > 1],
        "were predicted and are not listed": [uri for uri in counts if uri not in wanted],
    }
    if told := [f"{len(uris)} videos {what}: {listed(sorted(uris))}" for what, uris in problems.items() if uris]:
        raise ValueError("; ".join(told))


def read_predictions(table: pa.Table, protocol: EvaluationProtocol) -> Predictions:
    """Raises ValueError, naming videos, for targets, scores or votes that are not as many finite numbers as classes."""
    table = table.sort_by("uri")
    uris = table["uri"].to_pylist()
    names = sorted({pair["name"] for row in table["attributes"].to_pylist() for pair in row})
    return Predictions(
        *(np.array(table[name].to_pylist(), dtype=np.str_) for name in ("uri", "subject", "part")),
        *(_numbers(table[name], uris, protocol) for name in ("target", "score")),
        _numbers(table["votes"], uris, protocol) if "votes" in table.column_names else None,
        {name: np.array(attribute_values(table["attributes"], name), dtype=np.str_) for name in names},
    )


def evaluate(
    table: pa.Table,
    protocol: EvaluationProtocol,
    *,
    expected: Sequence[str],
    evaluation: Evaluation,
    setting: Setting | None,
    cost: Mapping[str, float],
    unit: str = "videos",
) -> dict[str, Any]:
    """Everything that is reported of one set of predictions, as plain JSON.

    Args:
        expected: uris of the videos that had to be scored.
        setting: None where nothing was pre-trained.
        cost: what stands beside the metrics: parameters and gflops of the model.
        unit: what a row is of: videos, images or frames.

    Raises:
        ValueError: as `check_complete`, `read_predictions` and `headline_statistics`.
    """
    check_complete(expected, table["uri"].to_pylist())
    predictions = read_predictions(table, protocol)
    headline_SG, headline = headline_statistics(predictions, protocol)
    pooled_SG, metrics = _statistics(predictions, protocol, None), METRICS[protocol.task]
    several = len(pooled_SG) > 1
    result: dict[str, Any] = {
        "protocol": protocol.name,
        "task": protocol.task,
        "evaluation": evaluation,
        "setting": setting,
        "unit": unit,
        "videos": table.num_rows,
        "official_videos": protocol.official,
        "subjects": len(pooled_SG),
        "clips_per_video": {str(clips): count for clips, count in sorted(Counter(table["clips"].to_pylist()).items())},
        **cost,
        "metric": protocol.metric,
        "headline": headlines(headline_SG[None], headline)[protocol.metric],
        "headline_interval_95": intervals(headline_SG[None], headline)[protocol.metric] if several else None,
        "averaged_over": protocol.group_by,
        "metrics": headlines(pooled_SG[None], metrics),
        "metrics_interval_95": intervals(pooled_SG[None], metrics) if several else None,
        "intervals_over": "subjects" if len(pooled_SG) < table.num_rows else "videos",
        **_broken_down(predictions, pooled_SG.sum((0, 1)), protocol),
    }
    if protocol.group_by:
        averaged_SG = _statistics(predictions, protocol, protocol.group_by)
        result["metrics_averaged"] = headlines(averaged_SG[None], metrics)
    return result


def headline_statistics(predictions: Predictions, protocol: EvaluationProtocol) -> tuple[np.ndarray, dict[str, Metric]]:
    """What the protocol's metric is computed from [subjects, groups, ...], and the metric by its name.

    Raises ValueError for a metric that the task does not have, or videos without the attribute of the groups.
    """
    metrics = METRICS[protocol.task] | ({V_F1: macro_f1} if protocol.task == "classes" else {})
    if protocol.metric not in metrics:
        raise ValueError(
            f"metric={protocol.metric} of protocol {protocol.name} is none of the task {protocol.task}: "
            f"{', '.join(metrics)}"
        )
    if protocol.metric == V_F1:
        if predictions.vote_NK is None:
            raise ValueError(f"metric={V_F1} needs the column votes: how many clips of a video are given each class")
        class_N = majority(predictions.vote_NK, predictions.score_NK)
        predictions = predictions._replace(score_NK=np.eye(len(protocol.classes))[class_N])
    return _statistics(predictions, protocol, protocol.group_by), {protocol.metric: metrics[protocol.metric]}


def _numbers(column: pa.ChunkedArray, uris: Sequence[str], protocol: EvaluationProtocol) -> np.ndarray:
    rows, num_classes = [np.array(row, np.float64) for row in column.to_pylist()], len(protocol.classes)
    bad = [
        uri for uri, row in zip(uris, rows, strict=True) if row.shape != (num_classes,) or not np.isfinite(row).all()
    ]
    if bad:
        raise ValueError(f"{len(bad)} videos have no {num_classes} finite numbers for the classes: {listed(bad)}")
    return np.array(rows).reshape(len(rows), num_classes)


def _statistics(predictions: Predictions, protocol: EvaluationProtocol, group_by: str | None) -> np.ndarray:
    """Statistics [subjects, groups, ...] of predictions, subjects and groups in ascending order."""
    value_N = np.full(len(predictions.uri_N), "all")
    if group_by:
        value_N = predictions.attributes.get(group_by, np.full(len(value_N), ""))
        if without := predictions.uri_N[value_N == ""].tolist():
            raise ValueError(f"{len(without)} videos have no attribute {group_by!r}: {listed(without)}")
    columns = predictions.target_NK, predictions.score_NK, predictions.subject_N
    return statistics_by_subject(protocol.task, *columns, value_N)


def _broken_down(predictions: Predictions, counts: np.ndarray, protocol: EvaluationProtocol) -> dict[str, Any]:
    """Scores by class, part and value of an attribute; the confusion matrix where there are classes."""
    found = {
        "per_class": _per_class(counts, protocol),
        "per_part": _per_value(predictions, predictions.part_N, protocol),
        "per_attribute": {
            name: _per_value(predictions, value_N, protocol)
            for name, value_N in predictions.attributes.items()
            if 1 < len(np.unique(value_N)) <= _MOST_VALUES
        },
    }
    return found | ({"confusion_matrix": counts.astype(int).tolist()} if protocol.task == "classes" else {})


def _per_class(counts: np.ndarray, protocol: EvaluationProtocol) -> dict[str, Any]:
    """How many videos each class has (a label: is there in), and its scores; no recall where it does not occur."""
    if protocol.task == "regression":
        count_K = counts[:, 0]
    else:
        count_K = counts.sum(1) if protocol.task == "classes" else counts[:, 1].sum(1)
    scores = {name: metric(counts).tolist() for name, metric in PER_CLASS[protocol.task].items()}
    found: dict[str, Any] = {}
    for k, name in enumerate(protocol.classes):
        found[name] = {"videos": int(count_K[k])} | {metric: values[k] for metric, values in scores.items()}
        if "recall" in found[name] and not count_K[k]:
            found[name]["recall"] = None
    return found


def _per_value(predictions: Predictions, value_N: np.ndarray, protocol: EvaluationProtocol) -> dict[str, Any]:
    """Counts and metrics of the videos of each value, pooled."""
    values, group_N = np.unique(value_N, return_inverse=True)
    counts = statistics(protocol.task, predictions.target_NK, predictions.score_NK, group_N, num_groups=len(values))
    scores = {name: metric(counts).tolist() for name, metric in METRICS[protocol.task].items()}
    return {
        value or _UNKNOWN: {
            "videos": int((group_N == g).sum()),
            "subjects": len(np.unique(predictions.subject_N[group_N == g])),
            **{name: reached[g] for name, reached in scores.items()},
        }
        for g, value in enumerate(values.tolist())
    }

"""Trained models on what they were not trained on: the predictions of every fold together, and what they are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jobs.parts.predictions import IDENTITY, PREDICTIONS, write_predictions
from pipelines.labels import EvaluationProtocol
from pipelines.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.parts.fold_runs import FoldWork
    from jobs.parts.scores import Setting

METRICS, CONFUSION = "metrics.json", "confusion.png"


def setting_of(data: Mapping[str, Any], test_subjects: Sequence[str]) -> Setting | None:
    """transductive where a checkpoint that the weights, or the features, come from has seen a test subject, by its own
    list of subjects; inductive where none has; None where nothing came before. `data` is what the fine-tuned checkpoint
    says of its own."""
    ancestors, ahead = [], _before(data)
    while ahead:
        ancestors += ahead
        ahead = [one for ancestor in ahead for one in _before(ancestor)]
    if not ancestors:
        return None
    seen = {subject for one in ancestors if one.get("corpus") == data["corpus"] for subject in one["subjects"]}
    return "transductive" if seen & set(test_subjects) else "inductive"


def _before(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is known of the data of the checkpoints that came right before."""
    features = [one["seen"] for one in data.get("features", ())]
    return [one for one in (data.get("started_from"), *features) if one]


def evaluate_folds(works: Sequence[FoldWork], tables: Sequence[pa.Table]) -> tuple[dict[str, Any], pa.Table]:
    """The result of one seed, all its folds pooled, and their predictions in one table."""
    import pyarrow as pa

    from jobs.parts.affect_scores import evaluate_tasks

    first = works[0]
    pooled = pa.concat_tables(tables).sort_by("uri").combine_chunks()
    expected = [uri for work in works for uri in work.expected()]
    pairs = zip(works, tables, strict=True)
    settings = {setting_of(work.data(), table["subject"].to_pylist()) for work, table in pairs}
    result = evaluate_tasks(
        pooled,
        first.protocol,
        expected=expected,
        evaluation=first.config.evaluation,
        setting="transductive" if "transductive" in settings else settings.pop(),
        cost=first.cost(),
        unit=first.unit,
    )
    return {"corpus": first.config.corpus.title, "seed": first.config.seed, "folds": len(works), **result}, pooled


def write_result(place: Storage, result: dict[str, Any], predictions: pa.Table, protocol: EvaluationProtocol) -> None:
    """metrics.json, predictions.parquet and, of classes, confusion.png; of several tasks at once of those that have
    classes."""
    from jobs.parts.score_report import draw_confusion

    write_predictions(place, predictions, {"protocol": asdict(protocol)})
    for one in result.get("tasks", {"": result}).values():
        if "confusion_matrix" in one:
            place.write(CONFUSION, draw_confusion(one))
    place.write(METRICS, json.dumps(result, indent=1).encode())


def read_result(place: Storage) -> tuple[dict[str, Any], pa.Table, EvaluationProtocol]:
    """What `write_result` wrote: the result, its predictions and their protocol. Raises ObjectMissing where it did
    not."""
    from pipelines.parquet import read_table

    result = json.loads(place.read(METRICS))
    table = read_table(place.read(PREDICTIONS), name=place.full(PREDICTIONS))
    definition = json.loads(table.schema.metadata[IDENTITY])["protocol"]
    protocol = EvaluationProtocol(**{**definition, "classes": tuple(definition["classes"])})
    return result, table.replace_schema_metadata(None), protocol

"""Fine-tuned models on the videos they were not trained on: predictions of every fold, and what all are worth."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.parts.finetuning import Finetuning
from jobs.parts.inference import InferenceConfig, infer
from pipelines.labels import ATTRIBUTES_TYPE, EvaluationProtocol
from pipelines.storage import ObjectMissing, Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.parts.finetune_config import FinetuneConfig
    from jobs.parts.scores import Setting

logger = logging.getLogger(__name__)

PREDICTIONS, METRICS, CONFUSION = "predictions.parquet", "metrics.json", "confusion.png"
_IDENTITY = b"semblance.predictions"


def predict_test_videos(work: Finetuning, run_directory: Storage, checkpoint: str) -> pa.Table:
    """Predictions of a run for its test videos, each exactly once, kept beside the run and found there again. Ray must
    be up.

    Raises ValueError, naming videos, where one cannot be used.
    """
    from pipelines.labelled_videos import check_all_usable

    identity = {"checkpoint": checkpoint, "clips": work.config.test_clips, "fingerprint": work.fingerprint}
    known = _read(run_directory, identity)
    if known is not None:
        return known
    videos = work.test_videos()
    check_all_usable(videos)
    config = InferenceConfig(checkpoint, "scores", work.config.sample(), work.config.test_clips)
    scores = infer(config, videos, work.catalog.storage, work.annotations)
    table = prediction_table(work.catalog.table, videos, scores)
    _write(run_directory, table, identity)
    return table


def prediction_table(catalog: pa.Table, videos: pa.Table, scores: Mapping[int, np.ndarray]) -> pa.Table:
    """One row per labelled video: what it is, its target, the mean score of its clips, how many there were, and how
    many of them say each class.

    Raises ValueError naming videos without a score.
    """
    import pyarrow as pa

    from jobs.parts.scores import check_complete

    uri_of = dict(zip(videos["sample_id"].to_pylist(), videos["uri"].to_pylist(), strict=True))
    check_complete(list(uri_of.values()), [uri_of.get(sample_id, str(sample_id)) for sample_id in scores])
    score_VK = [scores[sample_id] for sample_id in uri_of]
    votes = [np.bincount(one.argmax(1), minlength=one.shape[1]) for one in score_VK]
    attributes = catalog["attributes"].take(videos["sample_id"])
    return pa.table(
        {
            **{name: videos[name] for name in ("sample_id", "uri", "subject", "part", "target")},
            "attributes": attributes.cast(ATTRIBUTES_TYPE),
            "score": pa.array([one.mean(0).tolist() for one in score_VK], pa.list_(pa.float32())),
            "clips": pa.array([len(one) for one in score_VK], pa.int32()),
            "votes": pa.array([one.tolist() for one in votes], pa.list_(pa.int32())),
        }
    )


def setting_of(data: Mapping[str, Any], test_subjects: Sequence[str]) -> Setting | None:
    """transductive where a checkpoint that the weights come from has seen a test subject, by its own list of subjects;
    inductive where none has; None where nothing came before. `data` is what the fine-tuned checkpoint says of its
    own."""
    ancestors, ancestor = [], data.get("started_from")
    while ancestor:
        ancestors.append(ancestor)
        ancestor = ancestor.get("started_from")
    if not ancestors:
        return None
    seen = {subject for one in ancestors if one.get("corpus") == data["corpus"] for subject in one["subjects"]}
    return "transductive" if seen & set(test_subjects) else "inductive"


def evaluate_folds(works: Sequence[Finetuning], tables: Sequence[pa.Table]) -> tuple[dict[str, Any], pa.Table]:
    """The result of one seed, all its folds pooled, and their predictions in one table."""
    import pyarrow as pa

    from jobs.parts.scores import evaluate

    first = works[0]
    pooled = pa.concat_tables(tables).sort_by("uri").combine_chunks()
    expected = [uri for work in works for uri in work.test_videos()["uri"].to_pylist()]
    pairs = zip(works, tables, strict=True)
    settings = {setting_of(work.data(), table["subject"].to_pylist()) for work, table in pairs}
    result = evaluate(
        pooled,
        first.protocol,
        expected=expected,
        evaluation=first.config.evaluation,
        setting="transductive" if "transductive" in settings else settings.pop(),
        cost=cost(first.config),
    )
    return {"corpus": first.config.corpus.title, "seed": first.config.seed, "folds": len(works), **result}, pooled


def cost(config: FinetuneConfig) -> dict[str, float]:
    """Parameters of the model, and GFLOPs of a clip in the papers' convention: a multiply-add is one."""
    import torch

    from models.fine_tuning import build
    from models.flops import count_multiply_adds, count_parameters

    with torch.device("meta"):
        model = build(config.model).eval()
        clip_BTHWC = torch.empty(1, *config.sample().clip_shape)
        return {
            "parameters": count_parameters(model),
            "gflops": count_multiply_adds(model.encoder, clip_BTHWC) / 1e9,
        }


def write_result(place: Storage, result: dict[str, Any], predictions: pa.Table, protocol: EvaluationProtocol) -> None:
    """metrics.json, predictions.parquet and, of classes, confusion.png."""
    from jobs.parts.score_report import draw_confusion

    _write(place, predictions, {"protocol": asdict(protocol)})
    if "confusion_matrix" in result:
        place.write(CONFUSION, draw_confusion(result))
    place.write(METRICS, json.dumps(result, indent=1).encode())


def read_result(place: Storage) -> tuple[dict[str, Any], pa.Table, EvaluationProtocol]:
    """What `write_result` wrote: the result, its predictions and their protocol. Raises ObjectMissing where it did
    not."""
    import pyarrow.parquet as pq

    result = json.loads(place.read(METRICS))
    table = pq.read_table(io.BytesIO(place.read(PREDICTIONS)))
    definition = json.loads(table.schema.metadata[_IDENTITY])["protocol"]
    protocol = EvaluationProtocol(**{**definition, "classes": tuple(definition["classes"])})
    return result, table.replace_schema_metadata(None), protocol


def _read(place: Storage, identity: dict[str, Any]) -> pa.Table | None:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(place.read(PREDICTIONS)))
    except ObjectMissing:
        return None
    found = json.loads((table.schema.metadata or {}).get(_IDENTITY, b"{}"))
    return table.replace_schema_metadata(None) if found == identity else None


def _write(place: Storage, table: pa.Table, identity: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({_IDENTITY: json.dumps(identity)}), sink, compression="zstd")
    place.write(PREDICTIONS, sink.getvalue().to_pybytes())

"""Predictions of fine-tuned models for videos or images, and how predictions are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.parts.inference import InferenceConfig, infer
from pipelines.labels import ATTRIBUTES_TYPE
from pipelines.storage import ObjectMissing, Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.parts.finetune_config import FinetuneConfig
    from jobs.parts.finetuning import Finetuning

PREDICTIONS = "predictions.parquet"
IDENTITY = b"semblance.predictions"


def predict_test_videos(work: Finetuning, run_directory: Storage, checkpoint: str) -> pa.Table:
    """Predictions of a run for its test videos, each exactly once, kept beside the run and found there again. Ray must
    be up.

    Raises ValueError, naming videos, where one cannot be used.
    """
    from pipelines.labelled_videos import check_all_usable

    identity = {"checkpoint": checkpoint, "clips": work.config.test_clips, "fingerprint": work.fingerprint}
    known = read_predictions_of(run_directory, identity)
    if known is not None:
        return known
    videos = work.test_videos()
    check_all_usable(videos)
    config = InferenceConfig(checkpoint, "scores", work.config.sample(), work.config.test_clips)
    scores = infer(config, videos, work.catalog.storage, work.annotations)
    table = prediction_table(work.catalog.table, videos, scores)
    write_predictions(run_directory, table, identity)
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


def model_cost(config: FinetuneConfig) -> dict[str, float]:
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


def read_predictions_of(place: Storage, identity: dict[str, Any]) -> pa.Table | None:
    """Predictions of such an identity that were kept at a place; None where there are none."""
    from pipelines.parquet import read_table

    try:
        table = read_table(place.read(PREDICTIONS), name=place.full(PREDICTIONS))
    except ObjectMissing:
        return None
    found = json.loads((table.schema.metadata or {}).get(IDENTITY, b"{}"))
    return table.replace_schema_metadata(None) if found == identity else None


def write_predictions(place: Storage, table: pa.Table, identity: dict[str, Any]) -> None:
    """Keeps predictions with what they are of, as JSON values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({IDENTITY: json.dumps(identity)}), sink, compression="zstd")
    place.write(PREDICTIONS, sink.getvalue().to_pybytes())

"""The work of jobs/probe.py: arms scored and compared, a table on a terminal, and files.

metrics.json              every arm's scores over the seeds, and how far it lies from the first
labels.png, tsne.png      what the corpus holds, and how its classes lie in the features of each encoder
ARM[/seedN]/              what jobs/finetune.py writes of a model: metrics.json, predictions.parquet, confusion.png
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.runtime import print_result, ray_session
from jobs.config import to_json
from jobs.parts.evaluation import METRICS, write_result
from jobs.parts.intervals import intervals
from jobs.parts.probe_arms import MEAN, SEQUENCE, Arm, Probing
from jobs.parts.probe_config import ProbeJobConfig
from jobs.parts.score_comparison import compare, over_seeds
from jobs.parts.scores import headline_statistics, read_predictions
from pipelines.storage import Storage
from pipelines.storage import home as default_home

if TYPE_CHECKING:
    from pipelines.labels import EvaluationProtocol

logger = logging.getLogger(__name__)

TSNE, LABELS = "tsne.png", "labels.png"


def probe(config: ProbeJobConfig) -> None:
    """Shows a table on stderr, writes the result and prints it as the last line.

    Raises ValueError for options that do not fit the corpus or the checkpoints and for a video that cannot be used,
    CheckpointError for checkpoints that are not there.
    """
    from jobs.parts.probe_report import show

    home = Storage(config.home) if config.home else default_home()
    with ray_session():
        probing = Probing(config, home)
        arms = probing.run()
    place = Storage(config.output) if config.output else home.child("probes", _name(probing))
    result = summary(probing, arms)
    show(result)
    for arm in arms:
        _write_arm(arm, probing, place)
    pictures = _draw(probing, place)
    place.write(METRICS, json.dumps(result, indent=1).encode())
    headlines = {f"{arm['model']}, {arm['probe']}": arm["headline"]["mean"] for arm in result["arms"]}
    names = ("corpus", "protocol", "videos", "metric", "baseline", "above_baseline")
    line = {"directory": place.uri, **{name: result[name] for name in names}, "headlines": headlines}
    print_result(line | {"pictures": pictures})


def summary(probing: Probing, arms: Sequence[Arm]) -> dict[str, Any]:
    """Scores of all arms, as plain JSON. What is compared is paired over subjects and seeds: the models by one probe
    each, with what is no encoder."""
    first = arms[0].model
    apart = {}
    for kind in dict.fromkeys(arm.probe for arm in arms if arm.model == first):
        tables = {arm.model: arm.tables for arm in arms if arm.probe in (kind, SEQUENCE, MEAN)}
        apart[kind] = compare(tables, probing.protocol, baseline=first)
    config, one = probing.config, arms[0].results[0]
    return {
        "corpus": config.corpus.title,
        **{name: one[name] for name in ("protocol", "task", "metric", "videos", "subjects")},
        "config": to_json(config),
        "encoders": {
            encoder.name: {"checkpoint": encoder.origin, "untrained": encoder.untrained is not None, **encoder.cost}
            for encoder in probing.encoders
        },
        "arms": [
            {
                "model": arm.model,
                "probe": arm.probe,
                **over_seeds(arm.results),
                "headline_interval_95": _interval(arm, probing.protocol) if one["subjects"] > 1 else None,
            }
            for arm in arms
        ],
        "baseline": first,
        "above_baseline": apart,
    }


def _interval(arm: Arm, protocol: EvaluationProtocol) -> list[float]:
    """Of the mean over the seeds, over subjects and seeds."""
    counted = [headline_statistics(read_predictions(table, protocol), protocol) for table in arm.tables]
    return intervals(np.stack([statistics for statistics, _ in counted]), counted[0][1])[protocol.metric]


def _write_arm(arm: Arm, probing: Probing, place: Storage) -> None:
    folder = place.child(re.sub(r"[^\w.-]+", "-", f"{arm.model} {arm.probe}"))
    for seed, (table, result) in enumerate(zip(arm.tables, arm.results, strict=True)):
        where = folder if len(arm.tables) == 1 else folder.child(f"seed{seed}")
        write_result(where, result, table, probing.protocol)


def _draw(probing: Probing, place: Storage) -> list[str]:
    """Addresses of the pictures."""
    from jobs.parts.feature_pictures import draw_labels, draw_tsne

    protocol, title = probing.protocol, f"{probing.config.corpus.title}, {probing.protocol.name}"
    exam = probing.exam
    place.write(LABELS, draw_labels(exam.target_NK, exam.column("part"), protocol, title=title))
    if protocol.task != "classes" or not probing.tested_features:
        return [place.full(LABELS)]
    class_M = exam.target_NK[exam.tested_N].argmax(1)
    place.write(TSNE, draw_tsne(probing.tested_features, class_M, protocol.classes, title=title))
    return [place.full(LABELS), place.full(TSNE)]


def _name(probing: Probing) -> str:
    """Of the folder of the result: the same for the same question about the same videos and weights."""
    asked = to_json(replace(probing.config, output=None, home=None))
    key = [asked, probing.catalog.fingerprint, [encoder.origin for encoder in probing.encoders]]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f"{probing.config.corpus.name}-{probing.protocol.name}-{digest[:10]}"

"""An ablation from its config: takes prepared, arms pre-trained, encoders probed, scores compared."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.preflight import cluster_capacity
from cluster.runtime import print_result, ray_session
from cluster.trainer import fit
from jobs.config import to_json
from jobs.parts.ablation_config import BASELINE, UNITS, UNTRAINED, AblationConfig
from jobs.parts.command_line import Command
from jobs.parts.pretraining import TRAINING_SPLIT, check_same_run, run_name, training_run
from pipelines.corpora.mead import EMOTIONS
from pipelines.storage import Storage
from pipelines.storage import home as default_home

if TYPE_CHECKING:
    from jobs.parts.view_features import ViewTable
    from models.encoder import VideoEncoder
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)

SCORES, PICTURE = "scores.json", "scores.png"


def ablate(command: Command[AblationConfig]) -> None:
    """Pre-trains what is missing, probes everything, draws scores.png and prints the result as the last line.

    Raises ValueError for a video that cannot be used, and what `cluster.trainer.fit` raises.
    """
    from jobs.parts.ablation_report import draw_scores, show
    from jobs.parts.takes import prepare_takes
    from pipelines.annotations import fingerprint_of

    config = command.config
    home = Storage(command.home) if command.home else default_home()
    with ray_session():
        uri, catalog, annotations = prepare_takes(config.pretrain.corpus, home)
        runs = train_arms(config, uri, catalog, annotations, home)
    name = command.name or run_name(config.pretrain, fingerprint_of(catalog, annotations))
    place = home.child("ablations", name)
    encoders = load_encoders(config, runs)
    result = probe(config, encoders, catalog, annotations)
    recorded = result | {"catalog": catalog.fingerprint, "pretrain": to_json(config.pretrain)}
    place.write(SCORES, json.dumps(recorded, indent=1).encode())
    place.write(PICTURE, draw_scores(result))
    show(result)
    print_result({**result, "scores": place.full(SCORES), "picture": place.full(PICTURE)})


def train_arms(
    config: AblationConfig, catalog_uri: str, catalog: Catalog, annotations: Annotations, home: Storage
) -> dict[tuple[str, int], str]:
    """The run directories by arm and seed; a run that is finished is found, an unfinished one goes on. Ray is up."""
    from jobs.parts.take_pretraining import TakePretraining

    directories = {}
    runs = list(config.runs())
    for number, (arm, seed, pretrain) in enumerate(runs, start=1):
        work = TakePretraining(pretrain, catalog_uri, catalog, annotations)
        name = run_name(pretrain, work.fingerprint)
        directory = home.child("runs", name)
        check_same_run(directory, pretrain)
        logger.info("run %d of %d: %s with seed %d", number, len(runs), arm, seed)
        done = fit(training_run(pretrain, work, name, directory.uri, cluster_capacity()))
        if not done.is_finished:
            raise ValueError(f"{directory.uri} was stopped at step {done.steps}; the same command goes on")
        directories[arm, seed] = directory.uri
    return directories


def load_encoders(config: AblationConfig, runs: dict[tuple[str, int], str]) -> dict[tuple[str, int], VideoEncoder]:
    """Encoders by arm and seed, the untrained ones among them: the weights that the arms of a seed began with."""
    import torch

    from jobs.parts.trained import load_trained
    from models.weights import build_model

    encoders = {}
    for seed in range(config.seeds):
        torch.manual_seed(seed)
        encoders[UNTRAINED, seed] = build_model(config.pretrain.model).encoder
    encoders |= {key: load_trained(directory).model().encoder for key, directory in runs.items()}
    return {key: encoder.eval() for key, encoder in encoders.items()}


def probe(
    config: AblationConfig,
    encoders: dict[tuple[str, int], VideoEncoder],
    catalog: Catalog,
    annotations: Annotations,
) -> dict[str, Any]:
    """Scores of every arm, of the known action units as a measure of what a probe can reach, and their differences
    from the baseline. Prediction is across folds of subjects."""
    from jobs.parts.ablation_scores import describe, differences
    from jobs.parts.view_features import encode_views, read_views, unit_features, view_table

    sample = config.pretrain.sample()
    table = view_table(catalog, _takes(config, catalog))
    logger.info("features of %d videos by %d encoders", len(table.videos), len(encoders))
    features = encode_views(encoders, read_views(table, catalog, annotations, sample))
    counts = {
        arm: np.stack([_count(features[arm, seed], table) for seed in range(config.seeds)])
        for arm in dict.fromkeys(arm for arm, _ in encoders)
    }
    counts[UNITS] = _count(unit_features(table, annotations), table)[None]
    return {
        "recipe": config.recipe,
        "arms": {arm: describe(counts_RSVCC) for arm, counts_RSVCC in counts.items()},
        f"above_{BASELINE}": differences(counts, BASELINE),
        "chance_uar": 1 / len(EMOTIONS),
        "subjects": len(np.unique(table.subject_N)),
        "videos": len(table.videos),
        "seeds": config.seeds,
        "protocol": "transductive: pre-trained on the subjects that are probed, without their labels",
    }


def _count(features_NC: np.ndarray, table: ViewTable) -> np.ndarray:
    from jobs.parts.ablation_scores import count
    from models.probes import predict_by_folds

    predicted_N = predict_by_folds(features_NC, table.emotion_N, table.subject_N, table.fold_N)
    return count(predicted_N, table.emotion_N, table.view_N, table.subject_N)


def _takes(config: AblationConfig, catalog: Catalog) -> Any:
    """The takes that the arms were trained on; all views of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from pipelines.takes import take_table

    choice = config.pretrain.choice
    takes = take_table(catalog, choice.takes).table
    levels = pc.is_in(takes["level"], value_set=pa.array(choice.levels))
    return takes.filter(pc.and_(pc.equal(takes["split"], TRAINING_SPLIT), levels))

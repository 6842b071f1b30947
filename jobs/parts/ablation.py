"""An ablation from its config: takes prepared, arms pre-trained, encoders probed, scores compared."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.runtime import end_job, print_result, ray_session
from jobs.config import to_json
from jobs.parts.ablation_config import BASELINE, UNITS, UNTRAINED, AblationConfig
from jobs.parts.claims import claim
from jobs.parts.command_line import Command
from jobs.parts.pretraining import TRAINING_SPLIT
from jobs.parts.training import finished_result, run_name, train
from pipelines.corpora.mead import VIEWS
from pipelines.progress import progress
from pipelines.storage import Storage
from pipelines.storage import home as default_home

if TYPE_CHECKING:
    from jobs.parts.view_features import ViewTable
    from models.encoder import VideoEncoder
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)

CONFIG, PICTURE = "ablation.json", "scores.png"

Runs = dict[tuple[str, int], str]
"""Run directories by arm and seed."""


def ablate(command: Command[AblationConfig]) -> None:
    """Pre-trains what is missing, probes everything, draws scores.png and prints the result as the last line. A
    finished ablation is found again.

    Raises ValueError for takes that cannot be compared, a video that cannot be used, or a name that belongs to another
    config, and what `cluster.trainer.fit` raises.
    """
    from jobs.parts.ablation_report import draw_scores, show
    from jobs.parts.takes import prepare_takes
    from pipelines.annotations import fingerprint_of

    config = command.config
    home = Storage(command.home) if command.home else default_home()
    with ray_session():
        uri, catalog, annotations = prepare_takes(config.pretrain.corpus, home)
        identity = {
            "pretrain": to_json(config.pretrain.learning()),
            "seeds": config.seeds,
            "data": fingerprint_of(catalog, annotations),
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
        place = home.child("ablations", command.name or f"{config.recipe}-{digest}")
        claim(place, CONFIG, identity, what="an ablation")
        result = finished_result(place)
        if result is None:
            table = comparable_views(config, catalog)
            runs = train_arms(config, uri, catalog, annotations, home)
    if result is None and len(runs) < len(list(config.runs())):
        end_job({"directory": place.uri, "runs": _named(runs), "is_finished": False})
        return
    if result is None:
        encoders = load_encoders(config, runs)
        result = probe(config, encoders, table, catalog, annotations)
        place.write(PICTURE, draw_scores(result))
        result |= {"directory": place.uri, "picture": place.full(PICTURE), "runs": _named(runs)}
    show(result)
    print_result(result, place)


def comparable_views(config: AblationConfig, catalog: Catalog) -> ViewTable:
    """The videos of the takes that every arm is trained on. Known before any is.

    Raises ValueError where takes of a single view would be seen by some arms only, or subjects do not suffice.
    """
    from jobs.parts.view_features import view_table
    from models.probes import check_folds
    from pipelines.take_stream import chosen_takes

    takes, _ = chosen_takes(catalog, TRAINING_SPLIT, config.pretrain.choice, fewest_views=1)
    views_of_takes = ([uri for uri in uris if uri] for uris in takes["uris"].to_pylist())
    if alone := [uris[0] for uris in views_of_takes if len(uris) == 1]:
        raise ValueError(
            f"{len(alone)} takes have a single view, so arms with another view as the target cannot learn from them; "
            f"name them in the list of pretrain.corpus.exclude: {', '.join(sorted(alone))}"
        )
    table = view_table(catalog, takes)
    check_folds(table.subject_N, table.fold_N)
    return table


def train_arms(
    config: AblationConfig, catalog_uri: str, catalog: Catalog, annotations: Annotations, home: Storage
) -> Runs:
    """A run that is finished is found, an unfinished one goes on; fewer than all where one was asked to stop. Ray must
    be up."""
    from jobs.parts.take_pretraining import TakePretraining

    directories, runs = {}, list(config.runs())
    for number, (arm, seed, pretrain) in enumerate(runs, start=1):
        work = TakePretraining(pretrain, catalog_uri, catalog, annotations)
        name = run_name(pretrain, work.fingerprint)
        directory = home.child("runs", name)
        logger.info("run %d of %d: %s with seed %d", number, len(runs), arm, seed)
        result = train(pretrain, work, name, directory)
        if not result["is_finished"]:
            logger.info("%s was stopped at step %d; the same command goes on", directory.uri, result["steps"])
            break
        directories[arm, seed] = directory.uri
    return directories


def _named(runs: Runs) -> dict[str, str]:
    return {f"{arm}, seed {seed}": directory for (arm, seed), directory in runs.items()}


def load_encoders(config: AblationConfig, runs: Runs) -> dict[tuple[str, int], VideoEncoder]:
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
    table: ViewTable,
    catalog: Catalog,
    annotations: Annotations,
) -> dict[str, Any]:
    """Scores of every arm, of the annotated action units as a measure of what a probe can reach, and their differences
    from the baseline. Prediction is across folds of subjects."""
    from jobs.parts.ablation_scores import ABLATION_METRICS, describe
    from jobs.parts.intervals import differences
    from jobs.parts.view_features import encode_views, read_views, unit_features

    with progress(f"features by {len(encoders)} encoders", len(table.videos)) as advance:
        clips = read_views(table, catalog, annotations, config.pretrain.sample())
        features = encode_views(encoders, clips, advance)
    runs: dict[str, list[np.ndarray]] = {}
    with progress("probing", len(encoders)) as advance:
        for (arm, _), features_NC in features.items():
            runs.setdefault(arm, []).append(_count(features_NC, table))
            advance(1)
    counts = {arm: np.stack(counted) for arm, counted in runs.items()}
    counts[UNITS] = _count(unit_features(table, annotations), table)[None]
    views = [VIEWS[view] for view in np.unique(table.view_N)]
    return {
        "recipe": config.recipe,
        "arms": {arm: describe(counts_RSVCC, views) for arm, counts_RSVCC in counts.items()},
        f"above_{BASELINE}": differences(counts, BASELINE, ABLATION_METRICS),
        "chance_uar": 1 / len(np.unique(table.emotion_N)),
        "levels": list(config.pretrain.choice.levels),
        "subjects": len(np.unique(table.subject_N)),
        "videos": len(table.videos),
        "seeds": config.seeds,
        "protocol": "transductive",
        "is_finished": True,
    }


def _count(features_NC: np.ndarray, table: ViewTable) -> np.ndarray:
    from jobs.parts.intervals import statistics_by_subject
    from models.probes import ProbeConfig, predict_by_folds

    # an emotion that a corpus lacks would count as one that nobody recognises
    emotions, label_N = np.unique(table.emotion_N, return_inverse=True)
    target_NK = np.eye(len(emotions))[label_N]
    arguments = features_NC, target_NK, table.subject_N, table.fold_N, ProbeConfig()
    score_NK = predict_by_folds(*arguments, task="classes", seed=0)
    return statistics_by_subject("classes", target_NK, score_NK, table.subject_N, table.view_N)

"""Training a head on one fold of a corpus that is labelled frame by frame: its windows, its model, and what it says of
the test videos."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.checkpoint import CheckpointError
from cluster.protocols import Reference
from jobs.parts.finetuning import LABELS, balanced_weights
from jobs.parts.frame_report import draw_timelines, write_diagnoses, write_submissions
from jobs.parts.frame_scores import expected_frames, frame_table, scores_of_videos
from jobs.parts.frame_split import split_frames, submitted_videos
from jobs.parts.head_config import HeadConfig
from jobs.parts.head_inference import HeadInferenceConfig, num_frames_of, open_scores, score_videos
from jobs.parts.head_validation import HeadValidationConfig
from jobs.parts.postprocessing import Validated, check_postprocessing, postprocess
from jobs.parts.predictions import read_predictions_of, write_predictions
from jobs.parts.training import seen_by, stream_fields
from models.head_config import FeatureSet
from pipelines.feature_store import FeatureStore
from pipelines.labels import EvaluationProtocol
from pipelines.sequence_stream import SequenceStreamConfig
from pipelines.sequences import labels_digest, present_frames
from pipelines.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.parts.fold_runs import Run
    from pipelines.catalog import Catalog

logger = logging.getLogger(__name__)

SCORES = "scores"


class HeadTraining:
    """A head on the frames of a protocol, less one fold (see jobs.parts.fold_runs.FoldWork).

    Raises ValueError, at its making, for features that lack a video, a model of other classes, another task or other
    features than the data have, and post-processing that does not go with the protocol.
    """

    unit = "frames"

    def __init__(self, config: HeadConfig, protocol: EvaluationProtocol, catalog_uri: str, catalog: Catalog) -> None:
        """`config` is that of a single run."""
        self.protocol, self.catalog_uri, self.catalog = protocol, catalog_uri, catalog
        self.split = split_frames(catalog, protocol, config)
        self.stores = [FeatureStore.open(address) for address in config.features]
        self._check_stores()
        labels = self.split.labels
        told = {video: labels.targets(video) for video in self.split.validation}
        check_postprocessing(protocol, config.postprocessing, told)
        known = [catalog.fingerprint, labels_digest(labels, labels.videos()), *(store.key for store in self.stores)]
        self.fingerprint = hashlib.sha256("".join(known).encode()).hexdigest()
        self.config = replace(config, class_weighting="none", model=self._model(config))

    def task(self) -> Reference:
        return Reference("models.feature_head:build", self.config.model)

    def stream(self, actors: int) -> Reference:
        config = SequenceStreamConfig(
            catalog=self.catalog_uri,
            protocol=self.protocol.name,
            videos=self.split.learned,
            stores=self.config.features,
            window=self.config.window,
            missing=self.config.missing,
            seed=self.config.seed,
            **stream_fields(self.config, actors),
        )
        return Reference("pipelines.sequence_stream:build_stream", config)

    def probes(self) -> tuple[tuple[str, Reference], ...]:
        config = HeadValidationConfig(
            catalog=self.catalog_uri,
            protocol=self.protocol.name,
            videos=self.split.validation,
            stores=self.config.features,
            window=self.config.window,
            missing=self.config.missing,
            windows=self.config.validation_windows,
        )
        return (("validation", Reference("jobs.parts.head_validation:build_validation", config)),)

    def data(self) -> dict[str, Any]:
        return {
            "corpus": self.config.corpus.title,
            "catalog": self.catalog_uri,
            "protocol": self.protocol.name,
            "test_part": self.split.part,
            "subjects": self.split.subjects(),
            "features": [_told(store) for store in self.stores],
            "started_from": seen_by(self.config.init_from),
        }

    def unusable(self) -> list[dict[str, Any]]:
        """None: what frames lack was told of when their features were computed."""
        return []

    def describe_data(self, run_directory: Storage) -> None:
        """Writes labels.json: how many videos and frames are learned from, validated and tested."""
        sets = {"train": self.split.learned, "validation": self.split.validation, "test": self.split.tested}
        counts = {name: self._count(videos) for name, videos in sets.items()}
        run_directory.write(LABELS, json.dumps(counts, indent=1).encode())
        for name, found in counts.items():
            logger.info("%s: %d labelled frames of %d videos", name, found["frames"], found["videos"])

    def expected(self) -> list[str]:
        """Every labelled frame of the test videos."""
        return expected_frames(self.split)

    def predict(self, run_directory: Storage, checkpoint: str) -> pa.Table:
        """Predictions for the labelled frames of the test videos. The scores of all videos, the ones nobody has told
        the labels of among them, are kept in the run directory. Ray must be up."""
        store = self.score_all(run_directory, checkpoint)
        identity = {
            "scores": store.key,
            "postprocessing": repr(self.config.postprocessing),
            "fingerprint": self.fingerprint,
        }
        known = read_predictions_of(run_directory, identity)
        if known is not None:
            return known
        frames = num_frames_of(self.split.labels, self.split.tested)
        scores = scores_of_videos(store, frames)
        told, chosen = postprocess(scores, self.validated(store), self.protocol, self.config.postprocessing)
        logger.info("after training: %s", chosen)
        present = {video: present_frames(self.stores, video, number) for video, number in frames.items()}
        table = frame_table(self.split, told, present)
        write_predictions(run_directory, table, identity)
        return table

    def score_all(self, run_directory: Storage, checkpoint: str) -> FeatureStore:
        """The raw scores of all videos of the corpus whose length is known, computed where they are not there."""
        config = self.config
        made_with = {
            "checkpoint": checkpoint,
            "features": [store.key for store in self.stores],
            "window": [config.window.length, config.window.stride],
            "missing": config.missing,
        }
        place = run_directory.child(SCORES)
        store = open_scores(place, width=len(self.protocol.classes), made_with=made_with)
        inference = HeadInferenceConfig(checkpoint, config.features, config.window, config.missing)
        score_videos(inference, self._scored(), store)
        return store

    def validated(self, store: FeatureStore) -> Validated:
        """Scores and labels of the validation videos."""
        labels, videos = self.split.labels, self.split.validation
        scores = scores_of_videos(store, num_frames_of(labels, videos))
        return Validated(scores, {video: labels.targets(video) for video in videos})

    def cost(self) -> dict[str, float]:
        """Parameters of the head."""
        import torch

        from models.feature_head import build
        from models.flops import count_parameters

        with torch.device("meta"):
            return {"parameters": count_parameters(build(self.config.model))}

    def describe_predictions(self, place: Storage, predictions: pa.Table, runs: Sequence[Run]) -> dict[str, Any]:
        """videos-*.csv, timelines and, where there are videos without labels, submissions. What was chosen by
        validation videos is, for these, what the first fold chose."""
        config, labels = self.config.postprocessing, self.split.labels
        stores = [FeatureStore.open(run.directory.child(SCORES)) for run in runs]
        validated = self.validated(stores[0])
        diagnoses = write_diagnoses(place, predictions, self.protocol)
        own = num_frames_of(labels, self.split.tested)
        scores = scores_of_videos(stores[0], own)
        told, chosen = postprocess(scores, validated, self.protocol, config)
        mine = [one for one in diagnoses if one.video in own]
        submitted = submitted_videos(self.catalog.storage, labels)
        return {
            "postprocessing": chosen,
            "timelines": draw_timelines(place, mine, labels, told, self.stores),
            "submissions": write_submissions(place, self.protocol, submitted, stores, validated, config),
        }

    def _count(self, videos: tuple[str, ...]) -> dict[str, int]:
        labelled = (~np.isnan(self.split.labels.targets(video)).all(1) for video in videos)
        return {"videos": len(videos), "frames": int(sum(one.sum() for one in labelled))}

    def _scored(self) -> dict[str, int]:
        """Frames of every video whose length is known."""
        labels = self.split.labels
        untold = [video for video in labels.test_videos() if labels.test_frames[video] is not None]
        return num_frames_of(labels, [*labels.videos(), *untold])

    def _check_stores(self) -> None:
        if not self.stores:
            raise ValueError("there are no features to learn from: say --features STORE ..., of extract_features.py")
        wanted = self._scored().keys()
        for store in self.stores:
            if missing := sorted(wanted - set(store.videos())):
                raise ValueError(
                    f"the features {store.place.uri} lack {len(missing)} of {len(wanted)} videos, the first is "
                    f"{missing[0]}: go on with jobs/extract_features.py"
                )

    def _model(self, config: HeadConfig) -> Any:
        """The head with the features of the stores and the classes of the labels."""
        model, protocol = config.model, self.protocol
        if model.classes and model.classes != protocol.classes:
            raise ValueError(f"model.classes={model.classes} are not those of protocol {protocol.name}; leave them out")
        if model.task != protocol.task:
            raise ValueError(
                f"model.task={model.task} is not that of protocol {protocol.name}: say --model.task {protocol.task} "
                "and a --model.loss that goes with it"
            )
        names = _distinct([store.name for store in self.stores])
        features = tuple(FeatureSet(name, store.width) for name, store in zip(names, self.stores, strict=True))
        if model.features and model.features != features:
            raise ValueError(f"model.features={model.features} are not those of the stores, {features}; leave them out")
        weights = model.class_weights
        if config.class_weighting == "balanced":
            target_NK = np.concatenate([self.split.labels.targets(video) for video in self.split.learned])
            weights = balanced_weights(target_NK, protocol.classes, protocol.task)
        return replace(model, features=features, classes=protocol.classes, class_weights=weights)


def _told(store: FeatureStore) -> dict[str, Any]:
    """What features are made with, and whom the model that made them has seen, where there is one and it is there."""
    origin, seen = store.made_with.get("checkpoint"), None
    if origin is not None and store.made_with.get("untrained") is None:
        try:
            seen = seen_by(origin)
        except (CheckpointError, ValueError) as error:
            logger.warning("whom the model behind %s has seen is not known: %s", store.place.uri, error)
    return {"name": store.name, "kind": store.kind, "made_with": store.made_with, "seen": seen}


def _distinct(names: Sequence[str]) -> list[str]:
    """The second of a name as NAME-2, and so on: two views of a face are both vision."""
    counts = [names[: index + 1].count(name) for index, name in enumerate(names)]
    return [name if count == 1 else f"{name}-{count}" for name, count in zip(names, counts, strict=True)]

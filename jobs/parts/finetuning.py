"""Fine-tuning on one fold of a labelled corpus: its videos, its model and what is measured while it trains."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.protocols import Reference
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.training import stream_fields
from jobs.parts.validation import ValidationConfig
from pipelines.labelled_stream import LabelledStreamConfig, chosen_videos
from pipelines.labelled_videos import in_parts, labelled_videos, targets, usable_videos
from pipelines.labels import EvaluationProtocol, Task

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.parts.fold_runs import Run
    from pipelines.annotations import Annotations
    from pipelines.catalog import Catalog
    from pipelines.storage import Storage

logger = logging.getLogger(__name__)

LABELS = "labels.json"


class Finetuning:
    """An encoder with a head on the videos of a protocol, less one fold (see jobs.parts.training.Work).

    Raises ValueError, at its making, where the model was given other classes than the corpus has, or another task, and
    where a part of the protocol has no video.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        protocol: EvaluationProtocol,
        catalog_uri: str,
        catalog: Catalog,
        annotations: Annotations | None,
        ancestor: dict[str, Any] | None,
    ) -> None:
        """`config` is that of a single run; `ancestor` is what the checkpoint it starts from says of its data."""
        from pipelines.annotations import fingerprint_of

        self.protocol, self.catalog_uri, self.catalog = protocol, catalog_uri, catalog
        self.annotations, self._ancestor = annotations, ancestor
        self.fingerprint = fingerprint_of(catalog, annotations)
        self.config = config
        self._check_parts()
        self.learned, self.validation = self._split()
        self.config = replace(config, class_weighting="none", model=self._model())

    def task(self) -> Reference:
        return Reference("models.fine_tuning:build", self.config.model)

    def stream(self, actors: int) -> Reference:
        config = replace(self._stream(), **stream_fields(self.config, actors))
        return Reference("pipelines.labelled_stream:build_stream", config)

    def probes(self) -> tuple[tuple[str, Reference], ...]:
        usable = usable_videos(self.validation)
        config = ValidationConfig(
            catalog=self.catalog_uri,
            protocol=self.protocol.name,
            sample_ids=tuple(_spread(usable["sample_id"].to_pylist(), self.config.validation_clips)),
            sample=self.config.sample(),
            annotations=self._stream().annotations,
        )
        return (("validation", Reference("jobs.parts.validation:build_validation", config)),)

    def data(self) -> dict[str, Any]:
        return {
            "corpus": self.config.corpus.title,
            "catalog": self.catalog_uri,
            "annotations": None if self.annotations is None else self.annotations.place.uri,
            "protocol": self.protocol.name,
            "test_part": self.config.test_part(self.protocol),
            "subjects": sorted(set(self.learned["subject"].to_pylist())),
            "started_from": self._ancestor,
        }

    def unusable(self) -> list[dict[str, Any]]:
        """Of the videos to learn from and to validate with."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from pipelines.catalog import OK

        videos = pa.concat_tables([self.learned, self.validation])
        bad = videos.filter(pc.not_equal(videos["status"], OK))
        return (
            bad.select(["sample_id", "uri", "status", "detail"])
            .rename_columns(["sample_id", "uri", "reason", "detail"])
            .to_pylist()
        )

    def describe_data(self, run_directory: Storage) -> None:
        """Writes labels.json: how many videos of each class are learned from, validated and tested."""
        used = {"train": usable_videos(self.learned), "validation": usable_videos(self.validation)}
        sets = used | {"test": self.test_videos()}
        counts = {name: _count(videos, self.protocol) for name, videos in sets.items()}
        run_directory.write(LABELS, json.dumps(counts, indent=1).encode())
        for name, found in counts.items():
            classes = ", ".join(f"{value:g} {key}" for key, value in found["classes"].items())
            logger.info("%s: %d %s of %d subjects (%s)", name, found["videos"], self.unit, found["subjects"], classes)

    @property
    def unit(self) -> str:
        return "images" if set(self._labelled["kind"].to_pylist()) == {"image"} else "videos"

    def expected(self) -> list[str]:
        """Uris of the test videos."""
        return self.test_videos()["uri"].to_pylist()

    def predict(self, run_directory: Storage, checkpoint: str) -> pa.Table:
        """Predictions for the test videos. Ray must be up. Raises ValueError, naming videos, where one cannot be
        used."""
        from jobs.parts.predictions import predict_test_videos

        return predict_test_videos(self, run_directory, checkpoint)

    def cost(self) -> dict[str, float]:
        """Parameters, and GFLOPs of a clip."""
        from jobs.parts.predictions import model_cost

        return model_cost(self.config)

    def describe_predictions(self, place: Storage, predictions: pa.Table, runs: Sequence[Run]) -> dict[str, Any]:
        """Nothing that the scores do not say."""
        return {}

    def test_videos(self) -> pa.Table:
        """All of them, usable or not: evaluation skips none."""
        return in_parts(self._labelled, (self.config.test_part(self.protocol),))

    @cached_property
    def _labelled(self) -> pa.Table:
        return labelled_videos(self.catalog, self.protocol, self.config.sample(), self.annotations)

    def _check_parts(self) -> None:
        protocol, there = self.protocol, set(self._labelled["part"].to_pylist())
        if empty := [part for part in (protocol.parts if protocol.folds else ("train", "test")) if part not in there]:
            people = len(set(self._labelled["subject"].to_pylist()))
            raise ValueError(
                f"no video is in the {'folds' if protocol.folds else 'parts'} {', '.join(empty)} of protocol "
                f"{protocol.name}; {people} subjects are there, every part needs one: complete the corpus"
            )
        if self._has_validation() and self.config.validation_share != type(self.config).validation_share:
            raise ValueError(
                f"validation_share has no effect on protocol {protocol.name}, which has validation videos; leave it"
            )

    def _split(self) -> tuple[pa.Table, pa.Table]:
        """Videos to learn from and to validate with."""
        learned, held_out = chosen_videos(self.catalog, self._stream(), self.annotations)
        if self.config.evaluation == "paper":
            held_out = self.test_videos()
        elif self._has_validation():
            held_out = in_parts(self._labelled, ("validation",))
        return learned, held_out

    def _has_validation(self) -> bool:
        return not self.protocol.folds and "validation" in self._labelled["part"].to_pylist()

    def _stream(self) -> LabelledStreamConfig:
        splits = self.config.evaluation == "clean" and not self._has_validation()
        return LabelledStreamConfig(
            catalog=self.catalog_uri,
            protocol=self.protocol.name,
            parts=self.config.training_parts(self.protocol),
            validation_share=self.config.validation_share if splits else 0.0,
            per_class=self.config.per_class,
            sample=self.config.sample(),
            annotations=None if self.annotations is None else self.annotations.place.uri,
        )

    def _model(self) -> Any:
        """The model with the classes of the labels."""
        model, protocol = self.config.model, self.protocol
        if model.classes and model.classes != protocol.classes:
            raise ValueError(
                f"model.classes={model.classes} are not those of protocol {protocol.name}, in its order: "
                f"{protocol.classes}; leave them out"
            )
        if model.task != protocol.task:
            raise ValueError(
                f"model.task={model.task} is not that of protocol {protocol.name}: say --model.task {protocol.task} "
                "and a --model.loss that goes with it"
            )
        weights = model.class_weights
        if self.config.class_weighting == "balanced":
            weights = balanced_weights(targets(usable_videos(self.learned)), protocol.classes, protocol.task)
        return replace(model, classes=protocol.classes, class_weights=weights)


def balanced_weights(target_NK: np.ndarray, classes: Sequence[str], task: Task) -> tuple[float, ...]:
    """Factors of the classes so that each weighs the same: inversely as frequent, 1 on the average over videos; of
    several tasks at once (task=affect) within each, and 1 for values. Raises ValueError naming classes without a video.
    """
    if task == "affect":
        kinds = [label.partition("/")[0] for label in classes]
        weights: list[float] = []
        for kind in dict.fromkeys(kinds):
            columns = [k for k, one in enumerate(kinds) if one == kind]
            names = [classes[k] for k in columns]
            weights += [1.0] * len(columns) if kind == "va" else _inverse(target_NK[:, columns], names)
        return tuple(weights)
    return tuple(_inverse(target_NK, classes))


def _inverse(target_NK: np.ndarray, classes: Sequence[str]) -> list[float]:
    count_K = np.nansum(target_NK, axis=0)
    if missing := [name for name, count in zip(classes, count_K, strict=True) if not count > 0]:
        raise ValueError(
            f"class_weighting=balanced needs a training video of every class, there is none of {', '.join(missing)}; "
            "say --class-weighting none"
        )
    return (count_K.sum() / (len(count_K) * count_K)).tolist()


def _spread(items: list[int], most: int) -> list[int]:
    """As many, evenly spread; all where there are fewer."""
    positions = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[position] for position in positions]


def _count(videos: pa.Table, protocol: EvaluationProtocol) -> dict[str, Any]:
    totals_K = np.nansum(targets(videos), axis=0) if videos.num_rows else np.zeros(len(protocol.classes))
    return {
        "videos": videos.num_rows,
        "subjects": len(Counter(videos["subject"].to_pylist())),
        "classes": {name: round(float(total), 3) for name, total in zip(protocol.classes, totals_K, strict=True)},
    }

"""Everything that sits the exam of a labelled corpus: frozen encoders read by probes, faces without pixels, chance."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.parts.evaluation import setting_of
from jobs.parts.labelled_corpus import chosen_protocol, prepare_annotations, prepare_labelled
from jobs.parts.probe_config import ProbeJobConfig
from jobs.parts.probe_exam import Exam, make_exam
from jobs.parts.probe_features import FrozenEncoder, features_of, frozen_encoders
from jobs.parts.scores import Setting, evaluate
from pipelines.annotations import fingerprint_of
from pipelines.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations
    from pipelines.labels import EvaluationProtocol

logger = logging.getLogger(__name__)

UNITS, SEQUENCE = "au_sequence", "transformer"
CHANCE, MEAN = "chance", "mean target"


@dataclass(frozen=True, eq=False)
class Arm:
    """One model read by one probe."""

    model: str
    probe: str
    tables: list[pa.Table]
    """Predictions, one table per seed."""
    results: list[dict[str, Any]]
    """What they are worth (jobs.parts.scores)."""


class Probing:
    """A corpus with its exam, and what sits it."""

    def __init__(self, config: ProbeJobConfig, home: Storage) -> None:
        """Ray must be up. Raises ValueError for options that do not fit the corpus or the checkpoints."""
        self.config, self.home = config, home
        self.encoders = frozen_encoders(config.checkpoints, stride=config.stride, random=config.random)
        uri, self.catalog = prepare_labelled(config.corpus, home)
        self.protocol: EvaluationProtocol = chosen_protocol(config.corpus, self.catalog)
        if self.protocol.task == "affect":
            single = ", ".join(one.name for one in self.catalog.protocols if one.task != "affect")
            raise ValueError(
                f"protocol {self.protocol.name} is of several tasks at once, and probes read one task: choose a "
                f"protocol of one, {single}"
            )
        self.annotations: Annotations | None = None
        if config.units or any(encoder.sample.follows_face for encoder in self.encoders):
            self.annotations = prepare_annotations(config.corpus, uri, self.catalog)
        elif config.corpus.annotations is not None:
            raise ValueError("corpus.annotations has no effect: no encoder follows the face; leave it, or add --units")
        self.exam = make_exam(self.catalog, self.protocol)
        self.tested_features: dict[str, np.ndarray] = {}
        """Of the tested videos, [M, D], by the name of the encoder."""

    def run(self) -> list[Arm]:
        arms = [arm for encoder in self.encoders for arm in self._probe(encoder)]
        if self.config.units:
            arms.append(self._units())
        return [*arms, self._chance()]

    def _probe(self, encoder: FrozenEncoder) -> list[Arm]:
        import torch

        from models.probes import ProbeConfig, fit_predict

        config, faces = self.config, self.annotations if encoder.sample.follows_face else None
        exam = make_exam(self.catalog, self.protocol, encoder.sample, faces)
        features = features_of(
            encoder,
            exam.videos,
            self.catalog.storage,
            faces,
            fingerprint=fingerprint_of(self.catalog, faces),
            clips=config.clips,
            with_tokens="attentive" in config.probes,
            place=self.home.child("features"),
        )
        self.tested_features[encoder.name] = features.pooled_ND[exam.tested_N]
        target_NK, subject_N = exam.target_NK, exam.column("subject")
        device = "cuda" if torch.cuda.is_available() else "cpu"

        def fit(known: np.ndarray, unknown: np.ndarray, *, kind: str, seed: int) -> np.ndarray:
            x = features.tokens_NVD if kind == "attentive" else features.pooled_ND
            train = x[known], target_NK[known], subject_N[known]
            options = {"task": self.protocol.task, "seed": seed, "device": device}
            return fit_predict(*train, x[unknown], ProbeConfig(kind=kind), **options)

        tested = set(subject_N[exam.tested_N].tolist())
        setting = setting_of_probe(encoder, self.config.corpus.title, tested)
        known = {"clips_N": features.clips_N, "setting": setting, "cost": encoder.cost}
        return [self._arm(exam, encoder.name, kind, partial(fit, kind=kind), **known) for kind in config.probes]

    def _units(self) -> Arm:
        from jobs.parts.unit_sequences import unit_sequences
        from models.au_sequence import fit_predict

        sequences, target_NK = unit_sequences(self.exam.videos, self.annotations), self.exam.target_NK
        logger.info("%d of %d videos show a face", sequences.valid_NS.any(1).sum(), len(target_NK))

        def fit(known: np.ndarray, unknown: np.ndarray, *, seed: int) -> np.ndarray:
            train, test = sequences.take(known), sequences.take(unknown)
            return fit_predict(train, target_NK[known], test, task=self.protocol.task, seed=seed)

        return self._arm(self.exam, UNITS, SEQUENCE, fit, clips_N=np.ones(len(target_NK), np.int32))

    def _chance(self) -> Arm:
        """What is reached by saying the mean target of the training videos of every video."""
        target_NK = self.exam.target_NK

        def fit(known: np.ndarray, unknown: np.ndarray, *, seed: int) -> np.ndarray:
            return np.broadcast_to(target_NK[known].mean(0), (len(unknown), target_NK.shape[1]))

        return self._arm(self.exam, CHANCE, MEAN, fit, clips_N=np.ones(len(target_NK), np.int32))

    def _arm(
        self,
        exam: Exam,
        model: str,
        probe: str,
        fit: Callable[..., np.ndarray],
        *,
        clips_N: np.ndarray,
        setting: Setting | None = None,
        cost: dict[str, float] | None = None,
    ) -> Arm:
        tables = [exam.predictions(exam.scores(partial(fit, seed=s)), clips_N) for s in range(self.config.seeds)]
        results = [
            evaluate(
                table,
                self.protocol,
                expected=exam.column("uri")[exam.tested_N].tolist(),
                evaluation="clean",
                setting=setting,
                cost=cost or {},
            )
            for table in tables
        ]
        return Arm(model, probe, tables, results)


def setting_of_probe(encoder: FrozenEncoder, corpus: str, tested: set[str]) -> Setting | None:
    """As jobs.parts.evaluation.setting_of, with the probed checkpoint as what came before. Warns where the encoder was
    fine-tuned with labels of people that it is tested on."""
    seen = set(encoder.data["subjects"]) if encoder.data and encoder.data.get("corpus") == corpus else set()
    if encoder.data and "protocol" in encoder.data and tested & seen:
        logger.warning(
            "%s was fine-tuned with labels of %d of the %d people it is tested on: what is read off it says little of "
            "others",
            *(encoder.name, len(tested & seen), len(tested)),
        )
    return setting_of({"corpus": corpus, "started_from": encoder.data}, sorted(tested))

"""Transfer, measured while an encoder trains: what a linear probe reads off its frozen features.

The same labelled videos, one clip of each, and the same folds of subjects at every step. A clip shows the largest
centred square of the middle of its video, also to an encoder that was trained on crops that follow the face.

What makes it cheap, unlike jobs/probe.py, whose scores are the ones to compare: the rate of the probe is fixed, for
choosing it within every fold takes four times as long, and features are computed with matrix products in bfloat16.

Cost of a call with 120 videos: half a second on one core for the probe, 12 TFLOP (LGI-Former-B) for the features. By
estimate that is less than 4 % of the time of 500 steps of 128 clips, even where a GPU trains on 4,700 a second.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.protocols import Reference
from jobs.parts.face_config import FacePretrainConfig
from jobs.parts.labelled_config import LabelledCorpusConfig
from jobs.parts.labelled_corpus import chosen_protocol, prepare_labelled
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretrain_config import PretrainConfig
from jobs.parts.validation import ValidationConfig, on_all_clips, read_share
from pipelines.clips import ClipConfig
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.labelled_videos import labelled_videos, targets, usable_videos
from pipelines.storage import Storage
from pipelines.transforms import CropConfig

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

PREFIX = "transfer"
FOLDS = 5
RATE = 0.3
_SEED = 0  # of folds, and of which videos are taken


class Transfer:
    """A cluster.protocols.Probe: each rank encodes its share of the clips, decoded once."""

    def __init__(self, clip_BTHWC: np.ndarray, target_NK: np.ndarray, subject_N: np.ndarray) -> None:
        """`clip_BTHWC` are this rank's (jobs.parts.validation.read_share), the others those of all. Raises ValueError
        where there are too few subjects."""
        from models.probes import check_folds

        self._clip_BTHWC, self._target_NK, self._subject_N = clip_BTHWC, target_NK, subject_N
        self._fold_N = subject_folds(target_NK.argmax(1), subject_N)
        check_folds(subject_N, self._fold_N)

    def __call__(self, task: Any, step: int) -> dict[str, float]:
        """Collective. UAR and macro F1 of the linear probe, UAR of the nearest neighbours, and that of guessing."""
        import torch

        from models.features import pooled_features
        from models.metrics import METRICS
        from models.probes import ProbeConfig

        task.eval()
        encode = partial(pooled_features, task.encoder)
        with torch.autocast(next(task.parameters()).device.type, torch.bfloat16):
            feature_ND = on_all_clips(encode, self._clip_BTHWC, like=task, count=len(self._target_NK))
        linear = self._confusion(feature_ND, ProbeConfig(learning_rates=(RATE,)))
        neighbours = self._confusion(feature_ND, ProbeConfig(kind="knn"))
        metrics = METRICS["classes"]
        found = {name: float(metrics[name](linear)) for name in ("uar", "f1_macro")}
        chance = 1 / len(np.unique(self._target_NK.argmax(1)))
        return found | {"knn_uar": float(metrics["uar"](neighbours)), "chance": chance}

    def _confusion(self, feature_ND: np.ndarray, probe: Any) -> np.ndarray:
        from models.metrics import statistics
        from models.probes import predict_by_folds

        known = feature_ND, self._target_NK, self._subject_N, self._fold_N
        score_NK = predict_by_folds(*known, probe, task="classes", seed=_SEED)
        group_N = np.zeros(len(score_NK), np.int64)
        return statistics("classes", self._target_NK, score_NK, group_N, num_groups=1)[0]


def build_transfer(config: ValidationConfig) -> Transfer:
    """Reads this rank's share. Raises ValueError naming a video that cannot be used."""
    share = read_share(config)
    subject_N = np.array(share.videos["subject"].to_pylist(), dtype=np.str_)
    return Transfer(share.clip_BTHWC, targets(share.videos), subject_N)


def prepare_transfer(
    config: PretrainConfig | MeadPretrainConfig | FacePretrainConfig, place: Storage
) -> ValidationConfig | None:
    """The labelled videos that a pre-training run is measured on, None where it is not. The corpus is found or
    rendered, and cataloged. Ray must be up.

    Raises ValueError for a protocol without classes, and where no labelled video can be used.
    """
    asked = config.transfer
    if asked.corpus is None:
        return None
    corpus = LabelledCorpusConfig(asked.corpus, root=asked.root, protocol=asked.protocol, exclude=asked.exclude)
    uri, catalog = prepare_labelled(corpus, place)
    protocol = chosen_protocol(corpus, catalog)
    if protocol.task != "classes":
        names = [one.name for one in catalog.protocols if one.task == "classes"]
        raise ValueError(f"transfer.protocol={protocol.name} has no classes; {asked.corpus} has with them: {names}")
    all_videos = labelled_videos(catalog, protocol)
    sample = LabelledSampleConfig(
        clip=fitting_clip(config.clip, all_videos),
        crop=CropConfig(window=None, size=config.model.geometry.height),
        geometry=config.model.geometry,
        decoder=config.decode.decoder,
    )
    videos = usable_videos(labelled_videos(catalog, protocol, sample))
    subject_N = np.array(videos["subject"].to_pylist(), dtype=np.str_)
    chosen = spread_evenly(targets(videos).argmax(1), subject_N, asked.clips)
    ids = videos["sample_id"].to_numpy()[chosen]
    try:
        subject_folds(targets(videos).argmax(1)[chosen], subject_N[chosen])
    except ValueError as error:
        raise ValueError(f"transfer.clips={asked.clips} of {corpus.title} are too few for folds: {error}") from None
    logger.info(
        "transfer is measured on %d videos of %d subjects, of %d that can be used, %d labelled, of %s",
        *(len(ids), len(np.unique(subject_N[chosen])), len(videos), len(all_videos), corpus.title),
    )
    return ValidationConfig(uri, protocol.name, tuple(ids.tolist()), sample)


def transfer_probes(config: ValidationConfig | None) -> tuple[tuple[str, Reference], ...]:
    """What `prepare_transfer` found, as one of the probes of a jobs.parts.training.Work, or as none."""
    return () if config is None else ((PREFIX, Reference("jobs.parts.transfer:build_transfer", config)),)


def fitting_clip(clip: ClipConfig, videos: pa.Table) -> ClipConfig:
    """The clip at its own stride, or the largest at which half of the videos are long enough; the last frame of shorter
    ones is repeated."""
    frames_N, fps_N = (videos[name].to_numpy() for name in ("frames", "fps"))
    length = np.median(frames_N * (clip.nominal_fps / fps_N if clip.sampling == "seconds" else 1))
    longest = int((length - 1) // max(1, clip.frames - 1))
    return replace(clip, stride=min(clip.stride, max(1, longest)), short="pad_last")


def spread_evenly(class_N: np.ndarray, subject_N: np.ndarray, count: int) -> np.ndarray:
    """Positions of `count` samples, of fewer all, ascending (int64): each time of the class, and of that the subject,
    that was taken least."""
    order_N = np.random.default_rng(_SEED).permutation(len(class_N))
    class_N, subject_N = (np.unique(column[order_N], return_inverse=True)[1] for column in (class_N, subject_N))
    taken_K, taken_S = np.zeros(class_N.max() + 1), np.zeros(subject_N.max() + 1)
    left_N, chosen = np.ones(len(class_N), bool), []
    while left_N.any() and len(chosen) < count:
        taken_N = np.where(left_N, taken_K[class_N] * (count + 1) + taken_S[subject_N], np.inf)
        one = int(taken_N.argmin())
        left_N[one] = False
        taken_K[class_N[one]] += 1
        taken_S[subject_N[one]] += 1
        chosen.append(one)
    return np.sort(order_N[chosen])


def subject_folds(class_N: np.ndarray, subject_N: np.ndarray) -> np.ndarray:
    """The fold of each sample (int64), no subject in two, with classes as even as can be. Raises ValueError for a
    single subject."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(min(FOLDS, len(np.unique(subject_N))), shuffle=True, random_state=_SEED)
    fold_N = np.empty(len(class_N), np.int64)
    for fold, (_, test) in enumerate(folds.split(class_N, class_N, subject_N)):
        fold_N[test] = fold
    return fold_N

"""What frozen encoders make of labelled videos, computed once and kept: one feature vector per video, or its tokens.

An encoder is shown clips as it was trained on: those that follow the face do so here, all others the largest centred
square of the picture, for labelled corpora are cropped to the face where VoxCeleb2 has a window around it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from jobs.config import to_json
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.inference import InferenceConfig, infer
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.trained import ALL, AnyConfig, Trained, load_trained
from pipelines.alignment import AlignConfig
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.storage import ObjectMissing, Storage
from pipelines.transforms import CropConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.annotations import Annotations

logger = logging.getLogger(__name__)

RANDOM = "random"
_SEED_OF_RANDOM = 0


@dataclass(frozen=True)
class FrozenEncoder:
    """An encoder that is probed."""

    name: str
    """Unlike those of the others."""
    checkpoint: str
    """What inference loads."""
    origin: str
    """The very checkpoint, by the address it was written to."""
    untrained: int | None
    """Seed of the weights it has instead of the checkpoint's."""
    sample: LabelledSampleConfig
    data: dict[str, Any] | None
    """What the checkpoint says of the data it has seen; None: none."""
    cost: dict[str, float]
    """parameters and gflops."""


class Features(NamedTuple):
    """Of N videos, means over the clips of each."""

    pooled_ND: np.ndarray
    tokens_NVD: np.ndarray | None
    clips_N: np.ndarray
    """Distinct clips of each."""


def frozen_encoders(checkpoints: tuple[str, ...], *, stride: int | None, random: bool) -> list[FrozenEncoder]:
    """The encoders of trained models, with `random` also an untrained one like the first.

    Raises CheckpointError and ValueError as `load_trained`, ValueError for a stride that does not fit, or has no
    effect since all encoders read single images.
    """
    found, seen = [], Counter[str]()
    for checkpoint in checkpoints:
        trained = load_trained(checkpoint, ALL)
        name = f"{trained.provenance['metadata']['run']}, step {trained.step}"
        seen[name] += 1
        is_file = checkpoint.endswith(".safetensors")
        found.append(
            FrozenEncoder(
                name=name if seen[name] == 1 else f"{name} ({seen[name]})",
                checkpoint=checkpoint if is_file else trained.provenance["checkpoint"],
                origin=trained.provenance["checkpoint"],
                untrained=None,
                sample=shown(trained.config, stride),
                data=trained.provenance["metadata"].get("data"),
                cost=_cost(trained),
            )
        )
    if stride is not None and all(encoder.sample.clip.frames == 1 for encoder in found):
        raise ValueError(f"stride={stride} has no effect on encoders of single images; leave it out")
    return found + [replace(found[0], name=RANDOM, untrained=_SEED_OF_RANDOM, data=None) for _ in range(random)]


def shown(config: AnyConfig, stride: int | None) -> LabelledSampleConfig:
    """Test clips as an encoder of this config expects them."""
    crop = config.align if isinstance(config, MeadPretrainConfig) else config.crop
    geometry = config.model.geometry
    return LabelledSampleConfig(
        clip=config.clip if stride is None else replace(config.clip, stride=stride),
        crop=replace(crop, flip=False) if isinstance(crop, AlignConfig) else CropConfig(None, size=geometry.height),
        parts=config.parts if isinstance(config, FinetuneConfig) else None,
        geometry=geometry,
        decoder=config.decode.decoder,
    )


def features_of(
    encoder: FrozenEncoder,
    videos: pa.Table,
    storage: Storage,
    annotations: Annotations | None,
    *,
    fingerprint: str,
    clips: int,
    with_tokens: bool,
    place: Storage,
) -> Features:
    """Features of labelled videos in their order, from `place` where they were computed before. Ray must be up.

    Args:
        annotations: those of the catalog where the encoder follows the face, else None.
        fingerprint: of catalog and annotations.

    Raises ValueError, naming it, for a video that cannot be used.
    """
    sample_ids = videos["sample_id"].to_pylist()
    shown_as = [encoder.origin, encoder.untrained, to_json(encoder.sample), clips, fingerprint, sample_ids]
    key = hashlib.sha256(json.dumps(shown_as, sort_keys=True).encode()).hexdigest()[:16]
    for kind in ("tokens",) if with_tokens else ("features", "tokens"):
        if (known := _read(place, f"{key}-{kind}.npz")) is not None:
            logger.info("%s: features of %d videos from %s", encoder.name, len(sample_ids), place.uri)
            return known
    output = "tokens" if with_tokens else "features"
    config = InferenceConfig(encoder.checkpoint, output, encoder.sample, clips, encoder.untrained)
    found = infer(config, videos, storage, annotations)
    mean_NC = np.stack([found[sample_id].mean(0, dtype=np.float32) for sample_id in sample_ids])
    features = Features(
        pooled_ND=mean_NC[:, 0] if with_tokens else mean_NC,
        tokens_NVD=mean_NC[:, 1:].astype(np.float16) if with_tokens else None,
        clips_N=np.array([len(found[sample_id]) for sample_id in sample_ids], np.int32),
    )
    _write(place, f"{key}-{output}.npz", features)
    return features


def _cost(trained: Trained) -> dict[str, float]:
    """Of the encoder, as jobs.parts.evaluation counts."""
    from models.flops import encoder_multiply_adds
    from models.masked_autoencoder import encoder_arguments
    from models.weights import ENCODER_PREFIX

    model = trained.config.model
    weights = (tensor for name, tensor in trained.weights.items() if name.startswith(ENCODER_PREFIX))
    gflops = encoder_multiply_adds(model.encoder, **encoder_arguments(model)) / 1e9
    return {"parameters": sum(tensor.numel() for tensor in weights), "gflops": gflops}


def _read(place: Storage, name: str) -> Features | None:
    try:
        data = place.read(name)
    except ObjectMissing:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Features(arrays["pooled_ND"], arrays.get("tokens_NVD"), arrays["clips_N"])
    except (ValueError, KeyError, BadZipFile) as error:
        raise ValueError(f"{place.full(name)} holds no features that can be read: {error}; remove it") from None


def _write(place: Storage, name: str, features: Features) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{key: array for key, array in features._asdict().items() if array is not None})
    place.write(name, buffer.getvalue())

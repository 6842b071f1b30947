"""A trained model from wherever its weights lie: a run, one of its checkpoints, or an exported file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.checkpoint import CheckpointError, load_weights
from cluster.commit import COMMIT
from jobs.config import from_json
from jobs.parts.face_config import FacePretrainConfig
from jobs.parts.finetune_config import FinetuneConfig
from jobs.parts.head_config import HeadConfig
from jobs.parts.mead_config import MeadPretrainConfig
from jobs.parts.pretrain_config import PretrainConfig
from pipelines.storage import Storage, StorageError, home

if TYPE_CHECKING:
    from torch import Tensor

    from models.feature_head import FeatureHead
    from models.fine_tuning import FineTuning
    from models.masked_autoencoder import MaskedAutoencoder

LISTED = 10
SEARCHED = 20_000  # objects looked at for that list

AnyConfig = PretrainConfig | MeadPretrainConfig | FacePretrainConfig | FinetuneConfig | HeadConfig
PRETRAINING = (PretrainConfig, MeadPretrainConfig, FacePretrainConfig)
ALL = (*PRETRAINING, FinetuneConfig)


@dataclass(frozen=True, eq=False)
class Trained:
    """Weights of a model and what is known of their making."""

    weights: dict[str, Tensor]
    """fp32, by the task's parameter names."""
    config: AnyConfig
    provenance: dict[str, Any]
    """"checkpoint" (its address), "step", "epoch" and "metadata": run, seed, config, fingerprint of the data."""

    @property
    def name(self) -> str:
        """For captions."""
        return f"{self.provenance['metadata']['run']}, step {self.step}"

    @property
    def step(self) -> int:
        return self.provenance["step"]

    def model(self) -> MaskedAutoencoder | FineTuning | FeatureHead:
        """The model with these weights, on the CPU."""
        from models import feature_head, fine_tuning
        from models.weights import build_model

        build = {FinetuneConfig: fine_tuning.build, HeadConfig: feature_head.build}.get(type(self.config), build_model)
        model = build(self.config.model)
        model.load_state_dict(self.weights)
        return model


def load_trained(uri: str, kinds: tuple[type[AnyConfig], ...] = PRETRAINING) -> Trained:
    """The newest intact checkpoint of a run directory, the one checkpoint that `uri` names, or what was exported whole
    to a local NAME.safetensors; of a run with a config of these kinds.

    Raises:
        CheckpointError: there is none (the message lists what there is), or it is damaged.
        ValueError: an exported file that cannot be used, or a run of another kind.
    """
    if uri.endswith(".safetensors"):
        weights, provenance = _read_exported(Path(uri).expanduser())
    else:
        try:
            weights, provenance = load_weights(uri)
        except (CheckpointError, StorageError) as error:
            raise CheckpointError(f"{error}\n{_what_exists(uri)}") from error
    try:
        config = read_config(provenance["metadata"]["config"], kinds)
    except ValueError as error:
        raise ValueError(f"{uri}: {error}") from None
    return Trained(weights=weights, config=config, provenance=provenance)


def read_config(recorded: dict[str, Any], kinds: tuple[type[AnyConfig], ...] = PRETRAINING) -> AnyConfig:
    """The config that a run recorded, of the job that recorded it. Raises ValueError where it is none of these
    kinds."""
    values = dict(recorded)
    job = values.pop("job", PretrainConfig.JOB)
    classes = {cls.JOB: cls for cls in kinds}
    if job not in classes:
        raise ValueError(f"the run is one of {job!r}, not of {', '.join(classes)}")
    return from_json(classes[job], values)


def _read_exported(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from models.weights import WeightsError, read_weights

    weights, description = read_weights(path)
    if description["contents"] != "masked_autoencoder":
        raise WeightsError(f"{path} holds the encoder alone; give the run, or export it with --part all")
    return weights, description["provenance"]


def _what_exists(uri: str) -> str:
    """A line for a user who named no checkpoint: those near the address given, or those at home."""
    parent = Storage(uri).uri.rpartition("/")[0]
    places = [place for place in (parent, home().uri) if place not in ("", "s3:/")]
    for place in places:
        found = _checkpoints_below(Storage(place))
        if found:
            more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
            return f"below {place} there are: {', '.join(found[-LISTED:])}{more}"
    return f"there is no checkpoint below {' or '.join(places)} either"


def _checkpoints_below(storage: Storage) -> list[str]:
    try:
        names = [info.name for info in islice(storage.list(), SEARCHED)]
    except StorageError:
        return []
    return [name.removesuffix(f"/{COMMIT}") for name in names if name.endswith(f"/{COMMIT}")]

"""One pass of labelled videos through a model: every video's test clips are read and computed once, on the whole
cluster. Evaluation and probes start from what comes out."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cluster.preflight import Capacity, Demand, check, cluster_capacity
from pipelines.labelled_sample import LabelledSampleConfig
from pipelines.progress import progress

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from ray.data import Dataset

    from pipelines.annotations import Annotations
    from pipelines.storage import Storage

logger = logging.getLogger(__name__)

Output = Literal["scores", "features", "tokens"]
_VIDEOS_PER_BLOCK = 4
_FRAMES_AT_ONCE = 128  # eight clips of 16, or as many images


@dataclass(frozen=True)
class InferenceConfig:
    """Which model, and what it is shown."""

    checkpoint: str
    """Run, checkpoint or exported file (jobs.parts.trained)."""
    output: Output
    sample: LabelledSampleConfig
    clips: int
    """Test clips of each video."""
    untrained: int | None = None
    """Seed of fresh weights of the same architecture that are looked at instead; None: those of the checkpoint."""


def infer(
    config: InferenceConfig, videos: pa.Table, storage: Storage, annotations: Annotations | None = None
) -> dict[int, np.ndarray]:
    """What the model says of each of the labelled videos, by sample id, one row per distinct clip: scores [V, K] or
    features [V, D] in float32, or tokens (models.features.token_features). Ray must be up.

    Raises:
        ValueError: a video cannot be used, or the checkpoint is not of the kind that has such an output.
        InsufficientResources: the cluster holds no reader beside a model.
    """
    import pyarrow as pa
    import ray

    demands = pools(cluster_capacity())
    length = videos_per_block(config, videos.num_rows, demands[0].count)
    starts = range(0, videos.num_rows, length)
    blocks = [pa.table({"position": np.arange(s, min(s + length, videos.num_rows))}) for s in starts]
    shared = {"videos": ray.put(videos), "storage": storage, "config": config, "annotations": annotations}
    return _collect(model_outputs(config, demands, blocks, ClipReader, shared), videos.num_rows, what=config.output)


def model_outputs(
    config: InferenceConfig,
    demands: tuple[Demand, Demand],
    blocks: Sequence[pa.Table],
    reader: type,
    reader_arguments: Mapping[str, Any],
) -> Dataset:
    """What ClipModel says of the clips that a pool of `reader` makes of each block; `demands` are those of `pools`.
    Raises InsufficientResources: the cluster holds no reader beside a model."""
    import ray.data
    from ray.data import ActorPoolStrategy

    check(list(demands), cluster_capacity())
    readers, models = demands
    clips = ray.data.from_arrow(list(blocks)).map_batches(
        reader,
        batch_size=None,
        batch_format="numpy",
        compute=ActorPoolStrategy(size=readers.count),
        fn_constructor_kwargs=dict(reader_arguments),
        num_cpus=readers.cpus,
    )
    outputs = clips.map_batches(
        ClipModel,
        batch_size=None,
        batch_format="numpy",
        compute=ActorPoolStrategy(size=models.count),
        fn_constructor_kwargs={"config": config},
        num_cpus=models.cpus,
        num_gpus=models.gpus,
    )
    outputs.context.enable_progress_bars = False  # ours counts videos or frames instead of blocks
    outputs.context.target_max_block_size = None
    return outputs


def videos_per_block(config: InferenceConfig, videos: int, readers: int) -> int:
    """How many are read together: what a model computes together, but something for every reader, and at least 4."""
    return max(_VIDEOS_PER_BLOCK, min(clips_at_once(config.sample) // config.clips, videos // readers))


def clips_at_once(sample: LabelledSampleConfig) -> int:
    """As many clips as a model computes together."""
    return max(1, _FRAMES_AT_ONCE // sample.geometry.frames)


def pools(capacity: Capacity) -> tuple[Demand, Demand]:
    """Readers and models: a model per GPU, or one for four CPUs; readers on the CPUs that are left."""
    if capacity.cpus < 2:
        share = capacity.cpus / 2
        return Demand("reader of test clips", 1, share), Demand("model", 1, share, 1.0 if capacity.gpus else 0.0)
    models = int(capacity.gpus) or max(1, int(capacity.cpus // 4))
    model = Demand("model", models, min(1.0, capacity.cpus / (2 * models)), 1.0 if capacity.gpus else 0.0)
    readers = max(1, int(capacity.cpus - models * model.cpus))
    return Demand("reader of test clips", readers, 1.0), model


def _collect(outputs: Any, total: int, *, what: str) -> dict[int, np.ndarray]:
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    with progress(what, total) as advance:
        for batch in outputs.iter_batches(batch_size=None, batch_format="numpy"):
            if error := next((text for text in batch["error_V"] if text), None):
                raise ValueError(error)
            for sample_id, output in zip(batch["sample_id_V"].tolist(), batch["output_VK"], strict=True):
                found[sample_id].append(output)
            advance(len(set(batch["sample_id_V"].tolist())))
    return {sample_id: np.stack(rows) for sample_id, rows in found.items()}


class ClipReader:
    """Runs in a reader: the test clips of a block of positions."""

    def __init__(self, videos: Any, storage: Storage, config: InferenceConfig, annotations: Annotations | None) -> None:
        import ray

        self._videos, self._storage = ray.get(videos), storage
        self._config, self._annotations = config, annotations

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """clip_VTHWC, sample_id_V and error_V: an exception would reach the driver as one of Ray's, without its type;
        so a video that cannot be used comes as a clip that says why."""
        from pipelines.labelled_reader import read_test_batch

        config = self._config
        try:
            batch = read_test_batch(
                self._videos,
                block["position"],
                storage=self._storage,
                config=config.sample,
                clips=config.clips,
                annotations=self._annotations,
            )
        except ValueError as error:
            empty = np.zeros((1, *config.sample.clip_shape), np.uint8)
            return {"clip_VTHWC": empty, "sample_id_V": np.array([-1]), "error_V": np.array([str(error)])}
        return {**batch, "error_V": np.full(len(batch["sample_id_V"]), "")}


class ClipModel:
    """Runs where the model is: scores or features of clips."""

    def __init__(self, config: InferenceConfig) -> None:
        import torch

        from jobs.parts.finetune_config import FinetuneConfig
        from jobs.parts.trained import ALL, load_trained
        from models.features import pooled_features, token_features

        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        kinds = (FinetuneConfig,) if config.output == "scores" else ALL
        model = load_trained(config.checkpoint, kinds).model()
        if config.untrained is not None:
            torch.manual_seed(config.untrained)
            model.init_weights()
        model = model.eval().to(self._device)
        self._clips_at_once = clips_at_once(config.sample)
        features = token_features if config.output == "tokens" else pooled_features
        self._compute: Callable[[torch.Tensor], torch.Tensor] = (
            model.predict if config.output == "scores" else partial(features, model.encoder)
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        outputs = []
        with torch.inference_mode():
            for start in range(0, len(batch["sample_id_V"]), self._clips_at_once):
                chosen = slice(start, start + self._clips_at_once)
                clip_BTHWC = torch.tensor(batch["clip_VTHWC"][chosen], device=self._device)
                outputs.append(self._compute(clip_BTHWC).cpu().numpy())
        kept = {name: batch[name] for name in ("sample_id_V", "error_V")}
        return {"output_VK": np.concatenate(outputs), **kept}

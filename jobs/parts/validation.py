"""What fine-tuning measures while it trains: the metrics of its protocol on validation videos, one clip of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.labelled_sample import LabelledSampleConfig

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from pipelines.labels import EvaluationProtocol

_ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class ValidationConfig:
    """Which videos."""

    catalog: str
    protocol: str
    sample_ids: tuple[int, ...]
    sample: LabelledSampleConfig
    annotations: str | None = None


class Share(NamedTuple):
    """What one rank measures of videos that all measure together."""

    videos: pa.Table
    """All of them, in the order of the config."""
    protocol: EvaluationProtocol
    clip_BTHWC: np.ndarray
    """This rank's, uint8: every rank has as many, the last ones repeated where they do not come out even."""


class Validation:
    """A cluster.protocols.Probe: each rank scores its share of the videos, decoded once."""

    def __init__(self, clip_BTHWC: np.ndarray, target_NK: np.ndarray, protocol: EvaluationProtocol) -> None:
        """`clip_BTHWC` are this rank's (Share); `target_NK` those of all."""
        self._clip_BTHWC, self._target_NK, self._protocol = clip_BTHWC, target_NK, protocol

    def __call__(self, task: Any, step: int) -> dict[str, float]:
        """Collective. The metrics of the task's kind (models.metrics)."""
        task.eval()
        score_NK = on_all_clips(task.predict, self._clip_BTHWC, like=task, count=len(self._target_NK))
        return all_metrics(self._protocol, self._target_NK, score_NK)


def all_metrics(protocol: EvaluationProtocol, target_NK: np.ndarray, score_NK: np.ndarray) -> dict[str, float]:
    """The metrics of the protocol's task over all rows; of several tasks at once those of each over the rows that have
    it, named TASK/METRIC, and the sum of their headlines."""
    from jobs.parts.affect_scores import SCORE, has_task, task_columns
    from models.metrics import METRICS, statistics

    if protocol.task == "affect":
        found, total = {}, 0.0
        for name, (single, columns) in task_columns(protocol).items():
            rows = has_task(target_NK, columns)
            if rows.any():
                metrics = all_metrics(single, target_NK[rows, columns], score_NK[rows, columns])
                found |= {f"{name}/{metric}": value for metric, value in metrics.items()}
                total += metrics[single.metric]
        return found | {SCORE: total}
    group_N = np.zeros(len(score_NK), np.int64)
    counts = statistics(protocol.task, target_NK, score_NK, group_N, num_groups=1)
    return {name: float(metric(counts[0])) for name, metric in METRICS[protocol.task].items()}


def build_validation(config: ValidationConfig) -> Validation:
    """Reads this rank's share. Raises ValueError naming a video that cannot be used."""
    from pipelines.labelled_videos import targets

    share = read_share(config)
    return Validation(share.clip_BTHWC, targets(share.videos), share.protocol)


def read_share(config: ValidationConfig) -> Share:
    """Needs the process group. Raises ValueError naming a video that cannot be used."""
    import pyarrow as pa
    import torch.distributed as dist

    from pipelines.annotations import open_annotations
    from pipelines.catalog import load
    from pipelines.labelled_reader import read_test_batch
    from pipelines.labelled_videos import labelled_videos

    catalog = load(config.catalog)
    annotations = None if config.annotations is None else open_annotations(config.annotations)
    protocol = catalog.protocol(config.protocol)
    table = labelled_videos(catalog, protocol, config.sample, annotations)
    position = {sample_id: row for row, sample_id in enumerate(table["sample_id"].to_pylist())}
    videos = table.take(pa.array([position[sample_id] for sample_id in config.sample_ids])).combine_chunks()
    rank, size = dist.get_rank(), dist.get_world_size()
    mine = np.minimum(np.arange(rank, -(-len(videos) // size) * size, size), len(videos) - 1)
    batch = read_test_batch(
        videos, mine, storage=catalog.storage, config=config.sample, clips=1, annotations=annotations
    )
    return Share(videos, protocol, batch["clip_VTHWC"])


def on_all_clips(
    function: Callable[[torch.Tensor], torch.Tensor], clip_BTHWC: np.ndarray, *, like: Any, count: int
) -> np.ndarray:
    """Collective. Rows [N, K] that a function makes of clips, a few at a time, of the `count` clips of all ranks.

    Args:
        clip_BTHWC: this rank's (Share).
        like: the module on whose device the function runs.
    """
    import torch
    import torch.distributed as dist

    device = next(like.parameters()).device
    rows = []
    with torch.no_grad():
        for start in range(0, len(clip_BTHWC), _ROWS_AT_ONCE):
            rows.append(function(torch.from_numpy(clip_BTHWC[start : start + _ROWS_AT_ONCE]).to(device)).cpu())
    own_BK = torch.cat(rows).numpy()
    everywhere: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, own_BK)
    return np.stack(everywhere, axis=1).reshape(-1, own_BK.shape[1])[:count]

"""What the training of a head measures on the way: the metrics of its protocol on windows of validation videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.parts.validation import all_metrics
from pipelines.feature_store import FeatureStore, Missing
from pipelines.order import PADDING
from pipelines.sequence_stream import SequenceReader
from pipelines.sequences import WindowConfig, window_rows

_CACHE_BYTES = 1 << 28
_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class HeadValidationConfig:
    """Which windows."""

    catalog: str
    protocol: str
    videos: tuple[str, ...]
    stores: tuple[str, ...]
    window: WindowConfig
    missing: Missing
    windows: int
    """At most, spread evenly."""


class HeadValidation:
    """A cluster.protocols.Probe: each rank scores its share of the windows."""

    def __init__(self, batches: list[dict[str, np.ndarray]], protocol: Any) -> None:
        """`batches` are this rank's (models.tokens.SequenceBatch)."""
        self._batches, self._protocol = batches, protocol

    def __call__(self, task: Any, step: int) -> dict[str, float]:
        """Collective. The metrics of the task's kind (models.metrics), over all labelled frames of the windows."""
        import torch
        import torch.distributed as dist

        task.eval()
        device, own = next(task.parameters()).device, []
        for batch in self._batches:
            tensors = {n: torch.from_numpy(v).to(device) for n, v in batch.items() if v.dtype.kind in "bf"}
            with torch.no_grad():
                score_BTK = task.predict(tensors).cpu().numpy()
            labelled_BT = batch["valid_BT"] & ~np.isnan(batch["target_BTK"]).all(-1)
            own.append((batch["target_BTK"][labelled_BT], score_BTK[labelled_BT]))
        everywhere: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, own)
        target_NK, score_NK = (np.concatenate(parts) for parts in zip(*sum(everywhere, []), strict=True))
        return all_metrics(self._protocol, target_NK, score_NK)


def build_validation(config: HeadValidationConfig) -> HeadValidation:
    """Reads this rank's share. Needs the process group."""
    import torch.distributed as dist

    from pipelines.catalog import load
    from pipelines.frame_labels import read_frame_labels

    labels = read_frame_labels(load(config.catalog).storage, config.protocol)
    rows = window_rows(labels, config.videos, config.window)
    chosen = np.unique(np.linspace(0, rows.num_rows - 1, min(config.windows, rows.num_rows)).round().astype(int))
    stores = [FeatureStore.open(address) for address in config.stores]
    reader = SequenceReader(
        rows, stores, window=config.window.length, missing=config.missing, cache_bytes=_CACHE_BYTES, epoch=0
    )
    # As many for every rank: to predict may be collective, where parameters are shared out (ZeRO 3).
    ranks = dist.get_world_size()
    dealt = np.append(chosen, np.full(-len(chosen) % ranks, PADDING))
    mine = dealt[dist.get_rank() :: ranks]
    starts = range(0, len(mine), _ROWS_AT_ONCE)
    return HeadValidation([reader.read(mine[start : start + _ROWS_AT_ONCE]) for start in starts], labels.protocol)

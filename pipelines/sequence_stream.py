"""The stream of windows of features, for heads that learn from frames in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from models.tokens import SequenceBatch
from pipelines.feature_store import FeatureStore, Missing
from pipelines.order import PADDING
from pipelines.sequences import FeatureSequences, WindowConfig, labels_digest, put_window, window_rows
from pipelines.stream import SampleStream, StreamConfig

if TYPE_CHECKING:
    import pyarrow as pa

_CACHE_SHARE = 0.5  # of an actor's heap, for videos that were read last


@dataclass(frozen=True)
class SequenceStreamConfig(StreamConfig):
    """Which videos, and the features of them; `catalog` is of their frames."""

    protocol: str = ""
    """What is learned: a protocol whose labels are told frame by frame (pipelines.frame_labels)."""
    videos: tuple[str, ...] = ()
    """Those that are learned from, by name."""
    stores: tuple[str, ...] = ()
    """Addresses of feature stores, whose features stand side by side in this order."""
    window: WindowConfig = field(default_factory=WindowConfig)
    missing: Missing = "nearest"
    """What stands for a frame without features (pipelines.feature_store.align)."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split != StreamConfig.split:
            raise ValueError(f"split={self.split!r} has no effect on windows; name the videos")
        for name in ("protocol", "videos", "stores"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")


def build_stream(config: SequenceStreamConfig) -> SampleStream:
    """The stream of a config. Raises ValueError for labels or stores that are not there, and where no frame of the
    videos is labelled."""
    from pipelines.catalog import load
    from pipelines.frame_labels import read_frame_labels

    catalog = load(config.catalog)
    labels = read_frame_labels(catalog.storage, config.protocol)
    stores = [FeatureStore.open(address) for address in config.stores]
    rows = window_rows(labels, config.videos, config.window)
    width, num_outputs = sum(store.width for store in stores), len(labels.protocol.classes)
    told = [catalog.fingerprint, labels_digest(labels, config.videos)[:16], config.protocol, config.missing]
    told += [f"{config.window.length}/{config.window.stride}"]
    told += [store.key[:16] for store in stores] + [hashlib.sha256("\n".join(config.videos).encode()).hexdigest()[:16]]
    return SampleStream(
        config,
        rows,
        num_ids=rows.num_rows,
        seed=config.seed,
        make_reader=partial(
            SequenceReader,
            stores=stores,
            window=config.window.length,
            missing=config.missing,
            cache_bytes=int(_CACHE_SHARE * config.memory_per_actor_mb * 2**20),
        ),
        sample_bytes=4 * config.window.length * (width + num_outputs),
        fingerprint=":".join(told),
    )


class SequenceReader:
    """Reads micro-batches of windows; one per process. The same in every epoch: nothing about a window is drawn."""

    def __init__(
        self,
        rows: pa.Table,
        stores: Sequence[FeatureStore],
        *,
        window: int,
        missing: Missing,
        cache_bytes: int,
        epoch: int,
        same_draws_every: int | None = None,
    ) -> None:
        self._rows, self._window = rows, window
        self._features = FeatureSequences(stores, missing, cache_bytes=cache_bytes)
        first = rows.slice(0, 1).to_pylist()[0]
        self._outputs = len(first["target"]) // first["length"]

    def read(self, positions_B: Sequence[int] | np.ndarray) -> SequenceBatch:
        """The batch of the windows at these positions, PADDING for a row without a sample."""
        shape = len(positions_B), self._window
        batch: SequenceBatch = {
            "feature_BTD": np.zeros((*shape, self._features.width), np.float32),
            "present_BT": np.zeros(shape, bool),
            "valid_BT": np.zeros(shape, bool),
            "target_BTK": np.full((*shape, self._outputs), np.nan, np.float32),
            "sample_id_B": np.full(len(positions_B), PADDING, np.int64),
            "rejected_B": np.full(len(positions_B), "", object),
        }
        for index, position in enumerate(positions_B):
            if position == PADDING:
                continue
            row = {name: self._rows[name][int(position)] for name in self._rows.column_names}
            start, length = row["start"].as_py(), row["length"].as_py()
            frames = self._features.read(row["video"].as_py(), row["num_frames"].as_py())
            put_window(batch, index, frames, start, length)
            target = row["target"].values.to_numpy(zero_copy_only=False)
            batch["target_BTK"][index, :length] = target.reshape(length, -1)
            batch["sample_id_B"][index] = row["sample_id"].as_py()
        return batch

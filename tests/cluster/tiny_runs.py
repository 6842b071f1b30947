"""Runs of our own models, tiny, over clips in memory, through the real loop and the real order of an epoch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import safetensors.torch
from torch import Tensor

from cluster.commit import scan
from cluster.config import CheckpointConfig, EngineConfig, OptimizerConfig, TelemetryConfig, WorkersConfig
from cluster.failures import TrainingError
from cluster.protocols import BatchPlan, Reference
from cluster.trainer import DIRECTORY, TrainingRun
from pipelines.storage import Storage
from pipelines.stream import SampleStream, StreamConfig
from tests.cluster.loops import ListedBlocks, ListedLink, make_loop
from tests.cluster.toy import make_rows
from tests.cluster.workers import full_state
from tests.models import samples

MASKS = 2
"""Of each clip: repeated sampling."""
EVERY_STEPS = 12


@dataclass(frozen=True)
class TinyData:
    """Epochs of videos x passes visits; ragged, unless the global batch divides that."""

    kind: Literal["clips", "labelled", "numbers"]
    videos: int = 23
    passes: int = 3
    shares: tuple[float, ...] | None = None
    """Visits of each video in a pass, on the average; None: one."""
    rejected: tuple[int, ...] = ()

    def ids(self, epoch: int) -> set[int]:
        """What an epoch is made of."""
        return set(MemoryStream(self).plan(epoch, MemoryStream(self).nothing, BatchPlan(1, 1, 1)).ravel().tolist())


class MemoryStream(SampleStream):
    """Positions of rows are their sample ids; what a sample shows is drawn from the epoch and its id."""

    def __init__(self, data: TinyData) -> None:
        super().__init__(
            StreamConfig(catalog="memory", passes_per_epoch=data.passes),
            pa.table({"sample_id": np.arange(data.videos)}),
            num_ids=data.videos,
            seed=0,
            make_reader=lambda *_, **__: None,
            sample_bytes=1,
            fingerprint="memory",
            shares_N=None if data.shares is None else np.array(data.shares),
        )
        self.data = data

    @property
    def nothing(self) -> np.ndarray:
        return np.zeros(self.num_samples, bool)

    def dataset(self, epoch: int, consumed: np.ndarray, plan: BatchPlan) -> ListedBlocks:
        return ListedBlocks([self._block(ids_B, epoch) for ids_B in self.plan(epoch, consumed, plan)])

    def _block(self, ids_B: np.ndarray, epoch: int) -> dict[str, np.ndarray]:
        block = make_rows(ids_B, self.data.rejected)
        if self.data.kind == "numbers":
            return block
        rows = [drawn(self.data.kind, 1000 * epoch + int(i) + 1) for i in ids_B]
        columns = {name: np.concatenate([row[name] for row in rows]) for row in rows[:1] for name in row}
        return columns | {name: block[name] for name in ("sample_id_B", "rejected_B")}


@lru_cache(maxsize=512)
def drawn(kind: str, seed: int) -> dict[str, np.ndarray]:
    """One row of noise."""
    row = samples.labelled_batch(1, seed=seed) if kind == "labelled" else samples.batch(1, masks=MASKS, seed=seed)
    return {name: value.numpy() for name, value in row.items() if name != "weight_B"}


def make_stream(data: TinyData) -> MemoryStream:
    return MemoryStream(data)


TASKS = {
    "pre-training": (Reference("models.masked_autoencoder:build", samples.config()), TinyData("clips")),
    "fine-tuning": (
        Reference("models.fine_tuning:build", samples.fine_tuning_config(layer_decay=0.5)),
        TinyData("labelled"),
    ),
}
"""With groups of weight decay, and with those by layer too."""


def tiny_run(folder: Any, task: Reference, data: TinyData, *, stage: int, precision: str, **changes: Any) -> Any:
    """Global batches of 4 in micro-batches of 2, two epochs; by default of 18 steps, a warm-up of 9."""
    settings: dict[str, Any] = {
        "optimizer": OptimizerConfig(
            base_lr=0.064,
            min_lr=0.002,
            global_batch=4,
            epochs=2,
            warmup_epochs=0.5,
            weight_decay=0.5,
            gradient_clip=0.5,
        ),
        "engine": EngineConfig(zero_stage=stage, precision=precision, micro_batch=2),
        "workers": WorkersConfig(deterministic=True),
        "checkpoint": CheckpointConfig(every_steps=EVERY_STEPS, keep_last=100),
        "telemetry": TelemetryConfig(log_every_steps=1, probe_every_steps=1000, tensorboard=False),
    }
    stream = Reference("tests.cluster.tiny_runs:make_stream", data)
    return TrainingRun(name="tiny", run_directory=str(folder), task=task, stream=stream, **(settings | changes))


class Interrupted(Exception):
    """All ranks stop at once, nothing is saved."""


class InterruptedLink(ListedLink):
    """Ends the loop where a step begins."""

    def __init__(self, at_step: int | None) -> None:
        super().__init__(None)
        self._at_step = at_step

    def begin(self, step: int, sample_ids: list[int]) -> Any:
        if step == self._at_step:
            raise Interrupted
        return super().begin(step, sample_ids)


@dataclass(frozen=True)
class Segment:
    """One life of a run, as a rank saw it."""

    error: TrainingError | None
    resumed_step: int
    loaded: dict[str, str]
    """Hash of each tensor of weights and AdamW before the first step."""
    left: dict[str, str]
    """The same after the last."""
    loaded_counts: list[float]
    """AdamW's own count of updates, of each tensor that it updates, before the first step."""
    step: int
    updates: int
    groups: list[dict[str, Any]]
    """Of the optimizer after the last step: {"name", "lr", "weight_decay", "lr_scale", "betas", "eps"}."""
    scheduled_rate: float
    """Of the last step."""
    begun: list[tuple[int, list[int]]]
    """Sample ids of this rank by step."""


def live(run: TrainingRun, interrupted_at: int | None = None) -> Segment:
    """On every rank: resumes from the newest checkpoint and trains."""
    link = InterruptedLink(interrupted_at)
    loop = make_loop(run, link)
    engine = loop.engine
    resumed_step, loaded = loop.step, hashes(full_state(engine))
    counts = [engine._state.adam.state[master]["step"].item() for master in engine._state.masters()]
    error = None
    try:
        loop.train()
    except TrainingError as failure:
        error = failure
    except Interrupted:
        pass
    loop.telemetry.close()
    names = ("name", "lr", "weight_decay", "lr_scale", "betas", "eps")
    return Segment(
        error=error,
        resumed_step=resumed_step,
        loaded=loaded,
        left=hashes(full_state(engine)),
        loaded_counts=counts,
        step=loop.step,
        updates=engine.updates,
        groups=[{name: group[name] for name in names} for group in engine._deepspeed.optimizer.param_groups],
        scheduled_rate=loop.schedule.rate(loop.step - 1) if loop.step else 0.0,
        begun=link.begun,
    )


def hashes(state: dict[str, Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest() for name, value in state.items()}


def committed_state(folder: Path, step: int | None = None) -> dict[str, Tensor]:
    """Tensors of the checkpoint at a step, or of the newest, under "name/key"."""
    storage = Storage(folder / DIRECTORY)
    commits = [commit for commit in scan(storage).commits if step in (None, commit.step)]
    state: dict[str, Tensor] = {}
    for file in commits[0].files:
        if file.endswith(".safetensors"):
            tensors = safetensors.torch.load(storage.read(f"{commits[0].name}/{file}"))
            for key, value in tensors.items():
                kind, _, name = key.partition("/") if file.startswith("adam-") else ("weight", "", key)
                state[f"{name}/{kind}"] = value
    return state


def committed_steps(folder: Path) -> list[int]:
    """Oldest first."""
    return sorted(commit.step for commit in scan(Storage(folder / DIRECTORY)).commits)


def losses(folder: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss/total"] for row in rows if "loss/total" in row}


def ids_by_step(lives: list[list[Segment]]) -> dict[int, list[int]]:
    """Sorted ids of all ranks in the updates that count: a life that resumes earlier takes back what came after."""
    found: dict[int, list[int]] = {}
    for ranks in lives:
        found = {step: ids for step, ids in found.items() if step <= ranks[0].resumed_step}
        for segment in ranks:
            for step, ids in segment.begun:
                if step <= segment.step:
                    found[step] = sorted([*found.get(step, []), *ids])
    return found

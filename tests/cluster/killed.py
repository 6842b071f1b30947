"""Processes that kill themselves in the middle of training, with SIGKILL, at a step and a phase that are named."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from cluster.trainer import TrainingRun
from cluster.worker import set_kernels
from pipelines.storage import Storage
from tests.cluster.loops import ListedLink, make_loop
from tests.cluster.tiny_runs import Segment, live

Phase = Literal["backward", "update", "save", "commit"]
"""Before the gradients of the step; after its update, before its samples are marked; between two files of its
checkpoint; before the COMMIT.json of that."""
FILES = {"save": "/adam-", "commit": "/COMMIT.json"}


@dataclass(frozen=True)
class Kill:
    rank: int
    step: int
    phase: Phase
    flag: str
    """File that the process writes before it dies."""

    def strike(self) -> None:
        Path(self.flag).write_text(f"{self}")
        os.kill(os.getpid(), signal.SIGKILL)


def live_in_deterministic_mode(run: TrainingRun) -> Segment:
    """On every rank: to the end."""
    try:
        set_kernels(dist.get_world_size(), deterministic=True)
        return live(run)
    finally:
        torch.use_deterministic_algorithms(False)


def die(run: TrainingRun, kill: Kill) -> None:
    """On every rank: resumes and trains until one of them dies; the others fail of that, or are killed too."""
    set_kernels(dist.get_world_size(), deterministic=True)
    loop = make_loop(run, ListedLink(None))
    if dist.get_rank() == kill.rank:
        if kill.phase in FILES:
            _die_writing(kill)
        else:
            _die_training(loop.engine, kill)
    loop.train()
    raise AssertionError(f"{kill} did not fire")


def _die_training(engine: Any, kill: Kill) -> None:
    backward, step = engine.backward, engine.step

    def killed_before_backward(loss: Any) -> None:
        if kill.phase == "backward" and engine.updates == kill.step - 1:
            kill.strike()
        backward(loss)

    def killed_after_update(lr: float) -> None:
        step(lr)
        if kill.phase == "update" and engine.updates == kill.step:
            kill.strike()

    engine.backward, engine.step = killed_before_backward, killed_after_update


def _die_writing(kill: Kill) -> None:
    write = Storage.write

    def killed_before_write(self: Storage, name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith(f"step-{kill.step:08d}-") and FILES[kill.phase] in name:
            kill.strike()
        return write(self, name, *arguments, **keywords)

    Storage.write = killed_before_write

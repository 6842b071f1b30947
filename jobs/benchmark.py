#!/usr/bin/env python
"""Measures this machine: how many clips a CPU second reads, how many a second of the device trains on, what
checkpoints and bookkeeping take of that.

    python jobs/benchmark.py input
    python jobs/benchmark.py input --clip talking_face.mp4
    python jobs/benchmark.py model
    python jobs/benchmark.py model --recipe vit_base_joint --batch 64
    python jobs/benchmark.py training
    python jobs/benchmark.py training --recipe mae_dfer_base --batch 8 --steps 12

The last line on stdout is one JSON object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro


@dataclass(frozen=True)
class Input:
    """Reading clips: decoders alone, the per-sample function, the Ray Data stream; 16 frames of 160x160, stride 4."""

    clip: tuple[Path, ...] = ()
    """Face videos to cut test files from (centre square, 224x224, 25 fps). None: a moving texture."""
    samples: int = 48
    """Clips each decoder and the per-sample function read, three times over."""
    batches: int = 40
    """Micro-batches that count, after half as many to warm up; 0: no stream."""
    micro_batch: int = 32
    actors: int = 2
    """Decode actors, half a CPU reserved for each."""

    def __post_init__(self) -> None:
        for name in ("samples", "micro_batch", "actors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.batches < 0 or self.batches == 1:
            raise ValueError(f"batches={self.batches} must be 0 or at least 2")
        for path in self.clip:
            if not path.is_file():
                raise ValueError(f"clip={path} is not a file")


def measure_input(options: tyro.conf.OmitArgPrefixes[Input]) -> None:
    """Clips per CPU second of the input pipeline."""
    from jobs.parts.benchmark_input import measure

    fields = vars(options).copy()
    _print(measure, fields.pop("clip"), **fields)


@dataclass(frozen=True)
class Model:
    """The pre-training step of a recipe, forward and backward, on the GPU or without one on the CPU; fp32 and bf16
    autocast."""

    recipe: str = "mae_dfer_base"
    """A recipe of jobs/pretrain_voxceleb.py."""
    batch: int = 8
    """Clips of a step, each with one mask."""
    steps: int = 5
    """Steps that count, after two to warm up; the fastest is reported."""
    threads: int | None = None
    """CPU threads. None: as many as torch takes by itself."""

    def __post_init__(self) -> None:
        for name in ("batch", "steps", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")


def measure_model(options: tyro.conf.OmitArgPrefixes[Model]) -> None:
    """Clips per second of the pre-training step."""
    from jobs.parts.benchmark_model import measure

    _print(measure, **vars(options))


@dataclass(frozen=True)
class Training:
    """What checkpoints and bookkeeping take of the time of a training step, at the recipe's interval: the real loop in
    one process, on noise from memory."""

    recipe: str = "nano"
    """A recipe of jobs/pretrain_voxceleb.py."""
    batch: int | None = None
    """Clips of a step. None: the recipe's global batch."""
    steps: int = 60
    """Steps that count, after three to warm up."""
    saves: int = 3
    """Checkpoints among these steps; the end of the run may add one."""
    directory: str | None = None
    """Where checkpoints are written, a folder or s3://bucket/prefix; removed afterwards. None: a temporary folder."""

    def __post_init__(self) -> None:
        for name in ("batch", "saves"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.steps < 1 or self.steps % self.saves:
            raise ValueError(f"steps={self.steps} must be a positive multiple of saves={self.saves}")


def measure_training(options: tyro.conf.OmitArgPrefixes[Training]) -> None:
    """What checkpoints and bookkeeping cost."""
    from jobs.parts.benchmark_training import measure

    _print(measure, **vars(options))


def _print(measure: Callable[..., dict[str, Any]], *arguments: Any, **options: Any) -> None:
    from cluster.runtime import print_result

    try:
        result = measure(*arguments, **options)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print_result(result)


def main() -> None:
    subcommands = {"input": measure_input, "model": measure_model, "training": measure_training}
    tyro.extras.subcommand_cli_from_dict(subcommands, description=__doc__)


if __name__ == "__main__":
    main()

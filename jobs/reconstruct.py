#!/usr/bin/env python
"""Reconstructs masked face videos or images with a pre-trained model: sheets, videos and decibels.

    python jobs/reconstruct.py --checkpoint RUN
    python jobs/reconstruct.py --checkpoint RUN --video smile.mp4 frames/ --mask-ratio 0.75 0.9
    python jobs/reconstruct.py --checkpoint FACES --image smile.jpg frown.png

Needs no Ray. The last line of standard output is one JSON object: sheets, videos, decibels by clip and their means.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro


@dataclass(frozen=True)
class Options:
    """What to reconstruct, with which weights, under which masks."""

    checkpoint: str
    """Run directory, a checkpoint in it, or exported weights (.safetensors)."""
    video: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=("--image",))] = ()
    """Video files or folders of frames, of which the middle clip is read; images where the run learned images. None:
    the held-out clips of the run. Faces are not looked for: where the run's crops follow them, name files that a face
    fills, for they are cut to their largest centred square."""
    mask_policy: Literal["tube", "random", "frame", "region_tube"] | None = None
    """None: the policy of the run, that of the rest where its masks keep an action unit. An LGI-Former takes
    region_tube alone."""
    mask_ratio: tuple[float, ...] = (0.75, 0.9)
    """Every ratio has pictures of its own."""
    max_sheets: int = 4
    """How many of the held-out clips are drawn, of images how many sheets of eight; all are measured. Files that were
    named are all drawn."""
    output: str = "reconstructions"
    """Folder or s3://bucket/prefix for POLICY-RATIO/clip-NN.png and .mp4, of images images-NN.png, and for
    result.json."""

    def __post_init__(self) -> None:
        if not self.mask_ratio or any(not 0 < ratio < 1 for ratio in self.mask_ratio):
            raise ValueError(f"mask_ratio={self.mask_ratio} must be one or more numbers between 0 and 1")
        if self.max_sheets < 0:
            raise ValueError(f"max_sheets={self.max_sheets} must not be negative")


def main() -> None:
    options = tyro.cli(Options, description=__doc__)

    from cluster.checkpoint import CheckpointError
    from jobs.parts.reconstruction_run import reconstruct_clips
    from pipelines.quarantine import SampleError
    from pipelines.storage import StorageError

    try:
        result = reconstruct_clips(
            options.checkpoint,
            options.video,
            policy=options.mask_policy,
            ratios=options.mask_ratio,
            max_sheets=options.max_sheets,
            output=options.output,
        )
    except (CheckpointError, SampleError, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Compare fine-tunings, or heads, of the same corpus, seed by seed and subject by subject.

    python jobs/finetune.py dfew --corpus.root DIR --seeds 5 --name scratch
    python jobs/finetune.py dfew --corpus.root DIR --seeds 5 --name pretrained --init-from RUN
    python jobs/compare.py --arms scratch pretrained --baseline scratch
    python jobs/compare.py --arms frame-wise temporal --baseline frame-wise --task expr

An arm is the name of a fine-tuning or of a head, or NAME=DIRECTORY. Differences come with 95 % intervals over test
subjects and seeds, and with a list of all that the arms' configs do not share. The last line on stdout is one JSON
object.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro


@dataclass(frozen=True)
class Config:
    """The options of this job."""

    arms: tuple[str, ...]
    """Names of fine-tunings below finetunings/ of the home, or of heads below heads/, or NAME=DIRECTORY."""
    baseline: str
    """The arm that the others are compared with."""
    task: Literal["expr", "au", "va"] | None = None
    """Of arms that learned several tasks at once the one that is compared."""
    home: str | None = None
    """Where runs are kept; None: $SEMBLANCE_HOME, or ~/semblance."""
    output: str | None = None
    """Where comparison.json and comparison.png go; None: comparisons/ in the home."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)

    from cluster.checkpoint import CheckpointError
    from cluster.runtime import print_result
    from jobs.parts.comparison import compare_results, find_arm
    from pipelines.storage import Storage, StorageError
    from pipelines.storage import home as default_home

    home = Storage(config.home) if config.home else default_home()
    try:
        arms = dict(arm.split("=", 1) if "=" in arm else (arm, find_arm(arm, home)) for arm in config.arms)
        place = Storage(config.output) if config.output else home.child("comparisons", "-".join(arms))
        result = compare_results(arms, baseline=config.baseline, place=place, task=config.task)
    except (CheckpointError, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")
    print_result(result)


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Score fine-tuned runs on the videos they were not trained on; the folds of a corpus together.

    python jobs/evaluate.py --runs ~/semblance/runs/dfew-*
    python jobs/evaluate.py --runs ~/semblance/runs/dfew-*-fold1-seed0 --test-clips 10

`jobs/finetune.py` does this at its end. Here any finished or unfinished runs of one protocol are scored, each at its
newest checkpoint. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro


@dataclass(frozen=True)
class Config:
    """The options of this job."""

    runs: tuple[str, ...]
    """Runs of jobs/finetune.py: directories or s3://bucket/prefix; of a fold and seed one."""
    test_clips: int | None = None
    """Uniformly spaced clips of each video whose scores are averaged; None: as the runs say."""
    output: str | None = None
    """Where metrics.json, predictions.parquet and confusion.png go; None: evaluations/ in $SEMBLANCE_HOME or in
    ~/semblance, under the name of the first run."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)

    from cluster.checkpoint import CheckpointError
    from jobs.parts.evaluate_run import evaluate_runs
    from pipelines.storage import StorageError

    try:
        evaluate_runs(config.runs, test_clips=config.test_clips, output=config.output)
    except (CheckpointError, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Search mask ratio, loss weights or any other field of a pre-training, by what a probe reads off the features.

    python jobs/sweep_pretraining.py
    python jobs/sweep_pretraining.py --space mask.ratio=0.5..0.95 lambda=0.1..0.9 --search.method optuna
    python jobs/sweep_pretraining.py mask_ratio --pretrain.corpus.name voxceleb2 --pretrain.corpus.root s3://bucket/vox
    ray job submit --working-dir . -- python jobs/sweep_pretraining.py

Every trial is a training run of its own; those that do badly are stopped early. The same command goes on where it was
stopped. It leaves sweep.html and prints the command of the best. The last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.sweeps import PRETRAINING as RECIPES


def main() -> None:
    command = parse(RECIPES, default="nano", description=__doc__ or "")

    from cluster.checkpoint import CheckpointError
    from cluster.failures import TrainingError
    from jobs.parts.sweep_run import sweep
    from pipelines.storage import StorageError

    try:
        sweep(command)
    except (CheckpointError, StorageError, TrainingError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

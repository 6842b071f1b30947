#!/usr/bin/env python
"""Search learning rate, layer decay, drop path, mixup, head or any other field of a fine-tuning, over its folds.

    python jobs/sweep_finetuning.py --finetune.init-from ~/semblance/runs/NAME
    python jobs/sweep_finetuning.py recipe --finetune.corpus.root s3://bucket/dfew --finetune.init-from RUN
    python jobs/sweep_finetuning.py --space model.layer_decay=0.65,0.75,0.85 model.mixup=0,0.8

The best is chosen by people that are held out of the training folds, and it alone is then scored on the test videos,
once. The same command goes on where it was stopped. It leaves sweep.html and test/metrics.json, and prints the command
of the best. The last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.sweeps import FINETUNING as RECIPES


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

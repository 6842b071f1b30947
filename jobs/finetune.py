#!/usr/bin/env python
"""Fine-tune a pre-trained encoder on labelled face video, fold by fold, and score the folds together.

    python jobs/finetune.py --init-from ~/semblance/runs/NAME
    python jobs/finetune.py dfew --corpus.root s3://bucket/dfew --init-from s3://bucket/semblance/runs/NAME
    python jobs/finetune.py own --corpus.root ~/my_videos --init-from ~/semblance/runs/NAME
    ray job submit --working-dir . -- python jobs/finetune.py --corpus.name ravdess

Without --init-from the encoder starts from random weights. Every fold is a run that is resumed by the same command; the
result is metrics.json, predictions.parquet and a confusion matrix. The last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.finetuning import RECIPES


def main() -> None:
    command = parse(RECIPES, default="nano", description=__doc__ or "")

    from cluster.checkpoint import CheckpointError
    from cluster.failures import TrainingError
    from jobs.parts.finetune_run import finetune
    from pipelines.storage import StorageError

    try:
        finetune(command)
    except (CheckpointError, StorageError, TrainingError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

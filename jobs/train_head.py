#!/usr/bin/env python
"""Train a head on the features of frames, fold by fold: temporal (TCN and Transformer, or a Transformer that fuses
several kinds of features), dual-view fusion, or an MLP; smooth what it says, score it, and write a submission.

    python jobs/extract_features.py vision --init-from ~/semblance/runs/NAME
    python jobs/train_head.py --features ~/semblance/features/NAME
    python jobs/train_head.py netease_expr --corpus.root s3://bucket/aff_wild2 --features s3://bucket/... s3://bucket/...
    ray job submit --working-dir . -- python jobs/train_head.py ctyunai_va --features ...

Every labelled frame of the test videos is scored, also those without an image. The result is metrics.json,
predictions.parquet, a table of videos, timelines and, for videos whose labels nobody has told, submission files. The
same command goes on where it was stopped. The last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.heads import RECIPES


def main() -> None:
    command = parse(RECIPES, default="nano", description=__doc__ or "")

    from cluster.checkpoint import CheckpointError
    from cluster.failures import TrainingError
    from jobs.parts.head_run import train_head
    from pipelines.storage import StorageError

    try:
        train_head(command)
    except (CheckpointError, StorageError, TrainingError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

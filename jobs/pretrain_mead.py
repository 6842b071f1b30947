#!/usr/bin/env python
"""Pre-train a masked autoencoder across the views of MEAD, with masks that keep an active action unit (MAURA), or of
the synthetic corpus of seven cameras (no argument).

    python jobs/pretrain_mead.py
    python jobs/pretrain_mead.py maura --corpus.name mead --corpus.root s3://bucket/mead
    ray job submit --working-dir . -- python jobs/pretrain_mead.py nano --optimizer.epochs 30

A corpus of your own needs annotations: jobs/build_catalog.py, then jobs/annotate_faces.py. The same command again
resumes an unfinished run and finds a finished one. The last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.mead import RECIPES


def main() -> None:
    command = parse(RECIPES, default="nano", description=__doc__ or "")

    from cluster.checkpoint import CheckpointError
    from cluster.failures import TrainingError
    from jobs.parts.pretraining import pretrain
    from jobs.parts.take_pretraining import prepare
    from pipelines.storage import StorageError

    try:
        pretrain(command, prepare)
    except (CheckpointError, StorageError, TrainingError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

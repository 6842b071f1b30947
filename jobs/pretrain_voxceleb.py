#!/usr/bin/env python
"""Pre-train a masked autoencoder on VoxCeleb2, on any folder of face video, or on the synthetic corpus (no argument).

    python jobs/pretrain_voxceleb.py
    python jobs/pretrain_voxceleb.py mae_dfer_base --corpus.name voxceleb2 --corpus.root s3://bucket/voxceleb2
    ray job submit --working-dir . -- python jobs/pretrain_voxceleb.py nano --optimizer.epochs 30

The same command again resumes an unfinished run and finds a finished one. The last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.voxceleb import RECIPES


def main() -> None:
    command = parse(RECIPES, default="nano", description=__doc__ or "")

    from cluster.checkpoint import CheckpointError
    from cluster.failures import TrainingError
    from jobs.parts.pretraining import pretrain
    from jobs.parts.video_pretraining import prepare
    from pipelines.storage import StorageError

    try:
        pretrain(command, prepare)
    except (CheckpointError, StorageError, TrainingError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Pre-train a masked autoencoder on face images: a union of corpora, or their synthetic twins (no argument).

    python jobs/pretrain_face_images.py
    python jobs/pretrain_face_images.py ctyunai_mae --corpus.names affectnet raf_db \
        --corpus.roots affectnet s3://bucket/affectnet raf_db s3://bucket/raf_db
    ray job submit --working-dir . -- python jobs/pretrain_face_images.py nano --optimizer.epochs 5

Images lie in folders, zips or tar shards; those that cannot be used, show no face or are there twice are told of, and
left out. The same command again resumes an unfinished run and finds a finished one. The last line on stdout is one JSON
object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.faces import RECIPES


def main() -> None:
    command = parse(RECIPES, default="nano", description=__doc__ or "")

    from cluster.checkpoint import CheckpointError
    from cluster.failures import TrainingError
    from jobs.parts.face_pretraining import prepare
    from jobs.parts.pretraining import pretrain
    from pipelines.face_mesh import FaceMeshUnavailable
    from pipelines.storage import StorageError

    try:
        pretrain(command, prepare)
    except (CheckpointError, FaceMeshUnavailable, StorageError, TrainingError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

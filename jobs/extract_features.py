#!/usr/bin/env python
"""Compute features of every frame of a corpus once, and keep them in a store that heads learn from.

    python jobs/extract_features.py
    python jobs/extract_features.py vision --init-from ~/semblance/runs/NAME --corpus.root s3://bucket/aff_wild2
    python jobs/extract_features.py hubert --encoder.weights ~/hubert-base-ls960 --corpus.root s3://bucket/aff_wild2
    python jobs/extract_features.py foreign --folder ~/openface --corpus.root s3://bucket/aff_wild2

Without --corpus.root this is the synthetic twin of Aff-Wild2. The same command again goes on where it stopped. What has
no features, and why, is listed in quarantine.jsonl beside them. The last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.features import RECIPES


def main() -> None:
    command = parse(RECIPES, default="log_mel", description=__doc__ or "")

    from cluster.checkpoint import CheckpointError
    from jobs.parts.feature_run import extract_features
    from models.audio_encoders import TransformersUnavailable
    from pipelines.storage import StorageError

    try:
        extract_features(command)
    except (CheckpointError, StorageError, TransformersUnavailable, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

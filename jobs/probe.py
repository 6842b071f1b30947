#!/usr/bin/env python
"""Ask frozen encoders what they know of labelled face videos: probes on features that are computed once.

    python jobs/probe.py --checkpoints ~/semblance/runs/NAME --random --units
    python jobs/probe.py --checkpoints s3://bucket/runs/A s3://bucket/runs/B --corpus.name dfew --corpus.root s3://b/dfew
    python jobs/probe.py --checkpoints ~/semblance/runs/NAME --corpus.name mead --probes linear knn attentive --seeds 3

Without --corpus.root this is the synthetic twin of the corpus. Every video is scored by a probe that was trained on
others: on the other folds, or on the training part; what a probe chooses, it chooses among those. Writes metrics.json,
predictions and confusion matrices, and pictures. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from jobs.parts.probe_config import ProbeJobConfig


def main() -> None:
    config = tyro.cli(ProbeJobConfig, description=__doc__)

    from cluster.checkpoint import CheckpointError
    from jobs.parts.probe_run import probe
    from pipelines.storage import StorageError

    try:
        probe(config)
    except (CheckpointError, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

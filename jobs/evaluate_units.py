#!/usr/bin/env python
"""Measures the estimator of action units where they are known: on synthetic performances filmed by seven cameras.

    python jobs/evaluate_units.py
    python jobs/evaluate_units.py --corpus.actors 20 --corpus.takes-per-actor 24 --output s3://bucket/units

Units are estimated twice, from the true landmarks and from those that MediaPipe finds in the pixels, and compared per
unit and view; so are the masks drawn from them. Needs no Ray. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from pipelines.synthetic.config import MeadConfig


@dataclass(frozen=True)
class Config:
    """The options of this job."""

    corpus: MeadConfig = field(default_factory=lambda: MeadConfig(takes_per_actor=8))
    """Rendered on first use. A face at rest is the median of an actor's takes: give all eight emotions."""
    home: str | None = None
    """Local folder or s3://bucket/prefix below which corpora are kept. None: $SEMBLANCE_HOME, or ~/semblance."""
    output: str = "unit-evaluation"
    """Local folder or s3://bucket/prefix for result.json and units.png, a heat map of F1."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)

    from cluster.runtime import print_result
    from jobs.parts.unit_evaluation_run import evaluate_units
    from pipelines.quarantine import SampleError
    from pipelines.storage import Storage, StorageError, home

    try:
        place = Storage(config.home) if config.home else home()
        output = Storage(config.output)
        result = evaluate_units(config.corpus, place.child("corpora"), output)
        print_result(result, output)
    except (SampleError, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

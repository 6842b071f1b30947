#!/usr/bin/env python
"""Exports pre-trained weights: safetensors, a JSON description and a model card, ready for timm.

    python jobs/export_weights.py --checkpoint RUN
    python jobs/export_weights.py --checkpoint RUN --part all --output ~/weights/mine

Needs no Ray. The last line of standard output is one JSON object with the names of the files.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro


@dataclass(frozen=True)
class Options:
    """Which weights, which part of them, and where to."""

    checkpoint: str
    """Run directory, a checkpoint in it, or weights exported with --part all (.safetensors)."""
    part: Literal["encoder", "all"] = "encoder"
    """encoder: what is fine-tuned, as timm loads it; all: with the decoder, to reconstruct and to train on."""
    output: Path | None = None
    """Folder for model.safetensors, model.json and README.md. None: exported/RUN-step-STEP-PART."""


def main() -> None:
    options = tyro.cli(Options, description=__doc__)

    from cluster.checkpoint import CheckpointError
    from jobs.parts.export import export_trained
    from pipelines.storage import StorageError

    try:
        result = export_trained(options.checkpoint, part=options.part, output=options.output)
    except (CheckpointError, StorageError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

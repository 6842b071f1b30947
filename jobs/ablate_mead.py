#!/usr/bin/env python
"""Compare what MAURA adds to VideoMAE on the views of MEAD: masks that keep an active action unit, and the
reconstruction of another view. Every arm is pre-trained with several seeds; a linear probe tells emotions from frozen
features, in every view, of subjects that it was not trained on (the encoder saw them, without labels).

    python jobs/ablate_mead.py
    python jobs/ablate_mead.py --seeds 2 --pretrain.passes-per-epoch 8
    python jobs/ablate_mead.py maura --pretrain.corpus.name mead --pretrain.corpus.root s3://bucket/mead

The same command again finds finished runs and goes on with the others, or prints what it found when all is done. The
last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.mead_ablation import RECIPES


def main() -> None:
    command = parse(RECIPES, default="nano", description=__doc__ or "")

    from cluster.checkpoint import CheckpointError
    from cluster.failures import TrainingError
    from jobs.parts.ablation import ablate
    from pipelines.storage import StorageError

    try:
        ablate(command)
    except (CheckpointError, StorageError, TrainingError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Disturb short trainings at random and see that nothing is lost: no sample twice, none missing, the same last loss.

    python jobs/soak.py
    python jobs/soak.py --seeds 2 --first-seed 7
    python jobs/soak.py --seeds 100 --epochs 5 --steps-per-epoch 20 --workers 4 --home ~/soak

Every seed draws a plan: workers killed, all of them at once, the driver killed, errors raised, uploads failing or slow,
and the command stopped and given again with another number of workers. What was used is counted by a log of ids that
the checkpoints have no part in. Prints a table; the last line on stdout is one JSON object. Exit code 1 if anything is
wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from jobs.parts.soak_config import SoakConfig


def main() -> None:
    config = tyro.cli(SoakConfig, description=__doc__)

    from rich.console import Console

    from cluster.runtime import log_to_stderr, print_result
    from jobs.parts.soak_run import soak
    from jobs.parts.soak_table import show
    from pipelines.storage import StorageError

    log_to_stderr()
    try:
        rows = soak(config)
    except (RuntimeError, StorageError, ValueError) as error:
        sys.exit(f"error: {error}")
    show(rows, Console(stderr=True, width=200))
    wrong = [row["seed"] for row in rows if row["wrong"]]
    print_result({"seeds": len(rows), "wrong": wrong, "is_well": not wrong, "runs": rows})
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

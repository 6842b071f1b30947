#!/usr/bin/env python
"""Run a chain of jobs: catalog, annotate, pre-train or sweep, export, fine-tune, extract features, train heads, tables.

    python jobs/chain.py
    python jobs/chain.py netease_nano
    python jobs/chain.py --plan
    python jobs/chain.py RECIPE --roots voxceleb2 s3://bucket/voxceleb2 dfew s3://bucket/dfew
    ray job submit --working-dir . -- python jobs/chain.py

The same command again skips the stages that are done, goes on with the one that was interrupted, and does again what
changed and all that follows from it. A stage that fails stops what depends on it and nothing else; the job then exits
with 1. Tables are Markdown and JSON below chains/ of the home. The last line on stdout is one JSON object.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.parts.command_line import parse
from jobs.recipes.chains import RECIPES


def main() -> None:
    command = parse(RECIPES, default="nano", description=__doc__ or "")

    from jobs.parts.chain_run import failures, plan_chain, run_chain
    from pipelines.storage import StorageError

    try:
        if command.config.plan:
            plan_chain(command)
            return
        result = run_chain(command)
    except (StorageError, ValueError) as error:
        sys.exit(f"error: {error}")
    if told := failures(result):
        sys.exit(f"error: {told}")


if __name__ == "__main__":
    main()

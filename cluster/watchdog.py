"""Ends a worker that hangs, and writes down where each of its threads stands.

A rank that is stopped, or waits for one that is, says nothing by itself: gloo and NCCL wait for half an hour and name
nobody. Every section of the loop (a wait for data, a step, a save, a probe) rearms the timer of faulthandler, which
runs outside of the interpreter, so that it also fires while a library holds the interpreter's lock.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from pathlib import Path

from cluster.step_reports import FAILURES
from pipelines.storage import Storage

PATIENCE_SECONDS = 60
"""So much longer the process groups wait, which end without a word of where anyone stands."""


class Watchdog:
    """Of this process; a second one takes the place of the first."""

    def __init__(self, run_directory: Storage, rank: int, seconds: float) -> None:
        """The stacks go to failures/stacks-rank-NNNNN.txt of a local run directory, else to the worker's log."""
        self._seconds = seconds
        self._file = None
        if run_directory.is_local:
            folder = Path(run_directory.full(FAILURES))
            folder.mkdir(parents=True, exist_ok=True)
            self._path = folder / f"stacks-rank-{rank:05d}.txt"
            self._file = self._path.open("a", buffering=1)
        self.section()

    def section(self) -> None:
        """Something new begins, and may take the whole time again."""
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._file or sys.stderr)

    def close(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._file is not None:
            self._file.close()
            if not os.path.getsize(self._path):
                self._path.unlink()

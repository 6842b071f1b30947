"""A trial that trains nothing: it holds a CPU of the cluster, outside of its own process, as a run's workers do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STEPS, SAMPLES = 4, 100


class ToyTrial:
    """Worth its `worth`; dies once where the point says so, and leaves a line in `log` for each start and report."""

    def __init__(self, log: str) -> None:
        self._log = Path(log)

    def __call__(
        self, values: Mapping[str, Any], *, sharing: int, report: Callable[[int, float], None]
    ) -> dict[str, Any]:
        import ray

        self._note(f"start {values['worth']}")
        if values.get("diverges"):
            raise ValueError("the loss is not finite")
        worker = ray.remote(_Worker).options(num_cpus=1, scheduling_strategy="DEFAULT").remote()
        for step in range(STEPS if values.get("reports") == 1 else 1, STEPS + 1):
            ray.get(worker.work.remote())
            if values.get("dies") and step == 2 and self._count(f"start {values['worth']}") == 1:
                os._exit(1)
            self._note(f"report {values['worth']} {step}")
            report(step * SAMPLES, values["worth"] * step / STEPS)
        return {"sharing": sharing}

    def _note(self, line: str) -> None:
        with self._log.open("a") as file:
            file.write(line + "\n")

    def _count(self, line: str) -> int:
        return self._log.read_text().splitlines().count(line)


class _Worker:
    def work(self) -> None:
        time.sleep(0.2)


def build_toy_trial(log: str) -> ToyTrial:
    return ToyTrial(log)

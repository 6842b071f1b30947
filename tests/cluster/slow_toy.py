"""The toy task with time for something to happen in a step."""

from __future__ import annotations

import time

from torch import Tensor

from tests.cluster.toy import ToyTask


class SlowTask(ToyTask):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        time.sleep(self.seconds)
        return super().forward(batch)


def make_task(seconds: float) -> SlowTask:
    return SlowTask(seconds)

"""Planned faults (see cluster.fault_config), injected where they are due.

Every firing is recorded in faults/ of the run directory before it acts, so that the count outlives the process that is
killed. With nothing planned for a rank its hooks look into an empty table and return.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cluster.commit import COMMIT
from cluster.fault_config import Fault, FaultPlan, Phase
from pipelines.storage import Storage, StorageUnavailable

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

DIRECTORY = "faults"
"""Folder of the records in a run directory."""

_STEP = re.compile(r"/step-(\d+)-")


class InjectedFault(RuntimeError):
    """A planned fault of kind raise. A restart removes it, as it does what a dying peer or node causes."""


class Faults:
    """The plan of one process."""

    def __init__(self, plan: FaultPlan, rank: int, place: Storage) -> None:
        """`place` is DIRECTORY of the run directory; `rank` may be DRIVER."""
        self._place = place
        self._planned: dict[Phase, list[Fault]] = defaultdict(list)
        own = [fault for fault in plan.faults if fault.rank == rank]
        self._fired = _fired(place) if own else Counter()
        for fault in own:
            self._planned[fault.phase].append(fault)

    def at(self, phase: Phase, step: int) -> None:
        """Kills, stops or raises InjectedFault if that is planned here."""
        for fault in self._due(phase, step, "kill", "stop", "raise"):
            if fault.kind == "raise":
                raise InjectedFault(f"planned: {fault.label}, at step {step}")
            os.kill(os.getpid(), signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP)

    def at_driver(self, step: int) -> None:
        """For the driver, whenever it hears of a step."""
        self.at("update", step)

    def poison(self, loss: Tensor, step: int) -> Tensor:
        """The loss to differentiate: NaN itself, or finite with a gradient of NaN, if that is planned here."""
        for _ in self._due("forward", step, "nan"):
            loss = loss * float("nan")
        for _ in self._due("backward", step, "nan"):
            loss = loss + (0 * loss).sqrt()  # adds 0, whose slope is infinite
        return loss

    def upload(self, phase: Phase, step: int) -> None:
        """Before an upload: waits, or raises StorageUnavailable, if that is planned here."""
        for fault in self._due(phase, step, "delay_upload"):
            time.sleep(fault.seconds)
        for fault in self._due(phase, step, "fail_upload"):
            raise StorageUnavailable(f"planned: {fault.label}, at step {step}")

    def storage(self, storage: Storage) -> Storage:
        """The storage of the checkpoints, with the faults that are planned for writing them."""
        disturbed = any(self._planned.get(phase) for phase in ("write", "commit", "retain"))
        return _DisturbedStorage(storage, self) if disturbed else storage

    def _due(self, phase: Phase, step: int, *kinds: str) -> Iterator[Fault]:
        for fault in self._planned.get(phase, ()):
            if fault.kind in kinds and step >= fault.step and self._fired[fault.label] < fault.count:
                self._fired[fault.label] += 1
                record = {"fault": fault.label, "step": step, "pid": os.getpid(), "time": time.time()}
                self._place.write(f"{fault.label}-{self._fired[fault.label]}.json", json.dumps(record).encode())
                logger.warning("planned fault %s, at step %d", fault.label, step)
                yield fault


def unfired(plan: FaultPlan, place: Storage) -> list[Fault]:
    """Faults that have happened less often than planned, by the records in `place`."""
    fired = _fired(place) if plan.specs else Counter()
    return [fault for fault in plan.faults if fired[fault.label] < fault.count]


def _fired(place: Storage) -> Counter[str]:
    return Counter(info.name.rpartition("-")[0] for info in place.list())


class _DisturbedStorage(Storage):
    """A folder of checkpoints; the step is in their names, for they may be written while training goes on."""

    def __init__(self, storage: Storage, faults: Faults) -> None:
        super().__init__(storage.uri, retry=storage.retry)
        self._faults = faults
        self._newest = 0

    def child(self, *parts: str) -> Storage:
        return _DisturbedStorage(Storage(self.uri, retry=self.retry).child(*parts), self._faults)

    def write(self, name: str, data: bytes) -> None:
        step = self._before(name)
        super().write(name, data)
        self._after(name, step)

    def upload(self, local_path: str | os.PathLike[str], name: str) -> None:
        step = self._before(name)
        super().upload(local_path, name)
        self._after(name, step)

    def remove(self, name: str) -> None:
        self._faults.at("retain", self._step(name))
        super().remove(name)

    def remove_tree(self, name: str) -> None:
        self._faults.at("retain", self._step(name))
        super().remove_tree(name)

    def _before(self, name: str) -> int:
        step = self._step(name)
        if _is_commit(name):
            self._faults.at("commit", step)
        self._faults.upload("commit" if _is_commit(name) else "write", step)
        return step

    def _after(self, name: str, step: int) -> None:
        if not _is_commit(name):
            self._faults.at("write", step)

    def _step(self, name: str) -> int:
        """That of the newest checkpoint touched: an old one is removed because of it."""
        self._newest = max([self._newest, *map(int, _STEP.findall(f"{self.uri}/{name}")[-1:])])
        return self._newest


def _is_commit(name: str) -> bool:
    return name.rpartition("/")[2] == COMMIT

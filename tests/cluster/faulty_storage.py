"""A storage with one fault, by verb, name, rank and count; for tests of checkpoints."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist

from pipelines.storage import Retry, Storage, StorageUnavailable

WAIT_SECONDS = 30
DELAY_SECONDS = 0.5


@dataclass(frozen=True)
class Fault:
    """What happens on one rank at each `verb` of a name that contains `part`."""

    verb: Literal["write", "read", "list"]
    part: str
    rank: int
    act: Literal["fail", "disk full", "truncate", "delay", "wait", "kill before", "kill after"] = "fail"
    calls: tuple[int, ...] | None = None
    """Which of these calls, from 0; None: all."""
    release: str = ""
    """File whose appearance ends a "wait"."""

    def __str__(self) -> str:
        return f"{self.act} {self.verb} {self.part} on {self.rank}"


class FaultyStorage(Storage):
    def __init__(self, uri: str, fault: Fault) -> None:
        super().__init__(uri, retry=Retry(attempts=1))
        self.fault, self.calls, self.written = fault, 0, list[str]()

    def write(self, name: str, data: bytes) -> None:
        is_hit = self._is_hit("write", name)
        if is_hit and self.fault.act == "truncate":
            data = data[:-1]
        if is_hit and self.fault.act == "disk full":
            self._retrying("write", self.full(name), lambda: self._write_until_full(name, data))
        self.written.append(name)
        super().write(name, data)
        if is_hit and self.fault.act == "kill after":
            os.kill(os.getpid(), signal.SIGKILL)

    def read(self, name: str) -> bytes:
        self._is_hit("read", name)
        return super().read(name)

    def list(self, prefix: str = "") -> Any:
        self._is_hit("list", prefix)
        return super().list(prefix)

    def _write_until_full(self, name: str, data: bytes) -> None:
        partial = Path(self.full(name))
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_hit(self, verb: str, name: str) -> bool:
        fault = self.fault
        if verb != fault.verb or fault.part not in name or fault.rank != dist.get_rank():
            return False
        self.calls += 1
        if fault.calls is not None and self.calls - 1 not in fault.calls:
            return False
        if fault.act == "fail":
            raise StorageUnavailable(f"injected: {verb} {name}")
        if fault.act == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.act == "delay":
            time.sleep(DELAY_SECONDS)
        if fault.act == "wait":
            deadline = time.monotonic() + WAIT_SECONDS
            while not Path(fault.release).exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        return True

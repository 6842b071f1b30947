"""A process that hangs ends, and leaves word of where it stood."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from cluster.runtime import REPOSITORY

PROGRAM = """
import sys, time
from cluster.watchdog import Watchdog
from pipelines.storage import Storage

def waits_for_a_peer():
    time.sleep(60)

watchdog = Watchdog(Storage(sys.argv[1]), rank=3, seconds=1.0)
for _ in range(4):
    time.sleep(0.5)
    watchdog.section()
print("two seconds of short sections", flush=True)
if sys.argv[2] == "hang":
    waits_for_a_peer()
watchdog.close()
time.sleep(1.5)
"""


def run(folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), how]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=50, check=False)


def test_a_section_that_takes_too_long_ends_the_process_and_its_stacks_are_kept(tmp_path: Path) -> None:
    start = time.monotonic()
    ended = run(tmp_path, "hang")
    assert ended.returncode == 1 and time.monotonic() - start < 40
    assert ended.stdout == "two seconds of short sections\n"
    assert "waits_for_a_peer" in (tmp_path / "failures" / "stacks-rank-00003.txt").read_text()


def test_a_process_that_goes_on_is_left_alone_and_leaves_nothing(tmp_path: Path) -> None:
    ended = run(tmp_path, "go on")
    assert ended.returncode == 0
    assert list((tmp_path / "failures").iterdir()) == []

"""An account of which samples were trained on that trusts no checkpoint and no bitmap, where it is asked for.

    audit/0001-3f9c/start.json            {"resumed_step": 6, "workers": 2}
                    00000007-00001.json   {"step": 7, "epoch": 0, "ids": [4, 9]}   of rank 1

Every life of the worker group writes into a folder of its own, one object for each step and rank, after the update and
before any checkpoint that holds it. What a later life was resumed before never happened to the weights.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.storage import Storage

if TYPE_CHECKING:
    from cluster.ranks import Ranks

DIRECTORY = "audit"
"""Folder of the account in a run directory."""
_START = "start.json"


class Audit:
    """The account of one rank."""

    def __init__(self, run_directory: Storage, ranks: Ranks, *, resumed_step: int) -> None:
        """Collective."""
        place, self._rank = run_directory.child(DIRECTORY), ranks.rank
        name = ranks.broadcast(f"{len(_folders(place)):04d}-{secrets.token_hex(4)}" if ranks.is_first else None)
        self._place = place.child(name)
        if ranks.is_first:
            start = {"resumed_step": resumed_step, "workers": ranks.size}
            self._place.write(_START, json.dumps(start).encode())

    def note(self, step: int, epoch: int, ids: Sequence[int]) -> None:
        """The samples of this rank that the update to `step` used."""
        line = {"step": step, "epoch": epoch, "ids": list(ids)}
        self._place.write(f"{step:08d}-{self._rank:05d}.json", json.dumps(line).encode())


@dataclass(frozen=True)
class Life:
    """One life of the worker group, as it noted it."""

    resumed_step: int
    workers: int
    notes: Sequence[dict[str, Any]]


def lives(run_directory: Storage) -> list[Life]:
    """In their order. Empty for a run without an account."""
    place = run_directory.child(DIRECTORY)
    found = []
    for folder, files in sorted(_folders(place).items()):
        contents = {file: json.loads(place.read(f"{folder}/{file}")) for file in files}
        found.append(Life(**contents.pop(_START), notes=list(contents.values())))
    return found


def surviving(run_directory: Storage) -> dict[int, Counter[int]]:
    """By epoch how often each sample was used in the updates that the weights are made of: of every life those up to
    the step at which a later one was resumed."""
    used: dict[int, Counter[int]] = defaultdict(Counter)
    kept: float = float("inf")
    for life in reversed(lives(run_directory)):
        for note in life.notes:
            if note["step"] <= kept:
                used[note["epoch"]].update(note["ids"])
        kept = min(kept, life.resumed_step)
    return dict(used)


def _folders(place: Storage) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = defaultdict(list)
    for info in place.list():
        folder, _, file = info.name.partition("/")
        folders[folder].append(file)
    return folders

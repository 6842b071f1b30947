"""Who trains in a run directory: attempts.json, one entry for each life of the worker group, newest last.

A driver that was cut off, or forgotten, may go on while its run has been started again elsewhere. Each commit of such a
driver would be whole, but its metrics and its quarantine table would be mixed with those of the other. So every life
has an id, and a checkpoint is only committed by the life that is the newest in this file.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import Any

from cluster.failures import RunTakenOver
from pipelines.storage import ObjectMissing, Storage

ATTEMPTS = "attempts.json"
KEPT = 200
"""Entries; older ones are dropped."""


def begin(storage: Storage, *, resumed_step: int, workers: int) -> str:
    """Enters a new life and returns its id."""
    attempt = secrets.token_hex(8)
    entry = {"id": attempt, "began": _now(), "resumed_step": resumed_step, "workers": workers}
    _write(storage, [*read(storage), entry])
    return attempt


def end(storage: Storage, attempt: str, how: str) -> None:
    """Notes when and how a life ended: one line of text."""
    ended = {"ended": _now(), "how": how}
    _write(storage, [entry | ended if entry["id"] == attempt else entry for entry in read(storage)])


def check_current(storage: Storage, attempt: str) -> None:
    """Raises RunTakenOver unless this life is the newest."""
    entries = read(storage)
    if not entries or entries[-1]["id"] != attempt:
        since = f"since {entries[-1]['began']}" if entries else f"or {ATTEMPTS} was removed"
        raise RunTakenOver(
            f"another command trains in {storage.uri} {since}; this one stops without a checkpoint. Give a run of its "
            "own another --name"
        )


def read(storage: Storage) -> list[dict[str, Any]]:
    """The entries, oldest first; none before a run has begun."""
    try:
        return json.loads(storage.read(ATTEMPTS))
    except ObjectMissing:
        return []


def _write(storage: Storage, entries: list[dict[str, Any]]) -> None:
    storage.write(ATTEMPTS, json.dumps(entries[-KEPT:], indent=1).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

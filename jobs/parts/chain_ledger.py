"""What became of the stages of a chain: ledger.json in the chain's directory, written whole at every event."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from cluster.runtime import result_line
from pipelines.storage import ObjectMissing, Storage

LEDGER = "ledger.json"


@dataclass(frozen=True)
class Entry:
    """A stage, as it was last begun."""

    key: str
    state: Literal["running", "done", "failed"]
    """running: not over, also when the chain was interrupted."""
    started: str
    """ISO 8601, UTC."""
    seconds: float | None = None
    """That the last attempt took; None while it runs."""
    result: dict[str, Any] | None = None
    """What the job returned, once it is done."""
    error: str | None = None


class Ledger:
    """The entries of a chain by the names of its stages.

    Raises ValueError when the place holds the chain of another recipe.
    """

    def __init__(self, place: Storage, recipe: str, names: Sequence[str]) -> None:
        known = read_ledger(place, recipe)
        self.entries = {name: known[name] for name in names if name in known}
        self._place, self._recipe, self._begun = place, recipe, 0.0

    def begin(self, name: str, key: str) -> None:
        self._begun = time.monotonic()
        self._put(name, Entry(key, "running", datetime.now(UTC).isoformat(timespec="seconds")))

    def finish(self, name: str, result: dict[str, Any]) -> None:
        self._end(name, state="done", result=json.loads(result_line(result)))

    def fail(self, name: str, error: str) -> None:
        self._end(name, state="failed", error=error)

    def interrupt(self, name: str) -> None:
        """It stays "running", to be gone on with."""
        self._end(name)

    def _end(self, name: str, **changes: Any) -> None:
        seconds = round(time.monotonic() - self._begun, 1)
        self._put(name, replace(self.entries[name], seconds=seconds, **changes))

    def _put(self, name: str, entry: Entry) -> None:
        self.entries[name] = entry
        content = {"recipe": self._recipe, "stages": {name: asdict(entry) for name, entry in self.entries.items()}}
        self._place.write(LEDGER, json.dumps(content, indent=1).encode())


def read_ledger(place: Storage, recipe: str) -> dict[str, Entry]:
    """Entries by name of a stage; none where no chain was begun. Raises ValueError when the place holds the chain of
    another recipe."""
    try:
        known = json.loads(place.read(LEDGER))
    except ObjectMissing:
        return {}
    if known["recipe"] != recipe:
        raise ValueError(
            f"{place.uri} holds a chain of the recipe {known['recipe']}, not of {recipe}: give this one another --name"
        )
    return {name: Entry(**entry) for name, entry in known["stages"].items()}

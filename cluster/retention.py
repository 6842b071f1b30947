"""Which checkpoints a run keeps, and the removal of the others and of what dead runs have left.

Runs after each commit, on rank 0. At least two checkpoints that nobody has found damaged always remain, with damaged
ones among them or not; a removal that fails is logged and tried again after the next commit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cluster.commit import COMMIT, DAMAGED, CheckpointDamaged, Commit, scan
from cluster.config import CheckpointConfig
from pipelines.storage import Storage, StorageError

logger = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(hours=24)
"""After this long without a write, a directory without COMMIT.json is taken for that of a run that died."""


class Retention:
    """Of the checkpoints in the folder `storage`. Remembers what it has read: a save reads one COMMIT.json, its own."""

    def __init__(self, storage: Storage, config: CheckpointConfig) -> None:
        self.storage, self.config = storage, config
        self._known: dict[str, tuple[str, Commit]] = {}
        self._unmarked: dict[str, str] = {}

    def mark_damaged(self, name: str, error: CheckpointDamaged) -> None:
        """Else every restart would read it again, and it would count among the newest."""
        try:
            self.storage.write(f"{name}/{DAMAGED}", str(error).encode())
        except StorageError as failure:
            logger.warning("checkpoint %s could not be marked as damaged: %s", name, failure)
            self._unmarked[name] = str(error)

    def apply(self) -> None:
        """Removes what is superseded, and what has lain damaged or unfinished for ORPHAN_AGE."""
        try:
            listing = scan(self.storage, self._known)
        except StorageError as error:
            logger.warning("superseded checkpoints could not be looked for: %s", error)
            return
        present = {commit.name for commit in listing.commits}
        self._known = {name: entry for name, entry in self._known.items() if name in present}
        intact = [commit for commit in listing.commits if commit.name not in self._unmarked]
        unmarked, self._unmarked = self._unmarked, {}
        for name in present & unmarked.keys():
            self.mark_damaged(name, CheckpointDamaged(unmarked[name]))
        left = dict(listing.orphans)
        if len(intact) >= 2:  # till then a damaged one may be all that there is to mend
            left |= {name: damage.written for name, damage in listing.damaged.items()}
        stale = [name for name, written in left.items() if datetime.now(UTC) - written > ORPHAN_AGE]
        self.remove([c.name for c in superseded(intact, self.config) if c.name not in listing.kept] + stale)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                self.storage.remove(f"{name}/{COMMIT}")  # first, so that a directory half removed is no checkpoint
                self.storage.remove_tree(name)
            except StorageError as error:
                logger.warning("checkpoint %s could not be removed: %s", name, error)


def superseded(commits: Iterable[Commit], config: CheckpointConfig) -> list[Commit]:
    """Checkpoints, given newest first, to remove: neither among the newest nor at the end of an epoch to keep."""
    older = list(commits)[max(2, config.keep_last) :]
    return [c for c in older if not (c.progress["at_epoch_end"] and c.epoch in config.keep_epochs)]

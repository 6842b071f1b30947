"""Saving beside the training: it waits for the copy of the state to the host, and for nothing of the storage.

`begin` copies the state and hands it to a thread, which writes it, waits for the other ranks' threads and commits
(`CheckpointStore.commit`, in a process group of its own). One save at most is under way: the next one waits for it, so
a slow storage slows training down and does not fill the memory. What became of a save is told to all ranks at once,
where the next begins or training ends, so that all of them go on or all of them stop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cluster.checkpoint import WAITING, CheckpointStore, Staged
from cluster.commit import CheckpointError, Progress, RanksLost
from cluster.failures import TrainingError
from cluster.ranks import Ranks

if TYPE_CHECKING:
    from cluster.engine import Engine

logger = logging.getLogger(__name__)

Records = Mapping[str, bytes]
"""Files of the run directory, by name."""

ALARM_SECONDS = 1.0
"""Training that waits longer for the save before is told of once."""


class SavesFailed(TrainingError):
    """More saves in a row failed than the config allows; training on would only put more at risk."""


class Saver:
    """Saves of one run. A context: entered before training, left when it ends, however it does.

    Leaving it waits for the last save, which must have succeeded. When training ends by a TrainingError, which all
    ranks raise together, the save is waited for and that error stays; by any other error nothing is waited for.
    """

    def __init__(self, store: CheckpointStore, ranks: Ranks, write: Callable[[Records], None] | None = None) -> None:
        """`ranks` are those of the training thread; the saving thread uses the store's own. `write` puts the records
        of `begin` where they belong, in the saving thread; those of a save that failed come again with the next."""
        self.store, self._ranks, self._config = store, ranks, store.config
        self._write = write
        self._records: dict[str, bytes] = {}
        self._pending: _Save | None = None
        self._failed = 0
        self._has_alarmed = False

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.settle(is_last=True)
        elif isinstance(error, TrainingError):
            try:
                self.settle()
            except (CheckpointError, TrainingError) as failure:
                logger.error("training stops of another error, and its last save failed too: %s", failure)

    def begin(
        self, engine: Engine, progress: Progress, metadata: dict[str, Any], records: Records | None = None
    ) -> None:
        """Collective. Settles the save before, copies the state and begins to write it, after the files in `records`.
        Raises as `settle` does."""
        start = time.monotonic()
        self.settle()
        waited = time.monotonic() - start
        if waited > ALARM_SECONDS and not self._has_alarmed and self._ranks.is_first:
            self._has_alarmed = True
            logger.warning(
                "training waited %.1f s at step %d because the checkpoint before was not written yet: the storage is "
                "slower than checkpoint.every_steps=%d asks for (said once)",
                *(waited, progress.step, self._config.every_steps),
            )
        self._records |= records or {}
        beside = partial(self._write, dict(self._records)) if self._write else None
        self._pending = _Save(self.store, self.store.stage(engine, progress, metadata), beside)
        self._pending.start()

    def settle(self, *, is_last: bool = False) -> None:
        """Collective. Waits for the pending save, if there is one.

        A save that failed is logged and counted. Raises CheckpointError, on all ranks, if it is the last; SavesFailed
        when too many in a row have failed; RanksLost when the time of the save is over; the TrainingError that the
        store's guard raised.
        """
        if self._pending is None:
            return
        save, self._pending = self._pending, None
        save.join(max(0.0, save.deadline - time.monotonic()))
        self._book(save.name, self._ranks.gather(save.outcome()), is_last=is_last)

    def _book(self, name: str, outcomes: list[Exception | str | None], *, is_last: bool) -> None:
        """By rank an error, what it is still doing, or None."""
        unfinished = {rank: doing for rank, doing in enumerate(outcomes) if isinstance(doing, str)}
        errors = {rank: error for rank, error in enumerate(outcomes) if isinstance(error, Exception)}
        lost = "; ".join(f"rank {rank}: {error}" for rank, error in errors.items() if isinstance(error, RanksLost))
        if unfinished or lost:
            late = "; ".join(f"rank {r} has yet to {doing}" for r, doing in unfinished.items() if doing != WAITING)
            raise RanksLost(
                f"checkpoint {name} was not done within checkpoint.timeout_s={self._config.timeout_s:g}: "
                f"{'; '.join(filter(None, (late, lost)))}. Look at the storage and the network of these ranks, or "
                "raise the limit"
            )
        if not errors:
            self._failed = 0
            self._records.clear()
            return
        first = next(iter(errors.values()))
        if isinstance(first, TrainingError):
            raise first
        self._failed += 1
        if is_last:
            raise first
        if self._failed > self._config.max_failed_saves:
            raise SavesFailed(
                f"{self._failed} saves in a row failed, {self._config.max_failed_saves} are allowed "
                f"(checkpoint.max_failed_saves): {first}"
            )
        if self._ranks.is_first:
            logger.error(
                "NOT SAVED, training goes on (failure %d in a row, %d are allowed): %s",
                *(self._failed, self._config.max_failed_saves, first),
            )


class _Save(threading.Thread):
    """Writes and commits one staged checkpoint."""

    def __init__(self, store: CheckpointStore, staged: Staged, beside: Callable[[], None] | None) -> None:
        super().__init__(name=staged.name, daemon=True)  # one that hangs must not keep the process
        self._store, self._staged, self._beside = store, staged, beside
        self.deadline = time.monotonic() + store.config.timeout_s
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._store.commit(self._staged, self._beside)
        except (CheckpointError, TrainingError) as error:
            self._error = error.with_traceback(None)  # its frames hold the state
        except Exception as error:
            logger.exception("saving met a bug")
            self._error = CheckpointError(f"{type(error).__name__}: {error}")
        finally:
            del self._staged  # which is as large as the model and its moments

    def outcome(self) -> Exception | str | None:
        return self._store.doing if self.is_alive() else self._error

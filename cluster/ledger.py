"""Which samples of the epoch have been used: exactly once each, trained on or rejected with a reason.

Every rank marks the samples of its own micro-batches after the update that used them. `reduce` joins the marks of all
ranks; what it leaves in `consumed` goes into the checkpoint, and a resumed run serves the rest. Rejected samples are
marked too, and recorded in quarantine.jsonl, one line per epoch and sample: {step, epoch, sample_id, uri, reason,
detail}. The file is complete before a checkpoint is committed and cut back to the step of the checkpoint on resume, so
no line is lost or doubled.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cluster.bitmap import pack, unpack
from cluster.commit import Progress
from cluster.config import QuarantineBudget
from cluster.failures import QuarantineBudgetExceeded, SampleRepeated
from cluster.ranks import Ranks
from cluster.sinks import read_rows, to_lines
from pipelines.storage import Storage

QUARANTINE = "quarantine.jsonl"


class Ledger:
    """The account of one run on one rank; the methods that say so are collective."""

    def __init__(self, ranks: Ranks, storage: Storage, progress: Progress) -> None:
        """As of a checkpoint, or of Progress.start."""
        self._ranks, self._storage = ranks, storage
        self.epoch = progress.epoch
        self.consumed = progress.consumed.copy()
        """bool [num_samples]: used on any rank, as of the last `reduce`."""
        self.rejected = progress.epoch_quarantined
        """Samples rejected in this epoch, on all ranks; the loop adds to it."""
        self._own = self.consumed.copy()
        self._repeated: list[int] = []
        self._new: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        if ranks.is_first:
            self._rows = read_rows(storage, QUARANTINE, progress.step)
            storage.write(QUARANTINE, to_lines(self._rows))

    def mark(self, ids_B: np.ndarray, rejected_B: np.ndarray, *, step: int) -> None:
        """Books the samples of a micro-batch, after the update; rows with an id of -1 carry none."""
        carried = ids_B >= 0
        ids, counts = np.unique(ids_B[carried], return_counts=True)
        self._repeated += ids[self._own[ids] | (counts > 1)].tolist()
        self._own[ids] = True
        for sample_id, text in zip(ids_B[carried], rejected_B[carried], strict=True):
            if text:
                self._new.append({"step": step, "epoch": self.epoch, "sample_id": int(sample_id), **_reason(text)})

    def reduce(self) -> None:
        """Collective. Joins the marks of all ranks in `consumed` and writes quarantine.jsonl if there is news.

        Raises SampleRepeated, on all ranks, if a sample was delivered twice since the epoch began.
        """
        before = np.count_nonzero(self.consumed)
        added = self._ranks.sum(np.array([np.count_nonzero(self._own) - before]))[0]
        self.consumed = self._ranks.any(self._own)
        gathered = self._ranks.gather((self._repeated, self._new))
        repeated = sorted(sample_id for ids, _ in gathered for sample_id in ids)
        if repeated or np.count_nonzero(self.consumed) != before + added:
            raise SampleRepeated(f"epoch {self.epoch}: delivered twice: {repeated or 'some samples, to two workers'}")
        self._own = self.consumed.copy()
        self._new = []
        news = [row for _, rows in gathered for row in rows]
        if self._ranks.is_first and news:
            self._rows += sorted(news, key=lambda row: (row["step"], row["sample_id"]))
            self._storage.write(QUARANTINE, to_lines(self._rows))

    def check_budget(self, budget: QuarantineBudget, samples_per_epoch: int) -> None:
        """Collective when the budget is exceeded. Raises QuarantineBudgetExceeded on all ranks, the file written."""
        limit = budget.limit(samples_per_epoch)
        if self.rejected <= limit:
            return
        self.reduce()
        reasons = Counter(row["reason"] for row in self._of_epoch())
        examples = [row["uri"] for row in self._of_epoch()][:3]
        raise QuarantineBudgetExceeded(
            self._ranks.broadcast(
                f"epoch {self.epoch}: {self.rejected} samples rejected, {limit} allowed ({dict(reasons)}; such as "
                f"{', '.join(examples)}). Look at {self._storage.full(QUARANTINE)}, mend or remove the files, or "
                "raise the quarantine budget; the same command then resumes"
            )
        )

    def close_epoch(self) -> None:
        """Collective, after `reduce`. Writes epochs/epoch-NNNN.npz, for audits, and turns to the next epoch: arrays
        consumed (packed bool), num_samples, and quarantined (sample ids, part of the consumed)."""
        if self._ranks.is_first:
            buffer = io.BytesIO()
            np.savez_compressed(
                buffer,
                consumed=np.frombuffer(pack(self.consumed), np.uint8),
                num_samples=self.consumed.size,
                quarantined=np.array(sorted(row["sample_id"] for row in self._of_epoch()), np.int64),
            )
            self._storage.write(epoch_record(self.epoch), buffer.getvalue())
        self.epoch += 1
        self.rejected = 0
        self.consumed[:] = False
        self._own[:] = False

    def _of_epoch(self) -> list[dict[str, Any]]:
        return [row for row in self._rows if row["epoch"] == self.epoch]


def epoch_record(epoch: int) -> str:
    """Name of the record of a finished epoch, counted from 0, in the run directory."""
    return f"epochs/epoch-{epoch:04d}.npz"


def read_epoch(storage: Storage, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Consumed (bool [num_samples]) and quarantined ids of a finished epoch. Raises ObjectMissing if it is not, and
    ValueError for a damaged record."""
    name = epoch_record(epoch)
    data = storage.read(name)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as record:
            return unpack(record["consumed"].tobytes(), int(record["num_samples"])), record["quarantined"]
    except (ValueError, KeyError, BadZipFile) as error:
        raise ValueError(f"{storage.full(name)} is damaged: {error}") from None


def _reason(text: str) -> dict[str, str]:
    """The rejection that the stream wrote as JSON; text of any other form is kept as the detail."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        found = {"detail": str(text)}
    return {name: str(found.get(name, "")) for name in ("uri", "reason", "detail")}

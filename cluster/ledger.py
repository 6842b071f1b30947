"""Which samples of the epoch have been used: exactly once each, trained on or rejected with a reason.

Every rank marks the samples of its own micro-batches after the update that used them. `reduce` joins the marks of all
ranks; what it leaves in `consumed` goes into the checkpoint, and a resumed run serves the rest. Rejected samples are
marked too, and recorded in quarantine.jsonl, one line per epoch and sample: {step, epoch, sample_id, uri, reason,
detail}. The file is complete before a checkpoint is committed, and on resume it is cut back to the samples that the
checkpoint has marked (a step is not enough: a batch of rejected samples alone makes none), so no line is lost or
doubled. When an epoch ends the books must balance: read = trained on + rejected, and nothing else was read.
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
from cluster.failures import QuarantineBudgetExceeded, SampleRepeated, SamplesMiscounted
from cluster.ranks import Ranks
from cluster.sinks import read_rows, to_lines
from pipelines.storage import Storage

QUARANTINE = "quarantine.jsonl"


class Ledger:
    """The account of one run on one rank; the methods that say so are collective."""

    def __init__(self, ranks: Ranks, storage: Storage, progress: Progress) -> None:
        """Collective. As of a checkpoint, or of Progress.start. Raises SamplesMiscounted, on all ranks, when
        quarantine.jsonl lacks lines of rejected samples that the checkpoint counts."""
        self._ranks, self._storage = ranks, storage
        self.epoch = progress.epoch
        self.consumed = progress.consumed.copy()
        """bool [num_samples]: used on any rank, as of the last `reduce`."""
        self.rejected = progress.epoch_quarantined
        """Samples rejected in this epoch, on all ranks."""
        self.trained = int(np.count_nonzero(self.consumed)) - self.rejected
        """Samples of this epoch used in updates, on all ranks."""
        self._own = self.consumed.copy()
        self._repeated: list[int] = []
        self._new: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._records: dict[str, bytes] = {}
        if ranks.is_first:
            self._rows = [row for row in read_rows(storage, QUARANTINE, progress.step) if self._is_known(row)]
            storage.write(QUARANTINE, to_lines(self._rows))
        self._check_lines("give the file back, or remove the checkpoints inside of this epoch")

    def mark(self, ids_B: np.ndarray, rejected_B: np.ndarray, *, step: int) -> None:
        """Books the samples of a micro-batch, after the update; rows with an id of -1 carry none."""
        carried = ids_B >= 0
        ids, counts = np.unique(ids_B[carried], return_counts=True)
        self._repeated += ids[self._own[ids] | (counts > 1)].tolist()
        self._own[ids] = True
        for sample_id, text in zip(ids_B[carried], rejected_B[carried], strict=True):
            if text:
                self._new.append({"step": step, "epoch": self.epoch, "sample_id": int(sample_id), **_reason(text)})

    def count(self, *, trained: int, rejected: int) -> None:
        """Books how many samples of a global batch, over all ranks, were used and rejected."""
        self.trained += trained
        self.rejected += rejected

    def reduce(self) -> None:
        """Collective. Joins the marks of all ranks in `consumed`, and what they have rejected.

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
            self._records[QUARANTINE] = to_lines(self._rows)

    def take_records(self) -> dict[str, bytes]:
        """Files of the run directory that have to be there before the next checkpoint is committed, by name; of rank 0
        alone. Each is handed out once."""
        taken, self._records = self._records, {}
        return taken

    def check_budget(self, budget: QuarantineBudget, samples_per_epoch: int) -> None:
        """Collective when the budget is exceeded. Raises QuarantineBudgetExceeded on all ranks; the file that it names
        is among the records then."""
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

    def close_epoch(self, *, members: int) -> None:
        """Collective, after `reduce`, when none of the `members` samples of the epoch is left. Turns to the next epoch
        and makes, for audits, the record epochs/epoch-NNNN.npz: arrays consumed (packed bool), num_samples, and
        quarantined (sample ids, part of the consumed).

        Raises SamplesMiscounted, on all ranks, unless read = trained on + rejected = members.
        """
        read = int(np.count_nonzero(self.consumed))
        if not read == self.trained + self.rejected == members:
            raise SamplesMiscounted(
                f"epoch {self.epoch}: of {members} samples {read} were read, {self.trained} trained on and "
                f"{self.rejected} rejected; the stream delivers something else than it says. No checkpoint has this"
            )
        self._check_lines("give the file back; no checkpoint has this")
        if self._ranks.is_first:
            buffer = io.BytesIO()
            np.savez_compressed(
                buffer,
                consumed=np.frombuffer(pack(self.consumed), np.uint8),
                num_samples=self.consumed.size,
                quarantined=np.array(sorted(row["sample_id"] for row in self._of_epoch()), np.int64),
            )
            self._records[epoch_record(self.epoch)] = buffer.getvalue()
        self.epoch += 1
        self.rejected = self.trained = 0
        self.consumed[:] = False
        self._own[:] = False

    def _is_known(self, row: dict[str, Any]) -> bool:
        """Whether the checkpoint has marked the sample of a line."""
        return row["epoch"] < self.epoch or (row["epoch"] == self.epoch and bool(self.consumed[row["sample_id"]]))

    def _check_lines(self, remedy: str) -> None:
        """Collective."""
        lines = self._ranks.broadcast(len({row["sample_id"] for row in self._of_epoch()}))
        if lines != self.rejected:
            raise SamplesMiscounted(
                f"epoch {self.epoch}: {self.rejected} samples were rejected, but {self._storage.full(QUARANTINE)} has "
                f"lines of {lines}; {remedy}"
            )

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

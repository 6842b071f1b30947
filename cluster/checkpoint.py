"""Checkpoints that are either complete and verified, or invisible.

Writing: every rank writes the parameters it stores as safetensors into a directory never used before and lists them,
with sizes and hashes, in rank-00000.json; when all are done, rank 0 compares that with what the storage holds and
writes COMMIT.json, last. A failure before that leaves a directory that nobody reads. The copy of the state is apart
from the writing, so that training can go on meanwhile (cluster.saver). Reading: the files are spread over the ranks,
each file is read and its hash verified once, and only when all are intact are the tensors given to the engine; else the
checkpoint before is tried. Nothing is pickled; randomness is derived from (seed, step) and not stored.

    step-00001200-9f86d081/weights-00000-000.safetensors    full fp32 weights by parameter name, rank 0, part 0
                           adam-00000-000.safetensors       its moments: "exp_avg/<name>", "exp_avg_sq/<name>"
                           rank-00000.json  ...             sizes and hashes of what the rank wrote
                           consumed.bits                    sample ids of the epoch used so far, one bit each
                           COMMIT.json                      see cluster.commit
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import safetensors.torch
from torch import Tensor

from cluster import bitmap
from cluster.commit import (
    BEGUN,
    BITMAP,
    COMMIT,
    DIRECTORY,
    CheckpointDamaged,
    CheckpointError,
    Commit,
    FileEntry,
    Progress,
    RanksLost,
    newest,
    now,
    read_verified,
    scan,
    usable,
)
from cluster.config import CheckpointConfig
from cluster.failures import TrainingError
from cluster.ranks import Ranks
from cluster.retention import Retention
from pipelines.storage import Storage, StorageError

if TYPE_CHECKING:
    from cluster.engine import Engine, ParameterState

__all__ = [
    "CheckpointDamaged",
    "CheckpointError",
    "CheckpointStore",
    "Commit",
    "Progress",
    "describe_checkpoint",
    "load_weights",
]

T = TypeVar("T")
logger = logging.getLogger(__name__)

WAITING = "hear of the others"
"""What a rank does that has done its own part."""

_SKIPPED = "CHECKPOINT DAMAGED: %s (step %d) is used instead of what is damaged: %s"

PART_BYTES = 256 * 2**20
"""Weights in one file, unless a single parameter is larger; bounds the memory of writing and the size of one upload."""


@dataclass(frozen=True)
class Staged:
    """A checkpoint in the memory of the host: what this rank is to write of it."""

    name: str
    state: dict[str, ParameterState] = field(repr=False)
    bits: bytes = field(repr=False)
    """The samples consumed, packed."""
    description: dict[str, Any]

    @property
    def nbytes(self) -> int:
        return len(self.bits) + sum(t.nbytes for tensors in self.state.values() for t in tensors.values())


class CheckpointStore:
    """The checkpoints of one run, in the folder `storage`. All ranks make one and call its collective methods together.

    Errors of a collective method are raised on all ranks: CheckpointError, RanksLost (one of them) when the ranks do
    not come together in time.
    """

    def __init__(self, storage: Storage, config: CheckpointConfig, guard: Callable[[], object] | None = None) -> None:
        """Collective. `guard` is called on rank 0 before each commit; what it raises prevents the commit, and reaches
        all ranks as it is if it is a TrainingError."""
        self.storage, self.config, self._guard = storage, config, guard
        self.ranks = Ranks(timedelta(seconds=config.timeout_s))
        self.retention = Retention(storage, config)
        self.doing = "begin"
        """What this rank is at, for the message when the others wait in vain."""
        self._committed: str | None = None
        self._is_begun = False

    def newest(self) -> Commit | None:
        """Not collective. See cluster.commit.newest."""
        return newest(self.storage)

    def stage(self, engine: Engine, progress: Progress, metadata: dict[str, Any]) -> Staged:
        """Collective. Copies the state, which training may then change.

        `progress.consumed` holds the marks of all ranks. `metadata` is any JSON: the resolved config, versions, the
        fingerprint of the data.
        """
        description = {
            "step": progress.step,
            "epoch": progress.epoch,
            "progress": progress.counts(),
            "engine": engine.describe(),
            "metadata": metadata,
        }
        name = self.ranks.broadcast(f"step-{progress.step:08d}-{secrets.token_hex(4)}")
        return Staged(name, engine.parameters_state(), bitmap.pack(progress.consumed), description)

    def commit(self, staged: Staged, beside: Callable[[], None] | None = None) -> str:
        """Collective, in any one thread of each rank. Writes what was staged, commits it and returns its name. What
        `beside` writes on each rank is there before the commit.

        Raises CheckpointError, with nothing committed, when a rank fails to write, or what the guard raised; what has
        been written is removed, unless the storage does not answer.
        """
        name = staged.name
        try:
            self._together("find room for", name, lambda: self._find_room(staged))
            self._together("write what belongs to", name, beside or (lambda: None))
            self._together("write", name, lambda: self._write_part(staged))
            self._together("commit", name, lambda: self._commit(staged))
        except (CheckpointError, TrainingError):
            if self.ranks.is_first and self._committed != name:
                self.retention.remove([name])  # at once: what is left of it may be what filled the disk
            raise
        if self.ranks.is_first:
            self.doing = "remove what is superseded"
            self._begin_folder(name)
            self.retention.apply()
        return name

    def restore(self, engine: Engine, commit: Commit) -> Progress:
        """Collective. Loads `commit` (rank 0's counts) or, when its files are damaged, the newest intact one before.

        Raises CheckpointError when none is intact or the storage fails, ValueError when the checkpoint is of another
        task; the engine is then as it was.
        """
        skipped: list[str] = []
        for candidate in self.ranks.broadcast(self._together("find", commit.name, lambda: self._candidates(commit))):
            try:
                held, progress = self._together("read", candidate.name, lambda c=candidate: self._read_share(c))
            except CheckpointDamaged as error:
                skipped.append(str(error))
                if self.ranks.is_first:
                    self.retention.mark_damaged(candidate.name, error)
                continue
            if skipped:
                logger.error(_SKIPPED, candidate.name, candidate.step, "; ".join(skipped))
            engine.load_parameters_state(held, updates=candidate.engine["updates"])
            return progress
        raise CheckpointError(
            f"no checkpoint in {self.storage.uri} up to {commit.name} is intact: {'; '.join(skipped)}. Put the files "
            "back as they were; or remove the whole folder, and the run starts from nothing"
        )

    def _candidates(self, commit: Commit) -> list[Commit]:
        if not self.ranks.is_first:
            return []
        return [commit, *(older for older in scan(self.storage).commits if older.order < commit.order)]

    def _together(self, verb: str, name: str, action: Callable[[], T]) -> T:
        """Collective. Runs `action` on each rank and waits for all.

        If one fails, CheckpointError on all ranks; CheckpointDamaged when damage is all that was met, a TrainingError
        as it is.
        """
        failure: Exception | None = None
        self.doing, start = verb, time.monotonic()
        try:
            result = action()
        except Exception as error:
            logger.warning("rank %d failed to %s checkpoint %s", self.ranks.rank, verb, name, exc_info=True)
            failure = error.with_traceback(None)  # its frames hold the state, and this one would hold it
        self.doing, seconds = WAITING, time.monotonic() - start
        ours = failure if isinstance(failure, TrainingError) else None
        text = f"{type(failure).__name__}: {failure}"
        try:
            told = self.ranks.gather(failure and (isinstance(failure, CheckpointDamaged), ours, text))
        except RuntimeError as error:
            raise RanksLost(f"to {verb} {name} took {seconds:.1f} s, then the others did not answer: {error}") from None
        failed = {rank: answer for rank, answer in enumerate(told) if answer}
        for _, error, _ in failed.values():
            if error is not None:
                raise error
        if failed:
            kind = CheckpointDamaged if all(damaged for damaged, _, _ in failed.values()) else CheckpointError
            reasons = "; ".join(f"rank {rank}: {text}" for rank, (_, _, text) in failed.items())
            raise kind(f"failed to {verb} checkpoint {name}: {reasons}")
        return result

    def _find_room(self, staged: Staged) -> None:
        needed = int(self.ranks.sum(np.array([staged.nbytes]))[0])
        free = self.storage.free_bytes() if self.ranks.is_first else None
        if free is not None and free < needed:
            raise CheckpointError(
                f"{needed / 1e9:.2f} GB are needed in {self.storage.uri} and {free / 1e9:.2f} GB are free; make room "
                "there, or lower checkpoint.keep_last or the number of checkpoint.keep_epochs"
            )

    def _write_part(self, staged: Staged) -> None:
        written: dict[str, FileEntry] = {}
        for index, part in enumerate(_parts(staged.state)):
            suffix = f"{self.ranks.rank:05d}-{index:03d}.safetensors"
            weights = {entry: tensors["weight"] for entry, tensors in part.items()}
            moments = {f"{k}/{e}": t for e, tensors in part.items() for k, t in tensors.items() if k != "weight"}
            for file, tensors in ((f"weights-{suffix}", weights), (f"adam-{suffix}", moments)):
                data = safetensors.torch.save(tensors)
                written[file] = FileEntry.of(data)
                self.storage.write(f"{staged.name}/{file}", data)
        table = {file: vars(entry) for file, entry in written.items()}
        self.storage.write(f"{staged.name}/{_rank_file(self.ranks.rank)}", json.dumps(table, indent=1).encode())

    def _commit(self, staged: Staged) -> None:
        """Rank 0 makes the checkpoint visible, once everything in it is there."""
        if not self.ranks.is_first:
            return
        name = staged.name
        self.storage.write(f"{name}/{BITMAP}", staged.bits)
        files = {BITMAP: FileEntry.of(staged.bits)}
        for rank in range(self.ranks.size):
            table = json.loads(self.storage.read(f"{name}/{_rank_file(rank)}"))
            files |= {file: FileEntry(**entry) for file, entry in table.items()}
        listed = {info.name.partition("/")[2]: info.size for info in self.storage.list(name)}
        wrong = [file for file, entry in files.items() if listed.get(file) != entry.size]
        if wrong:
            raise CheckpointError(f"missing or of another size than written: {wrong}")
        commit = Commit(name=name, world_size=self.ranks.size, created=now(), files=files, **staged.description)
        if self._guard is not None:
            self._guard()
        self.storage.write(f"{name}/{COMMIT}", commit.to_json())
        self._committed = name

    def _begin_folder(self, name: str) -> None:
        """After the first commit: a folder that has begun is one that holds a checkpoint."""
        if self._is_begun:
            return
        try:
            if not self.storage.exists(BEGUN):
                self.storage.write(BEGUN, json.dumps({"created": now(), "first": name}).encode())
            self._is_begun = True
        except StorageError as error:
            logger.warning("%s could not be written, and is tried again after the next commit: %s", BEGUN, error)

    def _read_share(self, commit: Commit) -> tuple[dict[str, ParameterState], Progress]:
        bits = read_verified(self.storage, commit, BITMAP)
        counts = {k: commit.progress[k] for k in ("samples", "quarantined", "epoch_quarantined")}
        consumed = bitmap.unpack(bits, commit.progress["num_samples"])
        held: dict[str, ParameterState] = {}
        for file in _weight_files(commit)[self.ranks.rank :: self.ranks.size]:
            for name, weight in _read_tensors(self.storage, commit, file):
                held[name] = {"weight": weight}
            for key, moment in _read_tensors(self.storage, commit, file.replace("weights-", "adam-", 1)):
                kind, _, name = key.partition("/")
                held[name][kind] = moment
        return held, Progress(step=commit.step, epoch=commit.epoch, consumed=consumed, **counts)


def load_weights(uri: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Full fp32 weights and buffers by the task's parameter names, and what the checkpoint says about itself.

    `uri` is a checkpoint, the folder of checkpoints or a run directory; of several the newest intact one is read, and
    its hashes are verified. Needs no process group. The description holds "checkpoint" (its address), "step", "epoch"
    and "metadata". Raises CheckpointError when there is none, CheckpointDamaged when the one named is not intact.
    """
    storage, commits = _find(Storage(uri))
    skipped: list[str] = []
    for commit in commits:
        try:
            weights = {n: t for file in _weight_files(commit) for n, t in _read_tensors(storage, commit, file)}
        except CheckpointDamaged as error:
            if len(commits) == 1:
                raise
            skipped.append(str(error))
            continue
        if skipped:
            logger.error(_SKIPPED, commit.name, commit.step, "; ".join(skipped))
        return weights, _description(storage, commit)
    raise CheckpointError(f"no intact checkpoint in {uri}{': ' * bool(skipped)}{'; '.join(skipped)}")


def describe_checkpoint(uri: str) -> dict[str, Any]:
    """What the newest checkpoint at an address says about itself, as `load_weights` does, without reading its weights.
    Raises CheckpointError when there is none."""
    storage, commits = _find(Storage(uri))
    if not commits:
        raise CheckpointError(f"no checkpoint in {uri}")
    return _description(storage, commits[0])


def _description(storage: Storage, commit: Commit) -> dict[str, Any]:
    own = {"step": commit.step, "epoch": commit.epoch, "metadata": commit.metadata}
    return {"checkpoint": storage.full(commit.name), **own}


def _find(storage: Storage) -> tuple[Storage, list[Commit]]:
    """The folder of checkpoints that `storage` is, holds or lies in, and those meant, newest first."""
    if storage.exists(COMMIT):
        parent, _, name = storage.uri.rstrip("/").rpartition("/")
        folder = Storage(parent)
        found = [commit for commit in scan(folder).commits if commit.name == name]
        if not found:
            raise CheckpointDamaged(f"{storage.uri} is not a complete checkpoint")
        return folder, found
    folder = storage.child(DIRECTORY)
    commits = usable(folder)
    return (folder, commits) if commits else (storage, usable(storage))


def _parts(state: dict[str, ParameterState]) -> Iterator[dict[str, ParameterState]]:
    """Cuts the entries of a rank into parts of at most PART_BYTES of weights, at least one entry each."""
    part: dict[str, ParameterState] = {}
    size = 0
    for name, tensors in sorted(state.items()):
        weight = tensors["weight"]
        if part and size + weight.nbytes > PART_BYTES:
            yield part
            part, size = {}, 0
        part[name] = tensors
        size += weight.nbytes
    if part:
        yield part


def _read_tensors(storage: Storage, commit: Commit, file: str) -> list[tuple[str, Tensor]]:
    return list(safetensors.torch.load(read_verified(storage, commit, file)).items())


def _weight_files(commit: Commit) -> list[str]:
    return sorted(file for file in commit.files if file.startswith("weights-"))


def _rank_file(rank: int) -> str:
    return f"rank-{rank:05d}.json"

"""Checkpoints that are either complete and verified, or invisible.

Writing: every rank writes the parameters it stores as safetensors into a directory never used before and lists them,
with sizes and hashes, in rank-00000.json; when all are done, rank 0 compares that with what the storage holds and
writes COMMIT.json, last. A failure before that leaves a directory that nobody reads. Reading: the files are spread over
the ranks, each file is read and its hash verified once, and only when all are intact are the tensors given to the
engine; else the checkpoint before is tried. Nothing is pickled; randomness is derived from (seed, step) and not stored.

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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import safetensors.torch
from torch import Tensor

from cluster import bitmap
from cluster.commit import (
    BITMAP,
    COMMIT,
    DAMAGED,
    DIRECTORY,
    CheckpointDamaged,
    CheckpointError,
    Commit,
    FileEntry,
    Progress,
    newest,
    now,
    read_verified,
    scan,
)
from cluster.config import CheckpointConfig
from cluster.ranks import Ranks
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

PART_BYTES = 256 * 2**20
"""Weights in one file, unless a single parameter is larger; bounds the memory of writing and the size of one upload."""

ORPHAN_AGE = timedelta(hours=24)
"""After this long without a write, a directory without COMMIT.json is taken for that of a run that died."""


class CheckpointStore:
    """The checkpoints of one run, in the folder `storage`. All ranks make one and call its collective methods together.

    Errors of a collective method are raised on all ranks.
    """

    def __init__(self, storage: Storage, config: CheckpointConfig) -> None:
        self.storage = storage
        self.config = config
        self._ranks: Ranks | None = None

    @property
    def ranks(self) -> Ranks:
        if self._ranks is None:
            self._ranks = Ranks()
        return self._ranks

    def newest(self) -> Commit | None:
        """Not collective. See cluster.commit.newest."""
        return newest(self.storage)

    def save(self, engine: Engine, progress: Progress, metadata: dict[str, Any]) -> str:
        """Collective. Commits a checkpoint and returns its name.

        `metadata` is any JSON: the resolved config, versions, the fingerprint of the data. The ids consumed are those
        marked on any rank. Raises CheckpointError, with nothing committed, when a rank fails to write.
        """
        name = self.ranks.broadcast(f"step-{progress.step:08d}-{secrets.token_hex(4)}")
        progress = replace(progress, consumed=self.ranks.any(progress.consumed))
        state = engine.parameters_state()
        description = {
            "step": progress.step,
            "epoch": progress.epoch,
            "progress": progress.counts(),
            "engine": engine.describe(),
            "metadata": metadata,
        }
        try:
            self._together("write", name, lambda: self._write_part(name, state))
            self._together("commit", name, lambda: self._commit(name, bitmap.pack(progress.consumed), description))
        except CheckpointError:
            if self.ranks.is_first:
                self._remove([name])  # at once: what is left of it may be what filled the disk
            raise
        if self.ranks.is_first:
            self._retain()
        return name

    def restore(self, engine: Engine, commit: Commit) -> Progress:
        """Collective. Loads `commit` (rank 0's counts) or, when its files are damaged, the newest intact one before.

        Raises CheckpointError when none is intact or the storage fails, ValueError when the checkpoint is of another
        task; the engine is then as it was.
        """
        for candidate in self.ranks.broadcast(self._together("find", commit.name, lambda: self._candidates(commit))):
            try:
                held, progress = self._together("read", candidate.name, lambda c=candidate: self._read_share(c))
            except CheckpointDamaged as error:
                logger.error("checkpoint %s is not used, the one before is tried: %s", candidate.name, error)
                if self.ranks.is_first:
                    self._mark_damaged(candidate, error)
                continue
            engine.load_parameters_state(held, updates=candidate.engine["updates"])
            return progress
        raise CheckpointError(f"no checkpoint in {self.storage.uri} up to {commit.name} is intact")

    def _candidates(self, commit: Commit) -> list[Commit]:
        if not self.ranks.is_first:
            return []
        return [commit, *(older for older in scan(self.storage).commits if older.order < commit.order)]

    def _mark_damaged(self, commit: Commit, error: CheckpointDamaged) -> None:
        """Else retention would count it among the newest, and every restart would read it again."""
        try:
            self.storage.write(f"{commit.name}/{DAMAGED}", str(error).encode())
        except StorageError:
            logger.warning("checkpoint %s could not be marked as damaged", commit.name, exc_info=True)

    def _together(self, verb: str, name: str, action: Callable[[], T]) -> T:
        """Collective. Runs `action` on each rank and waits for all.

        If one fails, CheckpointError on all ranks; CheckpointDamaged when damage is all that was met.
        """
        failure: Exception | None = None
        try:
            result = action()
        except Exception as error:
            logger.warning("rank %d failed to %s checkpoint %s", self.ranks.rank, verb, name, exc_info=True)
            failure = error
        told = self.ranks.gather(
            failure and (isinstance(failure, CheckpointDamaged), f"{type(failure).__name__}: {failure}")
        )
        failed = {rank: answer for rank, answer in enumerate(told) if answer}
        if failed:
            kind = CheckpointDamaged if all(damaged for damaged, _ in failed.values()) else CheckpointError
            reasons = "; ".join(f"rank {rank}: {text}" for rank, (_, text) in failed.items())
            raise kind(f"failed to {verb} checkpoint {name}: {reasons}") from failure
        return result

    def _write_part(self, name: str, state: dict[str, ParameterState]) -> None:
        written: dict[str, FileEntry] = {}
        for index, part in enumerate(_parts(state)):
            suffix = f"{self.ranks.rank:05d}-{index:03d}.safetensors"
            weights = {entry: tensors["weight"] for entry, tensors in part.items()}
            moments = {f"{k}/{e}": t for e, tensors in part.items() for k, t in tensors.items() if k != "weight"}
            for file, tensors in ((f"weights-{suffix}", weights), (f"adam-{suffix}", moments)):
                data = safetensors.torch.save(tensors)
                written[file] = FileEntry.of(data)
                self.storage.write(f"{name}/{file}", data)
        table = {file: vars(entry) for file, entry in written.items()}
        self.storage.write(f"{name}/{_rank_file(self.ranks.rank)}", json.dumps(table, indent=1).encode())

    def _commit(self, name: str, bits: bytes, description: dict[str, Any]) -> None:
        """Rank 0 makes the checkpoint visible, once everything in it is there."""
        if not self.ranks.is_first:
            return
        self.storage.write(f"{name}/{BITMAP}", bits)
        files = {BITMAP: FileEntry.of(bits)}
        for rank in range(self.ranks.size):
            table = json.loads(self.storage.read(f"{name}/{_rank_file(rank)}"))
            files |= {file: FileEntry(**entry) for file, entry in table.items()}
        listed = {info.name.partition("/")[2]: info.size for info in self.storage.list(name)}
        wrong = [file for file, entry in files.items() if listed.get(file) != entry.size]
        if wrong:
            raise CheckpointError(f"missing or of another size than written: {wrong}")
        commit = Commit(name=name, world_size=self.ranks.size, created=now(), files=files, **description)
        self.storage.write(f"{name}/{COMMIT}", commit.to_json())

    def _retain(self) -> None:
        """Removes what is superseded, and what runs that died have left."""
        try:
            listing = scan(self.storage)
        except StorageError as error:
            logger.warning("superseded checkpoints could not be looked for: %s", error)
            return
        stale = [name for name, written in listing.orphans.items() if datetime.now(UTC) - written > ORPHAN_AGE]
        removed = [c.name for c in superseded(listing.commits, self.config) if c.name not in listing.kept]
        self._remove(removed + stale)

    def _remove(self, names: Iterable[str]) -> None:
        """A failure is logged; what it leaves is met again after the next checkpoint."""
        for name in names:
            try:
                self.storage.remove(f"{name}/{COMMIT}")  # first, so that a directory half removed is no checkpoint
                self.storage.remove_tree(name)
            except StorageError as error:
                logger.warning("checkpoint %s could not be removed: %s", name, error)

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


def superseded(commits: Iterable[Commit], config: CheckpointConfig) -> list[Commit]:
    """Checkpoints, given newest first, to remove: neither among the newest nor at the end of an epoch to keep."""
    older = list(commits)[max(2, config.keep_last) :]
    return [c for c in older if not (c.progress["at_epoch_end"] and c.epoch in config.keep_epochs)]


def load_weights(uri: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Full fp32 weights and buffers by the task's parameter names, and what the checkpoint says about itself.

    `uri` is a checkpoint, the folder of checkpoints or a run directory; of several the newest intact one is read, and
    its hashes are verified. Needs no process group. The description holds "checkpoint" (its address), "step", "epoch"
    and "metadata". Raises CheckpointError when there is none, CheckpointDamaged when the one named is not intact.
    """
    storage, commits = _find(Storage(uri))
    for commit in commits:
        try:
            weights = {n: t for file in _weight_files(commit) for n, t in _read_tensors(storage, commit, file)}
        except CheckpointDamaged as error:
            if len(commits) == 1:
                raise
            logger.error("checkpoint %s is not used, the one before is tried: %s", commit.name, error)
            continue
        return weights, _description(storage, commit)
    raise CheckpointError(f"no intact checkpoint in {uri}")


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
    commits = scan(folder).commits
    return (folder, commits) if commits else (storage, scan(storage).commits)


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

"""What a checkpoint says about itself, and which checkpoints of a run exist. Free of torch.

A checkpoint is a directory `step-00001200-<attempt>` whose COMMIT.json was written last. Without it, or with a file
that is missing or of another size, the directory is no checkpoint for anyone. COMMIT.json holds (format 1):

    format, step, epoch, world_size, created (ISO 8601, UTC), progress, engine, metadata, files, digest

`files` maps each file to its size and SHA-256; `digest` is the SHA-256 of all else, so that damage to it is noticed.
BEGUN.json beside the directories says that a first checkpoint was committed: a folder that has it and no checkpoint has
lost them, and is no place to start from nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import defaultdict
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pipelines.storage import ObjectInfo, ObjectMissing, Storage

logger = logging.getLogger(__name__)

FORMAT = 1
COMMIT = "COMMIT.json"
BITMAP = "consumed.bits"
DAMAGED = "DAMAGED.txt"
"""Written into a checkpoint whose content was found changed, so that nobody counts on it again; holds the reason."""
BEGUN = "BEGUN.json"
"""Beside the checkpoints from the first commit on: {"created", "first"}."""
KEEP = "KEEP.txt"
"""Written into a checkpoint that retention is never to remove; holds the reason."""
DIRECTORY = "checkpoints"
"""Folder of the checkpoints in a run directory."""

_NAME = re.compile(r"step-\d{8,}-[0-9a-f]+")


class CheckpointError(Exception):
    """A checkpoint could not be written, or none could be restored although some were committed."""


class CheckpointDamaged(CheckpointError):
    """A file of a committed checkpoint is missing, of another size, or its content has changed."""


class RanksLost(CheckpointError):
    """The ranks did not come together within the time of a save, and cannot save together any more."""


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a run stands between two updates. Counts are over all ranks."""

    step: int
    """Updates so far."""
    epoch: int
    """Epochs completed, which is the index of the epoch being read."""
    consumed: np.ndarray
    """bool [num_samples]: ids of this epoch that were used in an update or quarantined."""
    samples: int = 0
    """Rows used in updates since the run began."""
    quarantined: int = 0
    """Rows quarantined since the run began."""
    epoch_quarantined: int = 0
    """Rows quarantined in this epoch."""

    @classmethod
    def start(cls, num_samples: int) -> Progress:
        return cls(step=0, epoch=0, consumed=np.zeros(num_samples, dtype=bool))

    @property
    def at_epoch_end(self) -> bool:
        """Whether an epoch has just been completed and the next has not been begun."""
        return self.epoch > 0 and not self.consumed.any()

    def counts(self) -> dict[str, Any]:
        """All but the bitmap, for COMMIT.json."""
        return {
            "samples": self.samples,
            "quarantined": self.quarantined,
            "epoch_quarantined": self.epoch_quarantined,
            "num_samples": len(self.consumed),
            "at_epoch_end": self.at_epoch_end,
        }


@dataclass(frozen=True)
class FileEntry:
    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> FileEntry:
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Commit:
    """One committed checkpoint."""

    name: str
    """Its directory."""
    step: int
    epoch: int
    world_size: int
    created: str
    progress: dict[str, Any]
    engine: dict[str, Any]
    metadata: dict[str, Any]
    files: dict[str, FileEntry] = field(repr=False)

    @property
    def order(self) -> tuple[int, str]:
        """Sorts checkpoints of a run by age; of two at one step the later written is the newer."""
        return self.step, self.created

    def to_json(self) -> bytes:
        content = json.loads(_canonical({"format": FORMAT, **asdict(self)}))  # with the types that a reader will see
        del content["name"]
        return _canonical({**content, "digest": _digest(content)})


def parse_commit(name: str, data: bytes) -> Commit:
    """Raises CheckpointDamaged unless `data` is a whole COMMIT.json of a format we read."""
    try:
        content = json.loads(data)
        digest = content.pop("digest")
        if content.pop("format") != FORMAT or digest != _digest({"format": FORMAT, **content}):
            raise ValueError("another format, or its digest does not fit")
        files = {file: FileEntry(**entry) for file, entry in content.pop("files").items()}
        return Commit(name=name, files=files, **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointDamaged(f"{name}/{COMMIT} is not valid: {error}") from error


@dataclass(frozen=True)
class Damage:
    """Why a directory with a COMMIT.json is no checkpoint, and when it was last written."""

    reason: str
    written: datetime


@dataclass(frozen=True)
class Listing:
    """The checkpoint directories of a run."""

    commits: list[Commit]
    """Committed and complete by size, newest first."""
    damaged: dict[str, Damage]
    """Directories with a COMMIT.json that is not valid, whose files are not there, or that hold DAMAGED.txt."""
    orphans: dict[str, datetime]
    """Directories without COMMIT.json (being written, or left by a run that died) and when they were last written."""
    has_begun: bool
    """A checkpoint was committed here once."""
    kept: frozenset[str]
    """Directories that hold KEEP.txt."""


KnownCommits = MutableMapping[str, tuple[str, Commit]]
"""By directory, the entity tag of a COMMIT.json that was read and what it said."""


def scan(storage: Storage, known: KnownCommits | None = None) -> Listing:
    """Looks through all directories. Sizes are compared, contents are not (that is done when a checkpoint is read).

    A COMMIT.json that is in `known` and has not changed is not read again; those read are put there.
    """
    found: dict[str, dict[str, ObjectInfo]] = defaultdict(dict)
    has_begun = False
    for info in storage.list():
        directory, _, file = info.name.partition("/")
        has_begun |= info.name == BEGUN
        if file and _NAME.fullmatch(directory):
            found[directory][file] = info
    commits, damaged, orphans = [], {}, {}
    for directory, files in found.items():
        written = max(info.modified for info in files.values()).astimezone(UTC)
        if COMMIT not in files:
            orphans[directory] = written
            continue
        try:
            commits.append(_check(storage, directory, files, {} if known is None else known))
        except ObjectMissing:  # removed by another process since we listed it
            logger.info("checkpoint %s was removed while we looked at it", directory)
        except CheckpointDamaged as error:
            damaged[directory] = Damage(str(error), written)
    kept = frozenset(directory for directory, files in found.items() if KEEP in files)
    newest_first = sorted(commits, key=lambda commit: commit.order, reverse=True)
    return Listing(newest_first, damaged, orphans, has_begun, kept)


def usable(storage: Storage) -> list[Commit]:
    """The checkpoints, newest first. Damaged ones are logged, with the one that takes their place."""
    listing = scan(storage)
    instead = f"{listing.commits[0].name} is used" if listing.commits else "there is no other"
    for name, damage in listing.damaged.items():
        logger.error("checkpoint %s is damaged and not used, %s: %s", name, instead, damage.reason)
    if not listing.commits and (listing.damaged or listing.has_begun):
        damaged = f", damaged are: {', '.join(listing.damaged)}" if listing.damaged else ""
        raise CheckpointError(
            f"no checkpoint in {storage.uri} is complete, although some were committed{damaged}. Put the missing files "
            "back; or remove the whole folder, and the run starts from nothing"
        )
    return listing.commits


def newest(storage: Storage) -> Commit | None:
    """The newest checkpoint; None when none was ever committed.

    Raises CheckpointError when some were committed and none of them is complete: to start again from nothing is for the
    user to decide, by removing the folder.
    """
    return next(iter(usable(storage)), None)


def read_verified(storage: Storage, commit: Commit, file: str) -> bytes:
    """A file of a checkpoint.

    Raises CheckpointDamaged when it is missing or, read twice, has not the size and hash that were committed.
    """
    for _ in range(2):  # the damage may have happened on the way
        try:
            data = storage.read(f"{commit.name}/{file}")
        except ObjectMissing as error:
            raise CheckpointDamaged(f"{commit.name}/{file} is missing") from error
        if FileEntry.of(data) == commit.files[file]:
            return data
    raise CheckpointDamaged(f"{commit.name}/{file} is not what was committed (size or SHA-256 differ)")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _check(storage: Storage, directory: str, files: dict[str, ObjectInfo], known: KnownCommits) -> Commit:
    if DAMAGED in files:
        raise CheckpointDamaged(f"{directory} was found damaged before, see {storage.full(directory)}/{DAMAGED}")
    tag, commit = known.get(directory, ("", None))
    if commit is None or tag != files[COMMIT].etag:
        commit = parse_commit(directory, storage.read(f"{directory}/{COMMIT}"))
        known[directory] = (files[COMMIT].etag, commit)
    for name, entry in commit.files.items():
        if name not in files or files[name].size != entry.size:
            raise CheckpointDamaged(f"{directory}/{name} is missing or not {entry.size} bytes long")
    return commit


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False).encode()


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()

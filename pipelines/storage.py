"""One way to the bytes: a local folder or an S3 prefix behind the same few verbs.

Everything that reads or writes files of any size goes through `Storage`, so that retries, atomic writes, the refusal of
names that climb out of the root and the hiding of secrets are decided once. Credentials and endpoints come from where
the AWS tools look for them (AWS_* variables, AWS_ENDPOINT_URL among them, profile files, instance roles); none is ever
part of an address.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.redaction import redact
from pipelines.retry import AccessDenied, ObjectMissing, Retry, StorageError, StorageUnavailable, retrying

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "AccessDenied",
    "ObjectInfo",
    "ObjectMissing",
    "Retry",
    "Storage",
    "StorageError",
    "StorageUnavailable",
    "check_name",
    "content_digest",
    "home",
    "redact",
]

T = TypeVar("T")
logger = logging.getLogger(__name__)

_PARTIAL = ".partial-"  # prefix of a local file that is still being written; never listed
_PAGE = 1000  # objects per request that lists or deletes (limit of S3)
_PARTS = 4  # parts of 50 MiB of one large file in flight


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing."""

    name: str
    """Relative to the root that was listed."""
    size: int
    """Bytes; 0 where a link points at nothing."""
    etag: str
    """Changes when the content does: the entity tag of S3, locally the time of modification in nanoseconds."""
    modified: datetime


def content_digest(data: bytes) -> str:
    """BLAKE2b of the bytes, 32 hexadecimal digits: finds the small damage that no decoder reports."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def home() -> Storage:
    """Where runs and catalogs go unless told otherwise: $SEMBLANCE_HOME, else ~/semblance."""
    return Storage(os.environ.get("SEMBLANCE_HOME") or "~/semblance")


class Storage:
    """A root and the objects below it, addressed by relative names with forward slashes.

    Picklable: a copy carries the address alone and opens its own connection in the process that first uses it.
    Every verb raises ObjectMissing, AccessDenied or StorageUnavailable, other failures (a full disk) as StorageError,
    and ValueError for a name that is absolute or climbs out of the root.
    """

    def __init__(self, uri: str | os.PathLike[str], *, retry: Retry | None = None) -> None:
        self.uri, self.is_local = _parse_root(os.fspath(uri))
        self.retry = retry or Retry()
        self._opened: tuple[int, AbstractFileSystem] | None = None

    def __repr__(self) -> str:
        return f"Storage({self.uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Storage) and self.uri == other.uri

    def __hash__(self) -> int:
        return hash(self.uri)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def filesystem(self) -> AbstractFileSystem:
        """The fsspec filesystem of this process; a forked child makes its own."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), _open_local() if self.is_local else _open_s3())
        return self._opened[1]

    def child(self, *parts: str) -> Storage:
        """The storage of a folder below this root."""
        copy = type(self)(self.uri, retry=self.retry)
        copy.uri = self.full("/".join(parts))
        return copy

    def full(self, name: str) -> str:
        """Absolute path or s3:// address of an object."""
        return f"{self.uri.rstrip('/')}/{check_name(name)}"

    def read(self, name: str) -> bytes:
        path = self.full(name)
        return self._retrying("read", path, lambda: self.filesystem.cat_file(path))

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, as many of them as there are."""
        path = self.full(name)
        return self._retrying("read", path, lambda: self.filesystem.cat_file(path, start=start, end=end))

    def write(self, name: str, data: bytes) -> None:
        """Atomic: readers see the old object or the whole new one."""
        path = self.full(name)
        if self.is_local:
            self._retrying("write", path, lambda: _put_local(path, lambda partial: Path(partial).write_bytes(data)))
        else:
            self._retrying("write", path, lambda: self.filesystem.pipe_file(path, data))

    def upload(self, local_path: str | os.PathLike[str], name: str) -> None:
        """Atomic, of a file of any size."""
        path, source = self.full(name), os.fspath(local_path)
        if not os.path.isfile(source):
            raise ObjectMissing(f"cannot upload {source}: no such file")
        if self.is_local:
            self._retrying("write", path, lambda: _put_local(path, lambda partial: shutil.copyfile(source, partial)))
        else:
            self._retrying("write", path, lambda: self.filesystem.put_file(source, path, max_concurrency=_PARTS))

    def download(self, name: str, local_path: str | os.PathLike[str]) -> None:
        """Atomic: the local file appears when it is complete."""
        path, target = self.full(name), os.fspath(local_path)

        def fetch(partial: str) -> None:
            if self.is_local:
                shutil.copyfile(path, partial)
            else:
                self.filesystem.get_file(path, partial, max_concurrency=_PARTS)
            if os.path.getsize(partial) != (size := self._info(path)["size"]):
                raise ConnectionError(f"got {os.path.getsize(partial)} of {size} bytes")

        self._retrying("read", path, lambda: _put_local(os.path.abspath(target), fetch))

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name; a folder is none."""
        try:
            self.size(name)
        except ObjectMissing:
            return False
        return True

    def size(self, name: str) -> int:
        """Bytes."""
        path = self.full(name)
        return self._retrying("look up", path, lambda: self._info(path)["size"])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects in the folder `prefix`, at any depth, by ascending name; holds one page at a time in memory.

        A folder that is not there lists nothing, like an empty one.
        """
        start = f"{check_name(prefix)}/" if prefix else ""
        if self.is_local:
            folder = self.uri if not prefix else self.full(prefix)
            return self._list_local(folder, start, frozenset())
        return self._list_s3(start)

    def free_bytes(self) -> int | None:
        """What can still be written below this root; None where the store has no such limit."""
        if not self.is_local:
            return None
        folder = Path(self.uri)
        while not folder.exists():
            folder = folder.parent
        return self._retrying("look up", self.uri, lambda: shutil.disk_usage(folder).free)

    def remove(self, name: str) -> None:
        """Removes one object; one that is gone already is no error."""
        path = self.full(name)
        try:
            self._retrying("remove", path, lambda: self.filesystem.rm_file(path))
        except ObjectMissing:
            logger.debug("%s was gone already", path)

    def remove_tree(self, name: str) -> None:
        """Removes every object in the folder `name`."""
        path = self.full(name)
        if self.is_local:
            try:
                self._retrying("remove", path, lambda: shutil.rmtree(path))
            except ObjectMissing:
                logger.debug("%s was gone already", path)
            return
        batch: list[str] = []
        for info in self.list(name):
            batch.append(info.name)
            if len(batch) == _PAGE:
                self._delete_batch(batch)
                batch = []
        if batch:
            self._delete_batch(batch)

    def _info(self, path: str) -> dict[str, Any]:
        info = self.filesystem.info(path)
        if info["type"] != "file":
            raise FileNotFoundError(f"{path} is a folder")
        return info

    def _delete_batch(self, names: list[str]) -> None:
        bucket, prefix = _bucket_and_prefix(self.uri)
        request = {"Objects": [{"Key": prefix + name} for name in names], "Quiet": True}

        def delete() -> None:
            answer = self.filesystem.call_s3("delete_objects", Bucket=bucket, Delete=request)
            for error in answer.get("Errors", ()):
                kind = PermissionError if error.get("Code") == "AccessDenied" else ConnectionError
                raise kind(f"{error.get('Key')}: {error.get('Message')}")

        self._retrying("remove", f"{self.uri}/{names[0]} and others", delete)

    def _list_local(self, folder: str, start: str, above: frozenset[tuple[int, int]]) -> Iterator[ObjectInfo]:
        def scan() -> list[tuple[str, os.DirEntry[str]]]:
            with os.scandir(folder) as entries:  # a folder sorts as "name/", which is the order of the full names
                return sorted((e.name + "/" * e.is_dir(), e) for e in entries if not e.name.startswith(_PARTIAL))

        try:
            found = self._retrying("list", folder, scan)
        except ObjectMissing:
            return
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link to a folder above this one: its content is listed there
            return
        for name, entry in found:
            if name.endswith("/"):
                yield from self._list_local(entry.path, start + name, above | {here})
            else:
                yield _local_info(entry, start + name)

    def _list_s3(self, start: str) -> Iterator[ObjectInfo]:
        bucket, prefix = _bucket_and_prefix(self.uri)
        request = {"Bucket": bucket, "Prefix": prefix + start, "MaxKeys": _PAGE}
        while True:
            # Bound early, for the retried call must not see the token of a later page.
            page = self._retrying(
                "list", self.uri, lambda r=dict(request): self.filesystem.call_s3("list_objects_v2", **r)
            )
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):  # an empty object that a console made to show a folder
                    name = item["Key"][len(prefix) :]
                    yield ObjectInfo(name, item["Size"], item["ETag"].strip('"'), item["LastModified"])
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _retrying(self, verb: str, path: str, call: Callable[[], T]) -> T:
        return retrying(f"{verb} {path}", call, retry=self.retry, renew=self._disconnect)

    def _disconnect(self) -> None:
        self._opened = None


def check_name(name: str) -> str:
    """The name itself; raises ValueError unless it is relative and stays below its root."""
    parts = name.split("/")
    if not name or "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts) or "://" in name:
        raise ValueError(f"name {name!r} must be relative, with single slashes and no '.' or '..' parts")
    return name


def _parse_root(uri: str) -> tuple[str, bool]:
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return os.path.abspath(os.path.expanduser(uri)), True
    if scheme == "file":
        return os.path.abspath(rest), True
    if scheme != "s3":
        raise ValueError(f"address {redact(uri)!r} has scheme {scheme!r}; give a local folder or s3://bucket/prefix")
    bucket, _, prefix = rest.strip("/").partition("/")
    if "@" in bucket or ":" in bucket:
        raise ValueError("an s3 address must not carry credentials; put them into AWS_* variables or a profile file")
    if "?" in uri:
        raise ValueError("an s3 address must not carry a query, such as a signature; give s3://bucket/prefix")
    if not bucket:
        raise ValueError(f"address {uri!r} names no bucket; give s3://bucket/prefix")
    return f"s3://{bucket}/{check_name(prefix)}" if prefix else f"s3://{bucket}", False


def _bucket_and_prefix(uri: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, f"{prefix}/" if prefix else ""


def _open_local() -> AbstractFileSystem:
    from fsspec.implementations.local import LocalFileSystem

    return LocalFileSystem(skip_instance_cache=True)


def _open_s3() -> AbstractFileSystem:
    """One connection pool per Storage and process. Listings are never cached and nothing below us retries: waits would
    multiply."""
    from s3fs import S3FileSystem

    filesystem = S3FileSystem(
        skip_instance_cache=True,
        use_listings_cache=False,
        max_concurrency=1,  # more would ask for the size first: two requests for every clip instead of one
        config_kwargs={
            "connect_timeout": 10,
            "read_timeout": 60,
            "max_pool_connections": 32,
            "retries": {"mode": "standard", "total_max_attempts": 1},
        },
    )
    filesystem.retries = 1
    return filesystem


def _put_local(path: str, fill: Callable[[str], object]) -> None:
    """Lets `fill` write a file beside `path`, then moves it there in one step that survives a power cut."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    partial = os.path.join(folder, _PARTIAL + secrets.token_hex(8))
    try:
        fill(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the new name is in the folder, not in the file
    finally:
        os.close(descriptor)


def _local_info(entry: os.DirEntry[str], name: str) -> ObjectInfo:
    try:
        status = entry.stat()
    except FileNotFoundError:  # a link to nothing, or removed while we looked; whoever reads it is told
        return ObjectInfo(name, 0, "", datetime.fromtimestamp(0, UTC))
    return ObjectInfo(name, status.st_size, str(status.st_mtime_ns), datetime.fromtimestamp(status.st_mtime, UTC))

"""Images in archives: what a .zip (stored or deflated) or .tar holds, and one member in one request.

A member is named like a file in a folder, "shards/x.tar/0001.jpg". The catalog keeps which bytes of the archive it
takes: in a tar the member itself; in a zip its own header too, which says how long it is and whether it is deflated, so
that listing reads the directory at the end of the archive and nothing else.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from pipelines.quarantine import Reason, SampleError
from pipelines.storage import ObjectInfo, Storage, check_name

_SUFFIXES = (".zip", ".tar")
_ZIP_HEADER = struct.Struct("<4s5H3I2H")
_ZIP_MAGIC = b"PK\x03\x04"
_LONGEST_NAMES = 2 * 0xFFFF  # a name and what follows it in the header of a member
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED = 1  # bit of the flags of a member
_LOCAL_BUFFER = 1 << 16
_REMOTE_BUFFER = 8 << 20  # of an archive; a tar has no directory: skipping its members one by one costs a request each
_LISTED_AT_ONCE = 8  # remote archives


class ArchiveError(ValueError):
    """An archive that is damaged, or of a kind that is not read; the message names it."""


@dataclass(frozen=True)
class Member(ObjectInfo):
    """A file in an archive; its etag changes when the content does, or, in a tar, when the archive does."""

    offset: int
    """Where in the archive its bytes begin."""
    stored_bytes: int
    """And how many they are."""


def is_archive(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _SUFFIXES


def expand(objects: Iterable[ObjectInfo], storage: Storage) -> Iterator[ObjectInfo]:
    """The objects, archives replaced by their members, and put last. Raises ArchiveError and as Storage does."""
    archives = []
    for item in objects:
        if is_archive(item.name):
            archives.append(item)
        else:
            yield item
    if storage.is_local:
        for archive in archives:
            yield from list_members(storage, archive)
        return
    remaining = iter(archives)
    with ThreadPoolExecutor(_LISTED_AT_ONCE, thread_name_prefix="archives") as pool:
        while some := list(islice(remaining, _LISTED_AT_ONCE)):
            for members in pool.map(lambda archive: list(list_members(storage, archive)), some):
                yield from members


def list_members(storage: Storage, archive: ObjectInfo) -> Iterator[Member]:
    """The files in an archive, in the order in which they lie there. Of a tar one is held in memory at a time, of a zip
    its directory.

    Raises:
        ArchiveError: it is damaged, cut off, encrypted or compressed in another way, or a name is unsafe.
    """
    if any(is_archive(part) for part in archive.name.split("/")[:-1]):
        raise ArchiveError(f"{archive.name} lies in a folder that is named like an archive; rename the folder")
    is_tar = archive.name.lower().endswith(".tar")
    raw = _RangeReader(storage, archive)
    try:
        with io.BufferedReader(raw, _LOCAL_BUFFER if storage.is_local else _REMOTE_BUFFER) as file:
            yield from (_list_tar if is_tar else _list_zip)(file, archive)
    except ArchiveError:
        raise
    # What the readers of the two formats raise on other bytes; also ValueError for a name that leaves the archive.
    except (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, EOFError, struct.error, ValueError) as error:
        raise ArchiveError(f"{storage.full(archive.name)} cannot be read as an archive: {error}") from error


def read_file(storage: Storage, uri: str, *, size: int, offset: int, stored_bytes: int) -> bytes:
    """The content of a file, `size` bytes as far as the catalog knows, by one request. It lies at this place of an
    archive, or with offset=-1 is an object of its own.

    Raises:
        SampleError: short_read, changed (there is something else at its place), decode (it cannot be inflated).
        StorageError: as Storage.read.
    """
    if offset < 0:
        return storage.read(uri)
    if not stored_bytes:  # of a range without bytes S3 sends everything
        return b""
    archive = _archive_of(uri)
    data = storage.read_range(archive, offset, offset + stored_bytes)
    if len(data) != stored_bytes:
        raise SampleError(Reason.short_read, f"{archive} ends {stored_bytes - len(data)} bytes before its member does")
    return data if archive.lower().endswith(".tar") else _unpack(data, size)


def _archive_of(uri: str) -> str:
    parts = uri.split("/")
    depth = next(depth for depth, part in enumerate(parts, start=1) if is_archive(part))
    return "/".join(parts[:depth])


def _unpack(data: bytes, size: int) -> bytes:
    """The content of a member of a zip, from its header on."""
    if len(data) < _ZIP_HEADER.size or not data.startswith(_ZIP_MAGIC):
        raise SampleError(Reason.changed, "the archive has no member at this place any more")
    *_, method, _, _, checksum, _, _, name_bytes, extra_bytes = _ZIP_HEADER.unpack_from(data)
    content = memoryview(data)[_ZIP_HEADER.size + name_bytes + extra_bytes :]
    if method == _STORED:
        found = bytes(content[:size])
    else:
        try:  # one byte more than it should have tells that there are more, and bounds what is inflated
            found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        except zlib.error as error:
            raise SampleError(Reason.decode, f"the member of the archive cannot be inflated: {error}") from None
    if checksum and len(found) == size and zlib.crc32(found) != checksum:  # 0: it was not known when it was written
        raise SampleError(Reason.decode, "the member of the archive has another checksum than its header says")
    return found


def _list_zip(file: io.BufferedReader, archive: ObjectInfo) -> Iterator[Member]:
    with zipfile.ZipFile(file) as opened:
        entries = sorted(opened.infolist(), key=lambda entry: entry.header_offset)
        ends = [entry.header_offset for entry in entries[1:]] + [opened.start_dir]
    for entry, end in zip(entries, ends, strict=True):
        if entry.is_dir():
            continue
        name = _member_name(archive, entry.filename)
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in (_STORED, _DEFLATED):
            raise ArchiveError(f"{name} is encrypted, or neither stored nor deflated; pack the archive anew")
        start, least = entry.header_offset, _ZIP_HEADER.size + entry.compress_size
        if not 0 <= start <= end - least:
            raise ArchiveError(f"{name} does not fit into the archive, which is damaged; fetch it again")
        stored = min(end - start, least + _LONGEST_NAMES)
        yield Member(name, entry.file_size, f"{entry.CRC:08x}", archive.modified, start, stored)


def _list_tar(file: io.BufferedReader, archive: ObjectInfo) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:") as opened:
        while (entry := opened.next()) is not None:
            opened.members.clear()  # it would keep all of them
            if not entry.isreg():
                continue
            name = _member_name(archive, entry.name)
            if entry.issparse():
                raise ArchiveError(f"{name} is stored with holes; pack the archive anew without --sparse")
            if entry.offset_data + entry.size > archive.size:
                raise ArchiveError(f"{name} reaches beyond the end of the archive, which is cut off; fetch it again")
            etag = f"{archive.etag}@{entry.offset_data}"
            yield Member(name, entry.size, etag, archive.modified, entry.offset_data, entry.size)
        # A header that is damaged or missing ends the loop just as the mark of the end does.
        file.seek(opened.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ArchiveError(f"{archive.name} has no mark of its end: it is damaged or cut off; fetch it again")


def _member_name(archive: ObjectInfo, name: str) -> str:
    try:
        name = check_name(name.removeprefix("./"))
        name.encode()
    except ValueError as error:
        raise ArchiveError(f"{archive.name} holds a file with a name that is not used: {error}") from None
    return f"{archive.name}/{name}"


class _RangeReader(io.RawIOBase):
    """An object as a file that can seek; every read is one request."""

    def __init__(self, storage: Storage, item: ObjectInfo) -> None:
        self._read: Callable[[int, int], bytes] = lambda start, end: storage.read_range(item.name, start, end)
        self._size, self._position = item.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if position < 0:
            raise ValueError(f"seek to {position}")
        self._position = position
        return position

    def readinto(self, buffer: memoryview) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = self._read(self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

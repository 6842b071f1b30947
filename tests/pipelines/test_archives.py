"""Archives are listed and read by ranges; what is wrong with one is said with its name."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.archives import ArchiveError, Member, expand, list_members, read_file
from pipelines.quarantine import Reason, SampleError
from pipelines.storage import ObjectInfo, Storage
from tests.pipelines.image_corpus import tarred, zipped

_RANDOM = random.Random(0)
FILES = {f"deep/er/{size}.bin": _RANDOM.randbytes(size // 2) + bytes(size - size // 2) for size in (0, 1, 700, 200_000)}
ARCHIVES = {
    "stored.zip": zipped(FILES),
    "deflated.ZIP": zipped(FILES, zipfile.ZIP_DEFLATED),
    "x.tar": tarred(FILES),
}


@pytest.fixture(params=["local", "remote"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(tmp_path) if request.param == "local" else Storage(request.getfixturevalue("s3_bucket"))


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def info(storage: Storage, name: str) -> ObjectInfo:
    return next(item for item in storage.list() if item.name == name)


def members(storage: Storage, name: str, content: bytes) -> list[Member]:
    storage.write(name, content)
    return list(list_members(storage, info(storage, name)))


def read(storage: Storage, member: Member) -> bytes:
    place = {"offset": member.offset, "stored_bytes": member.stored_bytes}
    return read_file(storage, member.name, size=member.size, **place)


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_file_is_listed_with_its_size_and_read_back(storage: Storage, name: str) -> None:
    found = members(storage, f"shards/{name}", ARCHIVES[name])
    assert {item.name: item.size for item in found} == {
        f"shards/{name}/{inner}": len(content) for inner, content in FILES.items()
    }
    assert {item.name.removeprefix(f"shards/{name}/"): read(storage, item) for item in found} == FILES


class Counting(Storage):
    """Counts what is asked of it."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.ranges: list[int] = []

    def read_range(self, name: str, start: int, end: int) -> bytes:
        self.ranges.append(end - start)
        return super().read_range(name, start, end)

    def read(self, name: str) -> bytes:
        raise AssertionError("an archive is never read as a whole")


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_member_is_one_request_of_little_more_than_its_bytes(local: Storage, name: str) -> None:
    found = members(local, name, ARCHIVES[name])
    counting = Counting(local.uri)
    for item in found:
        read(counting, item)
    assert len(counting.ranges) == sum(item.stored_bytes > 0 for item in found)
    assert sum(counting.ranges) <= len(ARCHIVES[name])


def test_the_directory_of_a_large_zip_is_read_and_nothing_else(local: Storage) -> None:
    local.write("x.zip", zipped({f"{index}.bin": _RANDOM.randbytes(500_000) for index in range(8)}))
    counting = Counting(local.uri)
    assert len(list(list_members(counting, info(local, "x.zip")))) == 8
    assert sum(counting.ranges) < 500_000


def test_a_zip_that_was_written_to_a_pipe_is_read(local: Storage) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    target = Pipe()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    found = members(local, "x.zip", target.getvalue())
    assert [read(local, item) for item in found] == list(FILES.values())


def test_folders_links_and_a_leading_dot_are_no_part_of_names(local: Storage) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, kind in (("./a", tarfile.DIRTYPE), ("./a/link.png", tarfile.SYMTYPE), ("./a/1.png", tarfile.REGTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            archive.addfile(entry)
    assert [item.name for item in members(local, "x.tar", target.getvalue())] == ["x.tar/a/1.png"]
    assert [item.name for item in members(local, "y.zip", zipped({"a/": b"", "a/1.png": b""}))] == ["y.zip/a/1.png"]


def test_an_entity_tag_changes_with_the_content(local: Storage) -> None:
    for name, pack in (("x.zip", zipped), ("y.tar", tarred)):
        first, second = (members(local, name, pack({"a": content, "b": b"b"})) for content in (b"1", b"2"))
        assert first[0].etag != second[0].etag
    zips = [members(local, "x.zip", zipped(files)) for files in ({"a": b"1"}, {"a": b"1", "b": b"2"})]
    assert zips[0][0].etag == zips[1][0].etag, "a zip knows the checksum of each file"


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd.png", "a/../../b.png", "a\\b.png", "a//b.png"])
def test_a_name_that_may_leave_the_archive_is_refused(local: Storage, pack, name: str) -> None:
    suffix = "zip" if pack is zipped else "tar"
    with pytest.raises(ArchiveError, match=rf"bad\.{suffix} holds a file with a name that is not used"):
        members(local, f"bad.{suffix}", pack({"good.png": b"1", name: b"2"}))


CUT_AT_A_HEADER = ARCHIVES["x.tar"].index(b"deep/er/200000.bin")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no.zip", b"<html>not there</html>"),
        ("empty.zip", b""),
        ("cut.zip", ARCHIVES["stored.zip"][:-100]),
        ("front.zip", ARCHIVES["stored.zip"][5000:]),
        ("no.tar", b"<html>not there</html>" * 100),
        ("empty.tar", b""),
        ("gzip.tar", b"\x1f\x8b" + bytes(2000)),
        ("cut.tar", ARCHIVES["x.tar"][:100_000]),
        ("cut at a header.tar", ARCHIVES["x.tar"][:CUT_AT_A_HEADER]),
        ("cut in a header.tar", ARCHIVES["x.tar"][: CUT_AT_A_HEADER + 100]),
        (
            "damaged header.tar",
            ARCHIVES["x.tar"][:CUT_AT_A_HEADER] + b"?" * 300 + ARCHIVES["x.tar"][CUT_AT_A_HEADER + 300 :],
        ),
    ],
)
def test_a_damaged_archive_is_named_and_nothing_is_lost_in_silence(local: Storage, name: str, content: bytes) -> None:
    with pytest.raises(ArchiveError, match=name.replace(".", r"\.")):
        members(local, name, content)


def test_what_cannot_be_read_by_ranges_is_refused(local: Storage) -> None:
    with pytest.raises(ArchiveError, match=r"x\.zip/a .* neither stored nor deflated"):
        members(local, "x.zip", zipped({"a": b"1" * 100}, zipfile.ZIP_LZMA))
    local.write("y.zip/x.tar", ARCHIVES["x.tar"])
    with pytest.raises(ArchiveError, match="in a folder that is named like an archive"):
        list(list_members(local, info(local, "y.zip/x.tar")))


def test_a_damaged_member_is_a_bad_sample(local: Storage) -> None:
    content = ARCHIVES["deflated.ZIP"]
    item = members(local, "x.zip", content)[-1]
    place = {"offset": item.offset, "stored_bytes": item.stored_bytes}
    problems = {
        content[: item.offset + 300] + b"\xff" * 400 + content[item.offset + 700 :]: Reason.decode,
        content[: item.offset] + b"junk" + content[item.offset + 4 :]: Reason.changed,
        content[: item.offset + 1000]: Reason.short_read,
    }
    for damaged, reason in problems.items():
        local.write("x.zip", damaged)
        with pytest.raises(SampleError) as caught:
            read_file(local, item.name, size=item.size, **place)
        assert caught.value.reason is reason
    stored = members(local, "y.zip", ARCHIVES["stored.zip"])[-1]
    local.write("y.zip", ARCHIVES["stored.zip"].replace(FILES["deep/er/200000.bin"][:50], b"!" * 50))
    with pytest.raises(SampleError, match="another checksum"):
        read(local, stored)


def test_a_member_never_inflates_beyond_its_size(local: Storage) -> None:
    item = members(local, "x.zip", zipped({"a.png": bytes(50_000_000)}, zipfile.ZIP_DEFLATED))[0]
    place = {"offset": item.offset, "stored_bytes": item.stored_bytes}
    assert len(read_file(local, item.name, size=1000, **place)) == 1001


def test_archives_are_replaced_by_what_they_hold(storage: Storage) -> None:
    for number in range(10):
        storage.write(f"{number}.tar", tarred({"a.png": b"%d" % number}))
    storage.write("notes.txt", b"1")
    found = list(expand(storage.list(), storage))
    assert [item.name for item in found] == ["notes.txt", *(f"{number}.tar/a.png" for number in range(10))]
    assert [read(storage, item) for item in found[1:]] == [b"%d" % number for number in range(10)]


def test_an_object_of_its_own_is_read_as_a_whole(local: Storage) -> None:
    local.write("a.png", b"123")
    assert read_file(local, "a.png", size=3, offset=-1, stored_bytes=0) == b"123"
    gone = ObjectInfo("gone.tar", 100, "", datetime.now(UTC))
    with pytest.raises(Exception, match=r"gone\.tar"):
        list(list_members(local, gone))

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import storage as module
from pipelines.storage import (
    AccessDenied,
    ObjectMissing,
    Retry,
    Storage,
    StorageError,
    StorageUnavailable,
    home,
    redact,
)
from tests.pipelines.scripted_store import Answer, Script, error, serve

QUICK = Retry(deadline_seconds=20, attempts=4, first_seconds=0.001, longest_seconds=0.002)


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(tmp_path / "root")
    return Storage(request.getfixturevalue("s3_bucket") + "/some/prefix")


def test_what_is_written_is_read_listed_and_removed(storage: Storage) -> None:
    storage.write("b/2.bin", b"two")
    storage.write("b.txt", b"")
    storage.write("a/b/c.bin", b"x" * 1000)
    assert storage.read("b/2.bin") == b"two"
    assert storage.size("a/b/c.bin") == 1000
    assert [(o.name, o.size) for o in storage.list()] == [("a/b/c.bin", 1000), ("b.txt", 0), ("b/2.bin", 3)]
    assert [o.name for o in storage.list("b")] == ["b/2.bin"]
    storage.remove("b.txt")
    storage.remove("b.txt")
    storage.remove_tree("a")
    storage.remove_tree("a")
    assert [o.name for o in storage.list()] == ["b/2.bin"]


def test_a_folder_is_not_an_object_and_a_missing_one_is_empty(storage: Storage) -> None:
    storage.write("folder/object", b"1")
    assert storage.exists("folder/object")
    assert not storage.exists("folder")
    assert not storage.exists("absent")
    assert list(storage.list("absent")) == []
    with pytest.raises(ObjectMissing, match="absent"):
        storage.read("absent")


def test_a_local_folder_knows_its_free_space_before_it_exists_and_a_bucket_has_no_limit(storage: Storage) -> None:
    free = storage.child("not", "there").free_bytes()
    if storage.is_local:
        assert 0 < free <= shutil.disk_usage(Path(storage.uri).parent).total
        assert not Path(storage.uri).exists()
    else:
        assert free is None


def test_the_entity_tag_changes_with_the_content(storage: Storage) -> None:
    storage.write("object", b"1")
    before = next(storage.list()).etag
    storage.write("object", b"2")
    assert before and next(storage.list()).etag != before


def test_files_are_uploaded_and_downloaded_whole(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    storage.upload(source, "deep/down/file")
    storage.download("deep/down/file", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == source.read_bytes()
    with pytest.raises(ObjectMissing, match="nothing-here"):
        storage.upload(tmp_path / "nothing-here", "x")


def test_a_listing_longer_than_a_page_is_complete_and_sorted(s3_bucket: str, monkeypatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 4)
    storage = Storage(s3_bucket)
    names = [f"{i % 4}/{i:04d}" for i in range(25)]
    for name in names:
        storage.write(name, b"x")
    assert [o.name for o in storage.list()] == sorted(names)
    storage.remove_tree("3")
    assert [o.name for o in storage.list()] == sorted(name for name in names if not name.startswith("3/"))


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/passwd", "s3://other/key", "a//b", "", ".", "a\\b"])
def test_a_name_that_leaves_the_root_is_refused_before_anything_is_touched(tmp_path: Path, name: str) -> None:
    storage = Storage(tmp_path / "root")
    for verb in (storage.read, storage.size, storage.remove, storage.remove_tree, storage.child):
        with pytest.raises(ValueError, match="must be relative"):
            verb(name)
    with pytest.raises(ValueError, match="must be relative"):
        storage.write(name, b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["http://host/x", "memory://x", "s3://", "s3://key:secret@bucket/x"])
def test_an_address_of_another_kind_or_with_a_secret_in_it_is_refused(uri: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Storage(uri)
    assert "secret" not in str(refusal.value)


def test_a_child_is_a_root_below(storage: Storage) -> None:
    storage.child("runs", "one").write("log", b"1")
    assert storage.read("runs/one/log") == b"1"
    assert storage.child("runs/one").uri == storage.full("runs/one")


def test_links_to_folders_are_followed_once_and_dead_links_are_listed(tmp_path: Path) -> None:
    Storage(tmp_path / "elsewhere").write("clip", b"1")
    root = Storage(tmp_path / "root")
    root.write("a", b"1")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "dead").symlink_to(tmp_path / "gone")
    assert [(o.name, o.size) for o in root.list()] == [("a", 1), ("dead", 0), ("linked/clip", 1)]


def test_a_local_write_that_fails_leaves_the_old_object_and_no_litter(tmp_path: Path, monkeypatch) -> None:
    storage = Storage(tmp_path, retry=QUICK)
    storage.write("object", b"old")

    def full_disk(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        storage.write("object", b"new")
    assert storage.read("object") == b"old"
    assert os.listdir(tmp_path) == ["object"]


def test_a_file_that_is_still_being_written_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".partial-0123").write_bytes(b"x")
    assert list(Storage(tmp_path).list()) == []


def _read_elsewhere(pickled: bytes, answers: multiprocessing.Queue) -> None:
    answers.put(pickle.loads(pickled).read("object"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_copy_works_in_another_process(storage: Storage, method: str) -> None:
    storage.write("object", b"content")  # the connection of this process is open
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(target=_read_elsewhere, args=(pickle.dumps(storage), answers))
    child.start()
    try:
        assert answers.get(timeout=60) == b"content"
    finally:
        child.join(timeout=10)
        child.kill()


def test_a_forked_child_opens_its_own_connection(s3_bucket: str) -> None:
    storage = Storage(s3_bucket)
    storage.write("object", b"content")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(storage.read("object")))
    child.start()
    try:
        assert answers.get(timeout=60) == b"content"
    finally:
        child.join(timeout=10)
        child.kill()
    assert storage.read("object") == b"content"


@pytest.fixture
def scripted(s3_environment: pytest.MonkeyPatch) -> Callable:
    def connect(address: str) -> Storage:
        s3_environment.setenv("AWS_ENDPOINT_URL", address)
        return Storage("s3://bucket", retry=QUICK)

    return connect


@pytest.mark.parametrize(
    "failure",
    [error(503, "SlowDown"), error(500, "InternalError"), error(429, "TooMany"), Answer(200, b"x" * 9000, sent=4000)],
    ids=["slow_down", "internal", "throttled", "cut_off"],
)
def test_transient_failures_are_waited_out(scripted: Callable, failure: Answer) -> None:
    script = Script([failure, failure, Answer(200, b"whole")])
    with serve(script) as address:
        assert scripted(address).read("object") == b"whole"
    assert len(script.requests) == 3


def test_waiting_ends_after_the_last_attempt(scripted: Callable) -> None:
    script = Script([error(503, "SlowDown")])
    with serve(script) as address, pytest.raises(StorageUnavailable, match="object.*SlowDown"):
        scripted(address).read("object")
    assert len(script.requests) == QUICK.attempts


def test_an_unreachable_store_is_unavailable(scripted: Callable) -> None:
    with serve(Script([Answer()])) as address:
        pass
    with pytest.raises(StorageUnavailable):
        scripted(address).read("object")


def test_refused_access_stops_at_once_and_tells_no_secret(scripted: Callable) -> None:
    script = Script([error(403, "InvalidAccessKeyId")])
    with serve(script) as address, pytest.raises(AccessDenied, match="check .* credentials") as refusal:
        scripted(address).read("object")
    assert len(script.requests) == 1
    assert "canary-secret-key" not in str(refusal.value) and "test-key-id" not in str(refusal.value)


def test_expired_credentials_are_read_again_once(scripted: Callable) -> None:
    script = Script([error(400, "ExpiredToken"), Answer(200, b"whole")])
    with serve(script) as address:
        assert scripted(address).read("object") == b"whole"
    script = Script([error(400, "ExpiredToken")])
    with serve(script) as address, pytest.raises(AccessDenied):
        scripted(address).read("object")
    assert len(script.requests) == 2


def test_no_credentials_at_all_is_access_denied(scripted: Callable, s3_environment: pytest.MonkeyPatch) -> None:
    s3_environment.delenv("AWS_ACCESS_KEY_ID")
    s3_environment.delenv("AWS_SECRET_ACCESS_KEY")
    script = Script([Answer()])
    with serve(script) as address, pytest.raises(AccessDenied):
        scripted(address).read("object")
    assert script.requests == []


def test_a_missing_object_is_not_waited_for(scripted: Callable) -> None:
    script = Script([error(404, "NoSuchKey")])
    with serve(script) as address, pytest.raises(ObjectMissing):
        scripted(address).read("object")
    assert len(script.requests) == 1


def test_a_mistake_in_our_code_is_not_taken_for_a_failure_of_the_store(tmp_path: Path, monkeypatch) -> None:
    storage = Storage(tmp_path, retry=QUICK)
    monkeypatch.setattr(module, "_put_local", lambda path, fill: fill())
    with pytest.raises(TypeError):
        storage.write("object", b"x")


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    assert home().uri == str(tmp_path)
    monkeypatch.delenv("SEMBLANCE_HOME")
    assert home().uri == os.path.expanduser("~/semblance")


def test_secrets_are_taken_out_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "canary-value")
    text = redact(
        "GET https://h/b/k?X-Amz-Credential=CANARY&X-Amz-Signature=CANARY failed; s3://CANARY:CANARY@bucket/x; "
        "aws_secret_access_key = CANARY, 'password': 'CANARY'; AKIACANARYCANARYCA; key canary-value end"
    )
    assert "canary" not in text.lower()
    assert "https://h/b/k?[redacted] failed" in text and text.endswith("end")


def test_ordinary_text_is_left_alone() -> None:
    text = "region (2, 5, 10) of 800 tokens: num_tokens=160, https://docs.ray.io/?page=2"
    assert redact(text) == text

from __future__ import annotations

import errno

import pytest

from pipelines import retry as module
from pipelines.retry import (
    AccessDenied,
    Kind,
    ObjectMissing,
    Retry,
    StorageError,
    StorageUnavailable,
    classify,
    retrying,
)


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Flaky:
    """Fails with each of `errors` in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def call(flaky: Flaky, **limits: float) -> str:
    return retrying("read x", flaky, retry=Retry(**limits), renew=lambda: None)  # type: ignore[arg-type]


def test_waits_grow_within_their_limits_and_differ_between_workers() -> None:
    retry = Retry(attempts=8, first_seconds=1, longest_seconds=10)
    waits = list(retry.waits())
    assert all(high / 2 <= wait <= high for wait, high in zip(waits, [1, 2, 4, 8, 10, 10, 10], strict=True))
    assert waits != list(retry.waits())


def test_a_transient_failure_is_tried_again_after_a_wait(clock: Clock) -> None:
    flaky = Flaky(TimeoutError(), ConnectionResetError())
    assert call(flaky, first_seconds=1, longest_seconds=100) == "answer"
    assert flaky.calls == 3
    assert 1.5 <= clock.now <= 3


def test_waiting_never_goes_beyond_the_deadline(clock: Clock) -> None:
    with pytest.raises(StorageUnavailable, match="cannot read x.*after the last retry"):
        call(Flaky(*[TimeoutError()] * 1000), deadline_seconds=30, attempts=1000, first_seconds=1, longest_seconds=4)
    assert 26 <= clock.now <= 30


def test_the_defaults_outlast_a_few_minutes_of_trouble(clock: Clock) -> None:
    with pytest.raises(StorageUnavailable):
        call(Flaky(*[TimeoutError()] * 1000))
    assert 200 <= clock.now <= 300


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (PermissionError("no"), AccessDenied),
        (FileNotFoundError("none"), ObjectMissing),
        (OSError(errno.ENOSPC, "full"), StorageError),
    ],
)
def test_other_failures_of_a_store_are_raised_at_once(clock: Clock, failure: Exception, raised: type) -> None:
    flaky = Flaky(failure)
    with pytest.raises(raised, match="cannot read x"):
        call(flaky)
    assert (flaky.calls, clock.now) == (1, 0)


def test_a_mistake_in_our_code_stays_what_it_is(clock: Clock) -> None:
    with pytest.raises(KeyError):
        call(Flaky(KeyError("x")))
    assert clock.now == 0


class Answered(Exception):
    def __init__(self, status: int, code: str) -> None:
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", Kind.TRANSIENT),
        (500, "InternalError", Kind.TRANSIENT),
        (200, "InternalError", Kind.TRANSIENT),  # the end of a multi-part upload can fail like this
        (502, "502", Kind.TRANSIENT),
        (429, "TooManyRequests", Kind.TRANSIENT),
        (400, "RequestTimeout", Kind.TRANSIENT),
        (501, "NotImplemented", Kind.PERMANENT),
        (400, "InvalidRequest", Kind.PERMANENT),
        (403, "SignatureDoesNotMatch", Kind.DENIED),
        (404, "NoSuchKey", Kind.MISSING),
        (400, "ExpiredToken", Kind.EXPIRED),
    ],
)
def test_the_answer_of_a_store_decides_also_behind_another_exception(status: int, code: str, kind: Kind) -> None:
    wrapped = OSError(errno.EIO, "something")
    wrapped.__cause__ = Answered(status, code)
    assert classify(wrapped) is kind
